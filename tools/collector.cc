#include "tools/collector.h"

#include "profile/collector_protocol.h"
#include "profile/gzip.h"
#include "profile/text.h"
#include "profile/timed_stream.h"
#include "runtime/status_page.h"
#include "tools/failure.h"
#include "tools/status_client.h"

#include <cerrno>
#include <climits>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <span>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace castaway {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// A peer without the secret must not hold up the others for long.
constexpr auto kHeaderLimit = 2s;
constexpr auto kProfileLimit = 10s;
constexpr auto kAnswerLimit = 2s;
constexpr auto kLook = 500ms;        // between looks for a process to watch
constexpr auto kQuiet = 2s;          // without one, until the end; a new process has its status page within 100 ms
constexpr int kMostEntries = 100000; // of the directory that are looked at
constexpr size_t kMostPages = 10000; // that are remembered

bool has_credentials(int socket) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && size == sizeof peer;
}

Result<StoredProfile> store(const CollectorRequest &request, const std::string &bytes,
                            const std::filesystem::path &output) {
  if (!is_gzip(std::as_bytes(std::span(bytes)))) return Error{"the collector takes profiles only"};
  const Descriptor directory(open(output.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.ok()) return Error{"cannot open " + output.native() + ": " + os_error(errno)};
  return ProfileStore(directory.get(), request.comm, request.pid).put(request.kind, request.seq, request.keep, bytes);
}

std::string page_of(const CollectorRequest &request) {
  return "." + request.comm + "." + std::to_string(request.pid) + kStatusSuffix;
}

Result<StoredProfile> take(const TimedStream &peer, const std::string &secret, const std::filesystem::path &output,
                           std::string &page) {
  const auto header = peer.receive(kCollectorHeaderSize, kHeaderLimit);
  if (!header) return Error{"the collector got no header: " + header.error()};
  const auto request = decode_request(*header);
  if (!request) return Error{request.error()};
  if (!is_same_secret(request->secret, secret)) return Error{"the collector takes nothing from strangers"};
  const auto bytes = peer.receive(request->size, kProfileLimit);
  if (!bytes) return Error{"the collector got no whole profile: " + bytes.error()};
  auto stored = store(*request, *bytes, output);
  if (stored) page = page_of(*request);
  return stored;
}

Descriptor open_process(pid_t pid) { return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

bool is_readable(int descriptor) {
  pollfd item{descriptor, POLLIN, 0};
  return poll(&item, 1, 0) > 0;
}

// The pid in ".<comm>.<pid>.castaway".
std::optional<pid_t> pid_of_page(std::string_view name) {
  constexpr std::string_view suffix = kStatusSuffix;
  if (!name.starts_with('.') || !name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  const auto pid = parse_decimal(name.substr(name.rfind('.') + 1));
  if (!pid || *pid < 1 || *pid > INT_MAX) return std::nullopt;
  return static_cast<pid_t>(*pid);
}

// The process, if it is still the one that has made the page: a page stays where its process was killed, or could not
// remove it, and pids come back.
Descriptor profiled_process(pid_t pid) {
  Descriptor process = open_process(pid);
  if (!process.ok() || is_readable(process.get())) return Descriptor();
  try {
    const StatusClient page(pid, 0ms);
    return process;
  } catch (const Failure &) {
    return Descriptor();
  }
}

// Any profiled process that is alive.
Descriptor find_profiled_process(const std::filesystem::path &output) {
  const std::unique_ptr<DIR, int (*)(DIR *)> directory(opendir(output.c_str()), closedir);
  if (!directory) return Descriptor();
  for (int i = 0; i < kMostEntries; ++i) {
    const auto *entry = readdir(directory.get());
    if (entry == nullptr) break;
    const auto pid = pid_of_page(entry->d_name);
    if (!pid) continue;
    if (Descriptor process = profiled_process(*pid); process.ok()) return process;
  }
  return Descriptor();
}

} // namespace

std::string serve_peer(Descriptor connection, const std::string &secret, const std::filesystem::path &output) {
  if (!has_credentials(connection.get())) return "";
  const TimedStream peer(std::move(connection));
  std::string page;
  const auto answer = encode_answer(take(peer, secret, output, page));
  // A peer that does not want to know has not earned more.
  static_cast<void>(peer.send(answer, kAnswerLimit));
  return page;
}

void Collector::serve(Descriptor connection) {
  const auto page = serve_peer(std::move(connection), secret_, output_);
  if (!page.empty() && pages_.size() < kMostPages) pages_.insert(page);
  remove_old_pages();
}

void Collector::remove_old_pages() {
  const Descriptor directory(open(output_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  std::erase_if(pages_, [&](const std::string &page) {
    const auto pid = pid_of_page(page);
    if (pid && (kill(*pid, 0) == 0 || errno != ESRCH)) return false;
    if (directory.ok()) unlinkat(directory.get(), page.c_str(), 0);
    return true;
  });
}

// Until a peer comes, the watched process ends, or so much time has passed.
void Collector::serve_next(std::chrono::milliseconds most) {
  pollfd items[2] = {{listener_.get(), POLLIN, 0}, {watched_.get(), POLLIN, 0}};
  if (poll(items, 2, static_cast<int>(most.count())) <= 0 || (items[0].revents & POLLIN) == 0) return;
  Descriptor connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (connection.ok()) return serve(std::move(connection));
  std::this_thread::sleep_for(100ms); // no memory, perhaps: it is still in the queue
}

void Collector::watch() {
  if (watched_.ok() && !is_readable(watched_.get())) return;
  watched_ = Descriptor();
  watched_ = find_profiled_process(output_);
}

void Collector::run() {
  constexpr auto kForever = -1ms;
  auto last_seen = Clock::now();
  while (Clock::now() - last_seen < kQuiet) {
    serve_next(watched_.ok() ? kForever : kLook);
    watch();
    if (watched_.ok()) last_seen = Clock::now();
  }
  remove_old_pages();
}

} // namespace castaway
