// A program that gives up root for good, and only then loses a thread.
#include "waits.h"

#include <sys/prctl.h>
#include <unistd.h>

namespace {

void *wait_for_nobody(void *semaphore) {
  static_cast<waits::DroppedSem *>(semaphore)->wait();
  return nullptr;
}

void drop_root(support::Mode) {
  constexpr uid_t kNobody = 65534;
  support::require(setgid(kNobody) == 0 && setuid(kNobody) == 0, "setuid");
  support::require(prctl(PR_SET_DUMPABLE, 1) == 0, "PR_SET_DUMPABLE");
  support::start_blocked(wait_for_nobody, support::make<waits::DroppedSem>());
}

constexpr support::Case kCases[] = {{"setuid", drop_root}};

} // namespace

int main(int argc, char **argv) { return support::run(argc, argv, {kCases}); }
