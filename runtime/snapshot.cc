// The snapshot process: reading the image, scanning it; see snapshot.h. What is written is in snapshot_capture.cc.
#include "runtime/snapshot.h"

#include "runtime/allocator_tls.h"
#include "runtime/api.h"
#include "runtime/births.h"
#include "runtime/faults.h"
#include "runtime/injection.h"
#include "runtime/leaf_pages.h"
#include "runtime/leak_records.h"
#include "runtime/libc_facts.h"
#include "runtime/marker_crew.h"
#include "runtime/memory.h"
#include "runtime/side_table.h"
#include "runtime/stop_handler.h"
#include "runtime/tracking.h"
#include "scanner/tables.h"

#include <csignal>
#include <new>
#include <sched.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <utility>

namespace castaway {

namespace {

constexpr size_t kMostVmas = size_t{1} << 20;
constexpr size_t kRegisterWords = 32; // general ones of a thread, at most

void *map_or_exit(size_t bytes) {
  void *memory = sys::map_memory(bytes);
  if (!memory) sys::exit_group(kSnapshotNoMemory);
  return memory;
}

// Zeroed memory of this process' own, never given back.
template <typename T> T *room(size_t count) {
  constexpr size_t kChunk = size_t{16} << 20, kLarge = size_t{64} << 10;
  static char *chunk;
  static size_t left;
  size_t bytes = (count * sizeof(T) + 15) & ~size_t{15};
  if (bytes >= kLarge) return static_cast<T *>(map_or_exit(bytes));
  if (bytes > left) chunk = static_cast<char *>(map_or_exit(kChunk)), left = kChunk;
  left -= bytes;
  return reinterpret_cast<T *>(std::exchange(chunk, chunk + bytes));
}

class MappedWorkspace final : public Workspace {
public:
  void *take(size_t bytes) override { return sys::map_memory(bytes ? bytes : 1); }
  void *take_touched(size_t bytes) override { return sys::map_memory(bytes ? bytes : 1, MAP_PRIVATE | MAP_POPULATE); }
};

// So that the target's own threads win: they get ten times as much of a processor that both want. Not less than this,
// because what the target writes to is copied for as long as the scan takes. A terminal's signals are for the target's
// group. But not in another session: where the kernel groups tasks automatically (sched_autogroup_enabled), that is
// a group of its own, which gets as much as all of the target, whatever its priority. A real-time program's policy
// would let it come before all others: it leaves that.
void step_back() {
  constexpr long kLower = 10, kLowest = 19;
  sys::call(SYS_setpgid, 0, 0);
  const sched_param none{};
  const long policy = sys::call(SYS_sched_getscheduler, 0);
  if (policy == SCHED_FIFO || policy == SCHED_RR) sys::call(SYS_sched_setscheduler, 0, SCHED_OTHER, &none);
  long nice = 20 - sys::call(SYS_getpriority, PRIO_PROCESS, 0); // the kernel counts from 40 down to 1
  sys::call(SYS_setpriority, PRIO_PROCESS, 0, std::min(nice + kLower, kLowest));
}

// A snapshot, and the reporter that it becomes, may outlive the target; never for longer than this.
void limit_life() {
  constexpr long kSeconds = 900; // the agent, where it lives, is less patient
  KernelAction none{};
  uint64_t alarm = sys::signal_bit(SIGALRM);
  struct {
    timeval interval, value;
  } timer{{0, 0}, {kSeconds, 0}};
  sys::call(SYS_rt_sigaction, SIGALRM, &none, nullptr, sizeof none.mask);
  sys::call(SYS_rt_sigprocmask, SIG_UNBLOCK, &alarm, nullptr, sizeof alarm);
  sys::call(SYS_setitimer, 0 /* ITIMER_REAL */, &timer, nullptr);
}

// Limits of the target's are not the snapshot's nor the reporter's, as far as that may be changed.
void lift_limits() {
  for (int limit : {RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE}) {
    rlimit value;
    sys::call(SYS_prlimit64, 0, limit, nullptr, &value);
    rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    if (limit != RLIMIT_NOFILE && sys::call(SYS_prlimit64, 0, limit, &unlimited, nullptr) == 0) continue;
    value.rlim_cur = value.rlim_max;
    sys::call(SYS_prlimit64, 0, limit, &value, nullptr);
  }
  rlimit core; // nobody asked for one of this process
  sys::call(SYS_prlimit64, 0, RLIMIT_CORE, nullptr, &core);
  core.rlim_cur = 0;
  sys::call(SYS_prlimit64, 0, RLIMIT_CORE, &core, nullptr);
}

// From /proc/PID/task/TID/comm.
void read_name(const Proc &target, int tid, char (&name)[16]) {
  Text<64> path;
  std::string_view text = target.read((path << "task/" << tid << "/comm").view(), name, sizeof name - 1);
  size_t end = text.find('\n');
  name[end == text.npos ? text.size() : end] = 0;
}

struct Lookup {
  const Vmas *vmas;
  std::span<const ThreadFacts> threads;
};

int32_t descriptor_owner(void *context, uintptr_t address) {
  for (const ThreadFacts &facts : static_cast<Lookup *>(context)->threads)
    if (facts.memory.descriptor.contains(address)) return facts.stopped->tid;
  return 0;
}
bool readable(void *context, Range range) { return static_cast<Lookup *>(context)->vmas->readable(range); }

// Whether this process has all mappings that the target had, but for the status page. Before any of its own.
bool has_all_mappings(const Safepoint &safepoint) {
  uint64_t left_out = safepoint.status_page ? 1 : 0;
  uint64_t own = page_counts({safepoint.files.proc, sys::process_id()}).mapped;
  return own != 0 && own + left_out == safepoint.mapped_pages;
}

// Whether both hashes, where they are known, are the same.
bool agree(uint64_t past, uint64_t now) { return !past || !now || past == now; }

} // namespace

uint64_t faults_of(const Proc &process) {
  constexpr int kMinorFaults = 10;
  char line[512];
  std::string_view field = stat_field(process.read("stat", line, sizeof line), kMinorFaults);
  uint64_t faults = 0;
  take_number(field, faults);
  return faults;
}

uint64_t anonymous_bytes(const Proc &process) {
  constexpr uint64_t kPage = 4096;
  PageCounts pages = page_counts(process);
  return (pages.resident - std::min(pages.resident, pages.of_files)) * kPage;
}

int Snapshot::run() {
  fault_point(safepoint_, "snapshot");
  rest_if_slow(safepoint_);
  read_mappings();
  fault_point(safepoint_, "mappings");
  complete_memory();
  wipe_frames();
  note_written_pages(own_);
  fault_point(safepoint_, "memory");
  read_threads();
  fault_point(safepoint_, "threads");
  read_notes();
  read_past();
  fault_point(safepoint_, "notes");
  find_roots();
  fault_point(safepoint_, "roots");
  scan();
  fault_point(safepoint_, "scanned");
  update_history();
  fault_point(safepoint_, "history");
  answer_question();
  int capture = write_capture();
  fault_point(safepoint_, "captured");
  return capture;
}

void Snapshot::read_mappings() {
  // This process' mappings are the target's, as they were at the stop. The buffers come first so that they show up as
  // what they are: ours.
  auto *vmas = static_cast<Vma *>(own_memory(kMostVmas * sizeof(Vma)));
  auto *text = static_cast<char *>(own_memory(kMostVmas * 128));
  if (!vmas || !text) sys::exit_group(kSnapshotNoMemory);
  Proc self(safepoint_.files.proc, sys::process_id());
  maps_text_ = self.read("maps", text, kMostVmas * 128);
  vmas_ = new (room<Vmas>(1)) Vmas(maps_text_, {vmas, kMostVmas});
  if (vmas_->all().empty() || !vmas_->complete()) sys::exit_group(kSnapshotNoMaps);
}

void Snapshot::complete_memory() {
  if (!uncopied_.empty()) {
    uncopied_.restore(*vmas_);
    read_mappings();
  }
  Proc self(safepoint_.files.proc, sys::process_id());
  if (!uncopied_.complete(safepoint_.maps, self, *vmas_, safepoint_.files.uncopied, safepoint_.status_page, has_all_))
    sys::exit_group(kSnapshotUncopied);
}

// What a stop by signal has put on the threads' stacks holds all their registers, and is no memory of the program's:
// where such a stack counts as a root, it would keep alive what only a leaked thread's registers hold.
void Snapshot::wipe_frames() {
  for (const StoppedThread &stopped : world_.threads()) {
    if (stopped.frame.empty()) continue;
    const Vma *vma = vmas_->find(stopped.frame.begin);
    bool own = vma && vma->writable && !vma->shared && vma->range.end >= stopped.frame.end;
    if (own) std::memset(reinterpret_cast<void *>(stopped.frame.begin), 0, stopped.frame.size());
  }
}

void Snapshot::read_threads() {
  take_stacks_from_heap(world_.threads());
  forget_lookup_keys(world_.threads(), *vmas_);
  size_t most = world_.threads().size();
  images_ = {room<ThreadImage>(most), most};
  facts_ = {room<ThreadFacts>(most), most};
  for (const StoppedThread &stopped : world_.threads()) // main first, for RootFinder
    if (!stopped.gone && stopped.tid == safepoint_.pid) read_thread(stopped, true);
  for (const StoppedThread &stopped : world_.threads())
    if (!stopped.gone && stopped.tid != safepoint_.pid) read_thread(stopped, false);
  images_ = images_.subspan(0, thread_count_);
  facts_ = facts_.subspan(0, thread_count_);
  for (size_t i = 0; i < thread_count_; ++i) read_image_wait(images_[i], facts_[i]);
}

void Snapshot::read_thread(const StoppedThread &stopped, bool is_main) {
  ThreadImage &image = images_[thread_count_];
  ThreadFacts &facts = facts_[thread_count_++];
  facts.stopped = &stopped;
  facts.memory = locate_memory(stopped, is_main, *vmas_);
  if (const Birth *birth = births::find(descriptor_of(arch::thread_pointer(stopped.registers)));
      birth && !birth->inherited) {
    facts.stack = birth->stack;
    facts.creator = birth->creator;
  }
  image.tid = stopped.tid;
  image.is_main = is_main;
  image.stack = facts.memory.stack;
  image.tls = facts.memory.tls;
  image.descriptor = facts.memory.descriptor;
  collect_registers(image, stopped);
  read_name(target_, stopped.tid, facts.name);
}

// A thread that is blocked inside libc can still use what calls preserve, and no more; of another one everything
// counts.
void Snapshot::collect_registers(ThreadImage &image, const StoppedThread &stopped) {
  std::span<const uintptr_t> vectors = world_.vectors().subspan(stopped.vector_offset, stopped.vector_words);
  auto *words = room<uintptr_t>(kRegisterWords + sizeof(stopped.registers) / sizeof(uintptr_t) + vectors.size());
  size_t count = 0;
  if (waits_in_call(stopped) && libc_facts.code.contains(arch::program_counter(stopped.registers))) {
    count = arch::registers_kept_over_calls(stopped.registers, words);
  } else {
    count = sizeof stopped.registers / sizeof(uintptr_t);
    std::memcpy(words, &stopped.registers, sizeof stopped.registers);
  }
  std::memcpy(words + count, vectors.data(), vectors.size_bytes());
  count += vectors.size();
  image.registers = {words, count};
}

void Snapshot::read_image_wait(ThreadImage &image, ThreadFacts &facts) {
  if (!waits_in_call(*facts.stopped)) return;
  static Wait wait;
  wait = {};
  Lookup lookup{vmas_, facts_};
  read_wait(*facts.stopped, {safepoint_.pid, image.stack, descriptor_owner, readable, &lookup}, wait);
  if (wait.count == 0) return;
  // Not the call's flag but the memory tells whether another process can wake it: libstdc++ never says private.
  for (size_t i = 0; i < wait.count; ++i) {
    const Vma *vma = vmas_->find(wait.words[i].address);
    wait.words[i].shared = wait.words[i].shared && (!vma || vma->shared);
  }
  facts.wait = new (room<Wait>(1)) Wait(wait);
  image.is_waiter = true;
  image.wait = wait.kind;
  image.mutex_owner = wait.mutex_owner;
  image.joined = wait.joined;
  image.words = {facts.wait->words, wait.count};
}

void Snapshot::find_roots() {
  finder_ = new (room<RootFinder>(1)) RootFinder(*vmas_, own_);
  auto *stopped = room<StoppedThread>(thread_count_);
  auto *memory = room<ThreadMemory>(thread_count_);
  for (size_t i = 0; i < thread_count_; ++i) stopped[i] = *facts_[i].stopped, memory[i] = facts_[i].memory;
  bool leader_lives = thread_count_ > 0 && images_[0].is_main;
  finder_->find({stopped, thread_count_}, {memory, thread_count_}, leader_lives);
  readings_ = history_.header.shared;
  readings_.begin(safepoint_.stopped_ns);
  if (may_spare_late()) return;
  late_denied_ = !begin_reading_late();
  if (!late_denied_) finder_->read_late();
}

// Where the scanner asks for them.
LateAnswer Snapshot::bring(std::span<const Range> &found) {
  if (late_denied_ || !begin_reading_late()) return LateAnswer::later;
  return finder_->bring(found);
}

// Whether somebody waits for what this safepoint finds.
bool Snapshot::is_asked() const {
  return safepoint_.trigger != Trigger::periodic || safepoint_.question.address || safepoint_.question.tid;
}

// Whether late roots may be read, and then it is noted that they are: should this process not live to its end. Whoever
// asks gets an answer, whatever it takes.
bool Snapshot::begin_reading_late() {
  uint64_t bytes = finder_->late_bytes(), now = safepoint_.stopped_ns;
  if (bytes == 0) return true;
  if (!is_asked()) {
    uint64_t expected =
        readings_.know(bytes) ? readings_.cost_ns : cost_of_reading(bytes, finder_->estimate_late_present());
    FamilyReadings *family = safepoint_.forked ? family_readings() : nullptr;
    if (!readings_.allow(expected, now) || (family && !family->take(expected, now, sys::processors()))) return false;
  }
  SharedReadings begun = readings_;
  begun.add(bytes, bytes, now);
  write_readings(safepoint_.files.history, begun);
  return true;
}

// Late roots are read last, if at all, and change meanwhile: so not where what is found is reported at once. Nor where
// something is known already that only they could still reach. And now and then they are read in any case: a pointer
// that could not be seen before may be there now.
bool Snapshot::may_spare_late() const {
  constexpr uint64_t kNowAndThen = 16;
  bool at_once = is_asked() || safepoint_.config->confirm < 2;
  return !at_once && safepoint_.number % kNowAndThen != 0 && all_past_settled_ &&
         std::all_of(history_.threads.begin(), history_.threads.end(),
                     [](const PastThread &thread) { return thread.first_safepoint == 0; });
}

void Snapshot::read_notes() {
  auto *notes = room<BlockNote>(side_table::size());
  size_t count = 0;
  side_table::for_each([&](const SideEntry &entry) {
    if (count == side_table::size() || !heap_map.decode(entry.begin).flagged) return;
    bool watched =
        (entry.marks & SideEntry::kWatched) && entry.shared == 0; // one of two blocks in a granule may come and go
    bool settled = watched && (entry.marks & SideEntry::kSettled);
    notes[count++] = {entry.begin, entry.size, entry.stack.id, entry.loader,      entry.ignored,
                      watched,     settled,    entry.time_ns,  entry.stack.weight};
  });
  std::sort(notes, notes + count, [](const BlockNote &a, const BlockNote &b) { return a.begin < b.begin; });
  notes_ = {notes, count};
}

void Snapshot::read_past() {
  history_ = read_history(safepoint_.files.history);
  past_ = {room<PastLeak>(history_.blocks.size()), history_.blocks.size()};
  size_t count = 0, at = 0;
  for (PastBlock &past : history_.blocks) {
    const BlockNote *note = entry_at(notes_, at, past.begin);
    bool is_another = past.watched && !(note && note->watched); // in its place
    if (is_another) past.reported = 0;
    all_past_settled_ = all_past_settled_ && note && note->settled;
    uint64_t length = std::min<uint64_t>(length_of_row(past.first_safepoint), safepoint_.config->confirm - 1);
    if (!is_another) past_[count++] = {past.begin, past.first_safepoint, row_of_length(length)};
  }
  past_ = past_.first(count);
  // At its first safepoint a process takes over what was settled when it was forked; after that, what goes on.
  at = 0;
  for (BlockNote &note : notes_) {
    if (!note.settled || safepoint_.number == 1 || entry_at(history_.blocks, at, note.begin)) continue;
    note.settled = false;
    unsettles_ = true;
  }
}

// How long a row was at the last safepoint of which there is a history.
uint64_t Snapshot::length_of_row(uint64_t first_safepoint) const {
  return history_.header.safepoint - first_safepoint + 1;
}
// Where a row begins that is so long at this one.
uint64_t Snapshot::row_of_length(uint64_t length) const { return safepoint_.number - length + 1; }

void Snapshot::scan() {
  auto *image = new (room<Image>(1)) Image{};
  image->heap = &heap_map;
  image->threads = images_;
  image->roots = finder_->roots();
  image->code = finder_->code();
  image->root_values = kernel_roots_.values();
  image->pointers_hidden = pointers_hidden_ = kernel_roots_.incomplete() || kernel_roots_.holds_hidden(*vmas_) ||
                                              api::roots_lost() || finder_->shared_swapped();
  image->notes = notes_;
  image->past = past_;
  image->safepoint = safepoint_.number;
  image->accesses_pages_first = arch::accesses_pages_first();
  image->late_roots = finder_->has_late() ? this : nullptr;
  auto *workspace = new (room<MappedWorkspace>(1)) MappedWorkspace;
  auto *crew = new (room<MarkerCrew>(1)) MarkerCrew(safepoint_.config->markers);
  scanner_ = new (room<Scanner>(1)) Scanner(*image, *workspace, crew);
  uint64_t begin = sys::now_ns();
  if (!scanner_->run()) sys::exit_group(kSnapshotNoMemory);
  mark_ns_ = sys::now_ns() - begin;
  bool failed = false;
  const Config &config = *safepoint_.config;
  LeakContext context{safepoint_.number, config.confirm, safepoint_.stopped_ns, config.sample_bytes <= 1};
  leaks_ = make_leak_records(scanner_->leaked_blocks(), context, failed);
  if (failed) sys::exit_group(kSnapshotNoMemory);
}

void Snapshot::answer_question() {
  const Question &question = safepoint_.question;
  if (question.address || question.tid) chain_ = scanner_->explain(question);
}

// Of a leaked thread: registers, and the nearest part of the stack where that is its own alone. What changes there
// tells that the thread has run, though it waits again as before. Not context switches: a stop, a debugger or a page
// read back from disk makes some too.
void Snapshot::add_state(size_t i, const PastThread *past, PastThread &now) const {
  constexpr size_t kMost = 16 << 10;
  constexpr uint64_t kBasis = 0xcbf29ce484222325; // FNV-1a, by words
  auto add = [](uint64_t &hash, uintptr_t word) { hash = (hash ^ word) * 0x100000001b3; };
  const ThreadFacts &facts = facts_[i];
  uintptr_t registers[kRegisterWords];
  size_t count = arch::registers_kept_over_calls(facts.stopped->registers, registers);
  now.registers = kBasis;
  for (size_t at = 0; at < count; ++at) add(now.registers, registers[at]);
  now.registers |= 1;
  uintptr_t sp = now.stack_pointer & ~(sizeof(uintptr_t) - 1);
  // Others may write where they have a pointer to; and of memory that is no stack of glibc's, the end is not known.
  // What nobody pointed to when all was read, nobody does in doubt.
  bool own = facts.memory.stack.end == facts.memory.end_of_stack() && facts.memory.stack.contains(sp) &&
             !scanner_->is_stack_live(i) && (!scanner_->in_doubt() || (past && past->stack));
  if (!own) return;
  uintptr_t end = std::min(facts.memory.stack.end, sp + kMost);
  now.stack = kBasis;
  for (uintptr_t at = sp; at + sizeof(uintptr_t) <= end; at += sizeof(uintptr_t))
    add(now.stack, *reinterpret_cast<const uintptr_t *>(at));
  now.stack |= 1;
}

// What this safepoint says of thread i, given what earlier ones said.
PastThread Snapshot::judge(size_t i) {
  const ThreadFacts &facts = facts_[i];
  PastThread now{};
  now.tid = images_[i].tid;
  now.stack_pointer = arch::stack_pointer(facts.stopped->registers);
  now.word = facts.wait ? facts.wait->words[0].address : 0;
  now.since_ns = safepoint_.stopped_ns;
  const PastThread *past = history_.find(now.tid);
  std::memcpy(now.name, past && !facts.name[0] ? past->name : facts.name, sizeof now.name);
  const ThreadVerdict &verdict = scanner_->verdicts()[i];
  bool leaked = verdict.leaked;
  if (leaked) add_state(i, past, now);
  bool same_wait = past && past->word == now.word && past->stack_pointer == now.stack_pointer &&
                   agree(past->registers, now.registers) && agree(past->stack, now.stack);
  if (same_wait && now.word) now.since_ns = past->since_ns;
  uint64_t row = same_wait ? past->first_safepoint : 0;
  if (leaked && scanner_->in_doubt() && !verdict.certain)
    now.first_safepoint = row ? row_of_length(length_of_row(row)) : 0;
  else if (leaked)
    now.first_safepoint = row ? row : safepoint_.number;
  leaked = now.first_safepoint != 0;
  bool confirmed = leaked && is_confirmed(now.first_safepoint, safepoint_.number, safepoint_.config->confirm);
  awaits_next_ = awaits_next_ || (leaked && !confirmed && (verdict.certain || !scanner_->in_doubt()));
  now.reported = leaked && (confirmed || safepoint_.trigger != Trigger::periodic || (same_wait && past->reported));
  if (past && past->reported && !(same_wait && leaked)) ++refuted_threads_;
  return now;
}

// The leaked blocks, each with what earlier safepoints said of it: both lists are in address order.
std::span<PastBlock> Snapshot::judge_blocks() {
  auto leaked = scanner_->leaked_blocks();
  std::span<PastBlock> now = {room<PastBlock>(leaked.size()), leaked.size()};
  size_t at = 0;
  for (size_t i = 0; i < leaked.size(); ++i) {
    const PastBlock *past = entry_at(history_.blocks, at, leaked[i].begin);
    bool before = past && past->reported;
    bool confirmed = is_confirmed(leaked[i].first_safepoint, safepoint_.number, safepoint_.config->confirm);
    awaits_next_ = awaits_next_ || (!confirmed && !scanner_->in_doubt());
    bool reported = before || confirmed || safepoint_.trigger != Trigger::periodic;
    const BlockNote *note = leaked[i].note;
    bool watched = note && note->watched;
    bool settles = watched && !note->settled && !scanner_->in_doubt() && finder_->complete();
    now[i] = {leaked[i].begin, leaked[i].size, leaked[i].first_safepoint, uint32_t{reported} + before,
              watched,         settles};
  }
  at = 0;
  for (const BlockNote &note : notes_) unsettles_ = unsettles_ || (note.settled && !entry_at(now, at, note.begin));
  return now;
}

// Main alone, which is live in any case and waits, and no leak that the next safepoint could confirm. What the kernel
// hides can come to light while nobody runs; and that main runs shows only where it writes to memory that the fork has
// copied.
bool Snapshot::holds_while_idle() const {
  if (!safepoint_.main_alone || thread_count_ != 1 || !waits_in_call(*facts_[0].stopped)) return false;
  if (awaits_next_ || scanner_->in_doubt() || pointers_hidden_ || finder_->shared_swapped() || !uncopied_.empty())
    return false;
  const Vma *stack = vmas_->find(arch::stack_pointer(facts_[0].stopped->registers));
  return stack && !stack->shared;
}

void Snapshot::update_history() {
  judged_ = {room<PastThread>(thread_count_), thread_count_};
  for (size_t i = 0; i < thread_count_; ++i) judged_[i] = judge(i);
  std::sort(judged_.begin(), judged_.end(), [](const PastThread &a, const PastThread &b) { return a.tid < b.tid; });
  History next;
  next.threads = judged_;
  // A reported thread that is gone altogether ran to its end.
  for (const PastThread &past : history_.threads)
    if (past.reported && !std::binary_search(judged_.begin(), judged_.end(), past,
                                             [](const auto &a, const auto &b) { return a.tid < b.tid; }))
      ++refuted_threads_;
  next.blocks = judge_blocks();
  refuted_threads_ += history_.header.refuted_threads;
  if (finder_->late_bytes() != 0 && !finder_->has_late())
    readings_.add(finder_->late_bytes(), finder_->late_present(), safepoint_.stopped_ns);
  next.header = {.magic = 0,
                 .threads = 0,
                 .blocks = 0,
                 .safepoint = safepoint_.number,
                 .time_ns = safepoint_.stopped_ns,
                 .first_wall_ns =
                     history_.header.first_wall_ns ? history_.header.first_wall_ns : safepoint_.stopped_wall_ns,
                 .live_threads = thread_count_,
                 .heap_blocks = scanner_->heap().blocks,
                 .heap_bytes = scanner_->heap().bytes,
                 .refuted_threads = refuted_threads_,
                 .mark_ns = mark_ns_,
                 .unrecorded = unrecorded_sizes(scanner_->leaked_blocks()),
                 .holds_while_idle = holds_while_idle(),
                 .awaits_next = awaits_next_,
                 .unsettles = unsettles_,
                 .shared = readings_};
  history_.header.first_wall_ns = next.header.first_wall_ns;
  write_history(safepoint_.files.history, next);
}

void snapshot_main(Safepoint &safepoint, World &world, const KernelRoots &kernel_roots,
                   const UncopiedMemory &uncopied) {
  bool has_all = has_all_mappings(safepoint);
  step_back();
  limit_life();
  lift_limits();
  survive_faults();
  Snapshot *snapshot = new (room<Snapshot>(1)) Snapshot(safepoint, world, kernel_roots, uncopied, has_all);
  become_reporter(safepoint, snapshot->run());
}

} // namespace castaway
