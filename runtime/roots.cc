// The roots; see roots.h.
#include "runtime/roots.h"

#include "runtime/api.h"
#include "runtime/births.h"
#include "runtime/known_words.h"
#include "runtime/libc_facts.h"
#include "runtime/mappings.h"
#include "runtime/memory.h"
#include "runtime/tracking.h"

#include <elf.h>
#include <link.h>

namespace castaway {

namespace {

constexpr uintptr_t kPage = 4096;
constexpr uintptr_t kRedZone = 128; // below the stack pointer, psABI
constexpr size_t kLargestStack = size_t{256} << 20;

Range initial_memory[256];
size_t initial_count;

std::span<const Range> initial() { return {initial_memory, initial_count}; }

uintptr_t page_down(uintptr_t at) { return at & ~(kPage - 1); }
uintptr_t page_up(uintptr_t at) { return (at + kPage - 1) & ~(kPage - 1); }

// Whether any block starts in `range`, which is of whole pages.
bool holds_blocks(Range range) {
  return !range.empty() && static_cast<bool>(heap_map.last_begun(range.end - 1, range.size() - 1));
}

bool inside(std::span<const Range> ranges, uintptr_t address) {
  bool found = false;
  for_each_inside({address, address + 1}, ranges, [&](Range) { found = true; });
  return found;
}

// Whether there is a descriptor of glibc's. On x86-64 its third word points at itself (the TCB's `self`, System V ABI
// for TLS: tcbhead_t). Elsewhere only a living thread's can be told, by the id in it: `tid`, 0 for one that has ended.
bool is_descriptor(uintptr_t at, int tid, const Vmas &vmas) {
  if (at == 0 || at % sizeof(uintptr_t) != 0) return false;
  if (arch::kTlsAbovePointer) {
    uintptr_t id = at + libc_facts.tid_offset;
    return libc_facts.tid_offset != 0 && tid != 0 && vmas.readable({id, id + sizeof(int32_t)}) &&
           *reinterpret_cast<const int32_t *>(id) == tid;
  }
  return vmas.readable({at, at + 3 * sizeof(uintptr_t)}) && reinterpret_cast<const uintptr_t *>(at)[2] == at;
}

// Whether an ended thread's descriptor keeps what it returned. glibc clears the id when the thread ends and sets it to
// -1 when it has been joined; where the thread is detached the descriptor holds its own address once more than the TCB
// does.
bool can_be_joined(uintptr_t descriptor, Range around) {
  Range whole{descriptor, descriptor + libc_facts.descriptor_size};
  if (libc_facts.tid_offset == 0 || whole.end > around.end) return false;
  if (*reinterpret_cast<const int32_t *>(descriptor + libc_facts.tid_offset) != 0) return false;
  constexpr size_t kOfTcb = 3;
  const auto *words = reinterpret_cast<const uintptr_t *>(descriptor);
  const auto *end = words + whole.size() / sizeof *words;
  return std::find(words + kOfTcb, end, descriptor) == end;
}

} // namespace

Block block_around(uintptr_t address) {
  constexpr size_t kLongest = size_t{64} << 20; // bytes
  Block block = heap_map.last_begun(address, kLongest);
  return address < block.granule_end() ? block : Block{};
}

void note_initial_memory(const Vmas &vmas, std::initializer_list<Range> temporary) {
  RangeList without;
  static Range own[kOwnRegions + 1];
  size_t count = own_ranges(own, kOwnRegions + 1);
  for (size_t i = 0; i < count; ++i) without.add(own[i]);
  for (const Range &range : temporary) without.add(range);
  for (const Range &range : allocator_memory.ranges()) without.add(range);
  without.normalize();
  for (const Vma &vma : vmas.all()) {
    if (!vma.is_anonymous() || !vma.writable || vma.path == "[heap]" || holds_blocks(vma.range)) continue;
    for_each_outside(vma.range, without.all(), [](Range part) {
      if (initial_count < sizeof initial_memory / sizeof *initial_memory) initial_memory[initial_count++] = part;
    });
  }
  without.release();
}

void take_stacks_from_heap(std::span<const StoppedThread> threads) {
  constexpr size_t kSlack = 2 * kPage; // for alignment
  for (const StoppedThread &thread : threads) {
    const Birth *birth = thread.gone ? nullptr : births::find(descriptor_of(arch::thread_pointer(thread.registers)));
    if (!birth || birth->own_stack.empty() || !birth->own_stack.contains(birth->descriptor)) continue;
    Block block = block_around(birth->own_stack.begin);
    if (block && block.granule_end() >= birth->own_stack.end && block.size <= birth->own_stack.size() + kSlack)
      heap_map.erase(block.begin);
  }
}

ThreadMemory locate_memory(const StoppedThread &thread, bool is_main, const Vmas &vmas) {
  ThreadMemory memory;
  uintptr_t sp = arch::stack_pointer(thread.registers);
  uintptr_t pointer = arch::thread_pointer(thread.registers);
  const Vma *around_sp = vmas.find(sp);
  if (around_sp && around_sp->readable) {
    memory.stack = {std::max(around_sp->range.begin, sp - kRedZone), around_sp->range.end};
    Block block = block_around(sp);
    if (block) memory.stack.end = std::min(memory.stack.end, block.granule_end());
  }
  if (is_main) {
    // Its TLS and descriptor are in memory from before main: roots anyway, as it is always live.
    if (around_sp && around_sp->path == "[stack]") return memory;
    for (const Vma &vma : vmas.all())
      if (vma.path == "[stack]") memory.native_stack = vma.range;
    return memory;
  }
  uintptr_t descriptor = descriptor_of(pointer);
  const Vma *around = is_descriptor(descriptor, thread.tid, vmas) ? vmas.find(descriptor) : nullptr;
  if (!around) return memory;
  memory.descriptor = {descriptor, std::min(around->range.end, descriptor + libc_facts.descriptor_size)};
  uintptr_t tls_size = libc_facts.static_tls_size - libc_facts.descriptor_size;
  if (arch::kTlsAbovePointer)
    memory.tls = {pointer, std::min(around->range.end, pointer + tls_size)};
  else
    memory.tls = {std::max(around->range.begin, pointer - tls_size), pointer};
  if (around == around_sp && sp < memory.end_of_stack())
    memory.stack.end = memory.end_of_stack();
  else
    memory.native_stack = {around->range.begin, memory.end_of_stack()};
  return memory;
}

namespace {

bool is_swap_used(const Proc &self) {
  char buffer[4096];
  std::string_view text = self.read("../meminfo", buffer, sizeof buffer);
  std::string_view total = line_value(text, "SwapTotal:"), free = line_value(text, "SwapFree:");
  return total != free;
}

} // namespace

void RootFinder::find(std::span<const StoppedThread> threads, std::span<const ThreadMemory> memory, bool leader_lives) {
  exclude(threads, memory, leader_lives);
  exclude_numbers();
  excluded_.normalize();
  include_modules();
  include_declared();
  for (const Vma &vma : vmas_.all()) include(vma);
  for (const ThreadMemory &of_thread : memory) included_.add(of_thread.native_stack);
  included_.normalize();
  for (const Range &range : included_.all())
    for_each_outside(range, excluded_.all(), [&](Range part) { add_present(part); });
  for (const Range &range : shared_.all())
    for_each_outside(range, excluded_.all(), [&](Range part) { add_resident(part, roots_); });
  if (!shared_.all().empty() && !sizes_known_ && is_swap_used(self_)) learn_sizes();
  for (const Range &range : protected_.all())
    for_each_outside(range, excluded_.all(), [&](Range part) { add_protected(part); });
  for (const Range &range : files_.all())
    for_each_outside(range, excluded_.all(), [&](Range part) { add_written(part); });
  find_code();
}

LateAnswer RootFinder::bring(std::span<const Range> &found) {
  list_late(late_);
  if (shared_swapped_) return LateAnswer::hidden;
  found = late_.all();
  return LateAnswer::brought;
}

void RootFinder::list_late(RangeList &to) {
  late_read_ = true;
  if (later_.all().empty()) return;
  uint64_t before = to.bytes();
  for (const Range &range : later_.all())
    for_each_outside(range, excluded_.all(), [&](Range part) { add_resident(part, to); });
  late_present_ = to.bytes() - before;
  if (is_swap_used(self_)) learn_sizes(); // after the pages were listed: none can have gone there unseen
}

bool RootFinder::is_excluded(Range range) const {
  bool all = true;
  for_each_outside(range, excluded_.all(), [&](Range) { all = false; });
  return all;
}

// Not what holds code or blocks of the program's: these have to be known from the beginning.
bool RootFinder::is_late(const Vma &shared) const { return !shared.executable && !holds_blocks(shared.range); }

// What modules and other files bring is the linker's: it holds pointers in data only.
void RootFinder::find_code() {
  RangeList made;
  for (const Vma &vma : vmas_.all())
    if (vma.executable && (vma.writable || vma.shared || vma.is_anonymous())) made.add(vma.range);
  for (const Range &root : roots_.all()) for_each_inside(root, made.all(), [&](Range part) { code_.add(part); });
  made.release();
}

void RootFinder::exclude(std::span<const StoppedThread> threads, std::span<const ThreadMemory> memory,
                         bool leader_lives) {
  static Range own[kOwnRegions + 1];
  size_t count = own_ranges(own, kOwnRegions + 1);
  for (size_t i = 0; i < count; ++i) excluded_.add(own[i]);
  excluded_.add(libc_facts.main_arena);
  for (size_t i = 0; i < threads.size(); ++i) {
    const ThreadMemory &of_thread = memory[i];
    excluded_.add(of_thread.stack);
    excluded_.add(of_thread.tls);
    excluded_.add(of_thread.descriptor);
    if (of_thread.native_stack.empty() && !of_thread.descriptor.empty())
      exclude_stack_of(of_thread.descriptor.begin, &threads[i]);
  }
  // Stacks of threads that have exited; those of living ones once more, unless they are in use while the thread runs on
  // another.
  auto left_for_another = [&](uintptr_t descriptor) {
    return std::any_of(memory.begin(), memory.end(), [&](const ThreadMemory &of_thread) {
      return !of_thread.native_stack.empty() && of_thread.descriptor.begin == descriptor;
    });
  };
  bool any_left = std::any_of(memory.begin(), memory.end(), [](const auto &m) { return !m.native_stack.empty(); });
  for (const Birth *birth = births::begin(); birth != births::end(); ++birth)
    if (birth->descriptor != 0 && !birth->inherited && !(any_left && left_for_another(birth->descriptor)))
      exclude_stack_of(birth->descriptor, nullptr);
  if (!leader_lives) return;
  for (const Vma &vma : vmas_.all())
    if (vma.path == "[stack]" && memory[0].native_stack.empty()) excluded_.add(vma.range);
}

// The stack under a descriptor, used or not: its guard bounds it below. Where it lies in memory that the application
// mapped or allocated, only what the thread uses is its own. `thread`: null where it has exited.
void RootFinder::exclude_stack_of(uintptr_t descriptor, const StoppedThread *thread) {
  const Birth *birth = births::find(descriptor);
  uintptr_t stack_pointer = thread ? arch::stack_pointer(thread->registers) : 0;
  // Of an ended thread the program may have used the memory for something else.
  if (birth && birth->own_stack.contains(descriptor)) return excluded_.add(stack_pointer ? birth->own_stack : Range{});
  const Vma *vma = vmas_.find(descriptor);
  if (!vma || !vma->is_anonymous() || !vma->writable || !is_descriptor(descriptor, thread ? thread->tid : 0, vmas_))
    return;
  if (inside(application_memory.ranges(), descriptor) || inside(initial(), descriptor) || block_around(descriptor))
    return;
  uintptr_t end =
      page_up(descriptor + (arch::kTlsAbovePointer ? libc_facts.static_tls_size : libc_facts.descriptor_size));
  uintptr_t begin = vma->range.begin;
  if (stack_pointer == 0 && can_be_joined(descriptor, vma->range)) {
    included_.add({descriptor, descriptor + libc_facts.descriptor_size});
    end = descriptor;
  }
  if (end - begin > kLargestStack) begin = stack_pointer ? page_down(stack_pointer) : page_down(descriptor);
  // Memory of the application's that the kernel merged with the stack stays a root.
  for_each_outside({begin, std::min(end, vma->range.end)}, application_memory.ranges(),
                   [&](Range part) { excluded_.add(part); });
}

void RootFinder::include(const Vma &vma) {
  if (vma.shared) {
    bool device = vma.path.substr(0, 5) == "/dev/" && vma.path.substr(0, 9) != "/dev/shm/" &&
                  vma.path.substr(0, 9) != "/dev/zero";
    if (!device && vma.readable && !is_excluded(vma.range)) (is_late(vma) ? later_ : shared_).add(vma.range);
  } else if (vma.is_anonymous()) {
    include_anonymous(vma);
  } else if (vma.writable && vma.readable && vma.path != "[vvar]") {
    included_.add(vma.range);
  } else if (vma.inode != 0) {
    files_.add(vma.range);
  }
}

void RootFinder::include_anonymous(const Vma &vma) {
  // What the program may not read or write now it may have written before, and may read again. In this copy it may be
  // read; where the kernel refuses, reading faults, and faults.h sees to it.
  if (!vma.readable) sys::call(SYS_mprotect, vma.range.begin, vma.range.size(), PROT_READ);
  auto add = [&](Range part) { (vma.readable && vma.writable ? included_ : protected_).add(part); };
  for_each_inside(vma.range, application_memory.ranges(), add);
  for_each_inside(vma.range, initial(), add);
  // What is left is unknown: a root, unless an allocator has it.
  bool doubt = application_memory.incomplete() || application_memory.torn() || allocator_memory.incomplete() ||
               allocator_memory.torn();
  if (doubt) return add(vma.range);
  if (vma.path == "[heap]" || holds_blocks(vma.range)) return;
  for_each_outside(vma.range, allocator_memory.ranges(), add);
}

// What the program said itself, as far as it can be read.
void RootFinder::include_declared() {
  static Range declared[api::kMostRoots];
  size_t count = api::declared_roots(declared, api::kMostRoots);
  for (size_t i = 0; i < count; ++i)
    for (const Vma &vma : vmas_.all())
      if (vma.readable)
        included_.add({std::max(vma.range.begin, declared[i].begin), std::min(vma.range.end, declared[i].end)});
}

// The kernel merges a module's .bss with anonymous memory behind it; the module's own headers tell where it ends.
void RootFinder::include_modules() {
  for_each_data_segment([this](const Vma &, uintptr_t base, const ElfW(Phdr) & segment) {
    Range range{page_down(base + segment.p_vaddr), page_up(base + segment.p_vaddr + segment.p_memsz)};
    if (vmas_.readable(range)) included_.add(range);
  });
}

void RootFinder::exclude_numbers() {
  KnownWords known(vmas_, excluded_);
  for (const Range &memory : initial()) known.find_hashes(memory);
  for_each_data_segment([&](const Vma &first, uintptr_t base, const ElfW(Phdr) & segment) {
    known.find_constants(first, base, segment);
  });
}

// Calls visit(the module's first mapping, what its addresses count from, program header) for each writable segment.
template <typename Visit> void RootFinder::for_each_data_segment(Visit visit) const {
  for (const Vma &first : vmas_.all()) {
    if (first.path.empty() || first.path[0] != '/' || first.offset != 0 || !first.readable || first.shared) continue;
    const auto *header = reinterpret_cast<const ElfW(Ehdr) *>(first.range.begin);
    if (first.range.size() < sizeof *header || header->e_ident[0] != 0x7f || header->e_ident[1] != 'E') continue;
    if (header->e_phentsize != sizeof(ElfW(Phdr)) ||
        header->e_phoff + header->e_phnum * sizeof(ElfW(Phdr)) > first.range.size())
      continue;
    const auto *segments = reinterpret_cast<const ElfW(Phdr) *>(first.range.begin + header->e_phoff);
    uintptr_t base = header->e_type == ET_DYN ? first.range.begin : 0;
    for (int i = 0; i < header->e_phnum; ++i)
      if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_W)) visit(first, base, segments[i]);
  }
}

// Private memory: pages that the process has, in memory or swapped out.
void RootFinder::add_present(Range range) {
  constexpr size_t kWorthAsking = 64 * kPage;
  if (range.size() < kWorthAsking || pagemap_ < 0) return roots_.add(range);
  add_pages(range, is_page_here);
}

// Memory that may not be read, or not be written: mostly guards and reserves, which have no pages.
void RootFinder::add_protected(Range range) {
  if (pagemap_ < 0) return add_resident(range, roots_);
  add_pages(range, is_page_here);
}

// Private mappings of files that cannot be written now: pages that have been, which are anonymous.
void RootFinder::add_written(Range range) {
  constexpr uint64_t kSwapped = uint64_t{1} << 62, kOfFile = uint64_t{1} << 61;
  if (pagemap_ < 0) return;
  add_pages(range,
            [](uint64_t entry) { return (entry & kSwapped) != 0 || (is_page_here(entry) && (entry & kOfFile) == 0); });
}

// Address space that is reserved can be far larger than memory (a database: 8 TiB), and to ask for each of its pages
// takes minutes. Of a whole mapping smaps tells at once that it has none.
bool RootFinder::is_untouched(Range range) {
  constexpr size_t kWorthKnowing = size_t{1} << 30;
  if (range.size() < kWorthKnowing) return false;
  if (!sizes_known_) learn_sizes();
  for (const Range &mapping : untouched_.all())
    if (mapping.begin <= range.begin && range.end <= mapping.end) return true;
  return false;
}

// From smaps: which mappings have no pages, and whether shared memory is swapped out.
void RootFinder::learn_sizes() {
  sizes_known_ = true;
  std::string_view text = self_.read_whole("smaps");
  Range mapping;
  uint64_t pages = 0;
  bool shared = false;
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    uint64_t begin, end, size = 0;
    bool swap = take_prefix(line, "Swap:");
    bool counts = swap || take_prefix(line, "Rss:");
    while (counts && !line.empty() && line[0] == ' ') line.remove_prefix(1);
    if (counts && !take_number(line, size)) size = 1;
    pages += size;
    shared_swapped_ |= swap && shared && size > 0;
    if (take_prefix(line, "VmFlags:") && pages == 0) untouched_.add(mapping);
    if (take_number(line, begin, 16) && take_prefix(line, "-") && take_number(line, end, 16)) {
      mapping = {begin, end}, pages = 0;
      shared = line.substr(0, line.find(' ', 1)).ends_with('s'); // " rw-s ..."
    }
  }
}

// The pages of `range` whose entry in the pagemap is wanted.
template <typename Wanted> void RootFinder::add_pages(Range range, Wanted wanted) {
  if (is_untouched(range)) return;
  uint64_t entries[512];
  uintptr_t begin = 0;
  uintptr_t at = range.begin;
  while (at < range.end) {
    size_t pages = std::min<size_t>(512, (page_up(range.end) - page_down(at)) / kPage);
    long got = sys::call(SYS_pread64, pagemap_, entries, pages * 8, page_down(at) / kPage * 8);
    if (got < 8) return roots_.add({begin ? begin : at, range.end});
    for (long i = 0; i < got / 8; ++i) {
      if (wanted(entries[i]) && !begin) begin = at;
      if (!wanted(entries[i]) && begin) roots_.add({begin, at}), begin = 0;
      at = std::min(page_down(at) + kPage, range.end);
    }
  }
  if (begin) roots_.add({begin, range.end});
}

// Shared memory: pages that exist at all. Reading others would make them.
void RootFinder::add_resident(Range range, RangeList &to) {
  unsigned char residency[512];
  uintptr_t begin = 0;
  uintptr_t at = page_down(range.begin);
  while (at < range.end) {
    size_t pages = std::min<size_t>(512, (page_up(range.end) - at) / kPage);
    if (sys::call(SYS_mincore, at, pages * kPage, residency) != 0) break;
    for (size_t i = 0; i < pages; ++i, at += kPage) {
      bool here = (residency[i] & 1) != 0;
      if (here && !begin) begin = at;
      if (!here && begin) add_shared({std::max(begin, range.begin), at}, to), begin = 0;
    }
  }
  if (begin) add_shared({std::max(begin, range.begin), std::min(at, range.end)}, to);
}

uint64_t RootFinder::estimate_late_present() const {
  constexpr uint64_t kSamples = 16; // each of 512 pages
  unsigned char residency[512];
  uint64_t all = late_bytes(), before = 0, looked_at = 0, present = 0, sample = 0;
  auto next = [&] { return (2 * sample + 1) * (all / (2 * kSamples)); }; // in the middle of its part
  for (const Range &range : later_.all()) {
    for (; sample < kSamples && next() < before + range.size(); ++sample) {
      uintptr_t at = page_down(range.begin + (next() - before));
      size_t pages = std::min<size_t>(std::size(residency), (page_up(range.end) - at) / kPage);
      if (sys::call(SYS_mincore, at, pages * kPage, residency) != 0) continue;
      looked_at += pages;
      present += static_cast<uint64_t>(std::count_if(residency, residency + pages, [](int page) { return page & 1; }));
    }
    before += range.size();
  }
  return looked_at ? all / looked_at * present : all;
}

// A fork copies no page tables of shared memory. To have them filled at once takes less time than page faults, of which
// each brings in sixteen pages; where it fails, they come.
void RootFinder::add_shared(Range present, RangeList &to) {
  constexpr size_t kWorthAsking = 16 * kPage;
  constexpr int kPopulateRead = 22; // MADV_POPULATE_READ
  if (present.size() >= kWorthAsking)
    sys::call(SYS_madvise, page_down(present.begin), page_up(present.end) - page_down(present.begin), kPopulateRead);
  to.add(present);
}

} // namespace castaway
