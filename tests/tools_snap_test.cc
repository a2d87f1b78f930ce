// castaway snap against status pages that this test makes and serves itself, good ones and hostile ones: the process
// that is asked is the test.
#include "runtime/status_page.h"
#include "tests/run_command.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace castaway {
namespace {

constexpr char kPageName[] = ".server.1.castaway";

long futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  return syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), operation, value, nullptr, nullptr, 0);
}

// A status page that this process has mapped, as the runtime would.
class MappedPage {
public:
  explicit MappedPage(size_t size = sizeof(StatusPage), const std::string &name = kPageName) {
    fd_ = open((directory_ / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(size)), 0);
    memory_ = mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (size < sizeof(StatusPage)) return; // nothing there to write to
    page_ = new (memory_) StatusPage{};
    memcpy(page_->magic, kStatusMagic, sizeof kStatusMagic);
    page_->pid = getpid();
    page_->size = sizeof(StatusPage);
  }
  MappedPage(const MappedPage &) = delete;
  MappedPage &operator=(const MappedPage &) = delete;
  ~MappedPage() {
    munmap(memory_, sizeof(StatusPage));
    close(fd_);
  }

  StatusPage *operator->() const { return page_; }
  std::filesystem::path file() const { return directory_ / kPageName; }
  int descriptor() const { return fd_; }

private:
  TestDirectory directory_;
  int fd_ = -1;
  void *memory_ = nullptr;
  StatusPage *page_ = nullptr;
};

// As much of the text as fits, with its end only if there is room for it.
template <size_t N> void store(char (&to)[N], const std::string &text) {
  memcpy(to, text.c_str(), std::min(N, text.size() + 1));
}

// Serves one request, as the runtime's agent would.
class Agent {
public:
  Agent(StatusPage *page, const std::string &profile, const std::string &trouble)
      : thread_([=] {
          const uint32_t before = page->completed;
          while (page->requested == before) futex(page->requested, FUTEX_WAIT, before);
          store(page->last_profile, profile);
          store(page->last_trouble, trouble);
          page->completed = page->requested.load();
          futex(page->completed, FUTEX_WAKE, INT_MAX);
        }) {}
  ~Agent() { thread_.join(); }

private:
  std::thread thread_;
};

Finished snap(const std::vector<std::string> &options, pid_t pid = getpid()) {
  std::vector<std::string> argv = {"castaway", "snap"};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.push_back(std::to_string(pid));
  return run_command(argv);
}

void expect_refused(const Finished &finished, const std::string &reason) {
  EXPECT_EQ(finished.status, 1);
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(finished.error_lines(), 1u) << finished.err;
  EXPECT_TRUE(finished.err.starts_with("castaway: process ")) << finished.err;
  EXPECT_NE(finished.err.find(reason), std::string::npos) << finished.err;
}

TEST(Snap, WaitPrintsTheProfile) {
  const MappedPage page;
  page->requested = page->completed = UINT32_MAX; // the count wraps around
  const Agent agent(page.operator->(), "/out/server.1.leak.3.pb.gz", "");
  const Finished finished = snap({"--wait"});
  EXPECT_EQ(finished.out, "/out/server.1.leak.3.pb.gz\n");
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(finished.status, 0);
}

TEST(Snap, WithoutWaitAsksAndIsDone) {
  const MappedPage page;
  page->requested = page->completed = 41;
  const Finished finished = snap({});
  EXPECT_EQ(page->requested, 42u);
  EXPECT_EQ(finished.out + finished.err, "");
  EXPECT_EQ(finished.status, 0);
}

TEST(Snap, TroubleIsTheError) {
  const MappedPage page;
  const Agent agent(page.operator->(), "/out/old.pb.gz", "a thread escaped");
  expect_refused(snap({"--wait"}), "a thread escaped");
}

TEST(Snap, ServedWithoutAnythingIsAnError) {
  const MappedPage page;
  const Agent agent(page.operator->(), "", "");
  expect_refused(snap({"--wait"}), "no profile");
}

TEST(Snap, ProfileWithControlCharactersCannotDriveTheTerminal) {
  const MappedPage page;
  const Agent agent(page.operator->(), "/out/\033[2J\n", "");
  EXPECT_EQ(snap({"--wait"}).out, "/out/\\x1b[2J\\n\n");
}

TEST(Snap, StringsWithoutEndAreBounded) {
  const MappedPage page;
  const std::string endless(5000, 'x');
  const Agent agent(page.operator->(), endless, "");
  EXPECT_EQ(snap({"--wait"}).out, std::string(sizeof page->last_profile, 'x') + "\n");
}

TEST(Snap, TimesOut) {
  const MappedPage page;
  expect_refused(snap({"--wait", "--timeout", "150ms"}), "within 150ms");
}

TEST(Snap, EndOfTheProcessEndsTheWait) {
  const Finished finished = run_shell("exec 3< <(python3 -c '\n"
                                      "import mmap,os,struct,tempfile\n"
                                      "f=tempfile.NamedTemporaryFile(suffix=\".castaway\")\n"
                                      "f.truncate(4096)\n"
                                      "m=mmap.mmap(f.fileno(),4096)\n"
                                      "m[:16]=b\"CASTSTA1\"+struct.pack(\"iI\",os.getpid(),4096)\n"
                                      "print(os.getpid(),flush=True)\n"
                                      "while not m[16]: pass\n'); read pid <&3; $CASTAWAY snap --wait $pid");
  expect_refused(finished, "ended before");
}

TEST(Snap, PageOfAnotherProcessIsRefused) {
  const MappedPage page;
  page->pid = getpid() + 1;
  expect_refused(snap({}), "another process");
  EXPECT_EQ(page->requested, 0u);
}

TEST(Snap, WrongMagicIsRefused) {
  const MappedPage page;
  page->magic[7] = '9';
  expect_refused(snap({}), "another version");
}

TEST(Snap, SmallerPageIsRefused) {
  const MappedPage page;
  page->size = sizeof(StatusPage) - 8;
  expect_refused(snap({}), "another version");
}

TEST(Snap, TruncatedPageIsRefused) {
  const MappedPage page(sizeof(StatusPage) - 1);
  expect_refused(snap({}), "too short");
}

TEST(Snap, OtherFileOfTheSameNameIsNotThePage) {
  const MappedPage page;
  std::filesystem::remove(page.file());
  const int other = open(page.file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_EQ(ftruncate(other, sizeof(StatusPage)), 0);
  const Finished finished = snap({});
  close(other);
  // Root reaches the deleted one by way of /proc/PID/map_files; nobody takes the new one for it.
  if (geteuid() == 0 && finished.status == 0)
    EXPECT_EQ(page->requested, 1u);
  else
    expect_refused(finished, "cannot be opened");
}

TEST(Snap, PageOfSomebodyElseIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const MappedPage page;
  ASSERT_EQ(fchown(page.descriptor(), 12345, 12345), 0);
  expect_refused(snap({}), "another user");
  EXPECT_EQ(page->requested, 0u);
}

TEST(Snap, ProcessWithoutTheRuntime) { expect_refused(snap({}), "not preloaded"); }

} // namespace
} // namespace castaway
