// Every kind of root keeps what it points to; the same place without the pointer does not.
#include "target.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace e2e {
namespace {

constexpr const char *kRoots[] = {
    "global",
    "static_local",
    "plugin_bss",
    "putenv",
    "setenv",
    "initial_stack",
    "on_exit",
    "atexit",
    "stdio_buffer",
    "thread_stack",
    "thread_local",
    "plugin_thread_local",
    "early_key",
    "late_key",
    "under_handler",
    "unjoined",
    "joined",
    "detached",
    "alternate_stack",
#if defined(__x86_64__)
    "callee_saved_register",
    "caller_saved_register",
    "xmm_register",
    "register_in_call",
#endif
    "mmap",
    "shared_anonymous",
    "private_file",
    "shared_file",
    "mremap",
    "heap_neighbour",
    "reserve",
    "code",
    "writable_code",
    "epoll_data",
    "timer_value",
    "pipe",
    "pipe_at_odd_byte",
    "stream_socket",
    "message_socket",
    "unforked",
    "unforked_shared",
    "unforked_hole",
    "unforked_block",
    "unforked_stack",
    "wiped",
    "wiped_page",
    "hole",
    "hole_of_block",
    "protected_file",
    "protected_unknown",
    "truncated_file",
    "keyed",
    "queue_notification",
    "queued_signal",
    "ring_request",
    "aio_request",
    "low_tagged_1",
    "low_tagged_7",
    "high_tagged",
    "both_tagged",
    "interior",
    "last_byte",
    "function_capture",
    "ucontext_mmap",
    "ucontext_heap",
};

struct Named {
  const char *program;
  const char *root;
  const char *stop = "ptrace";
};

std::vector<Named> every_root() {
  std::vector<Named> all;
  for (const char *program : {"roots", "roots_O0"})
    for (const char *root : kRoots) all.push_back({program, root});
  for (const char *root : kRoots) all.push_back({"roots", root, "signal"});
  return all;
}

void PrintTo(const Named &named, std::ostream *out) { *out << named.program << " " << named.root << " " << named.stop; }

bool has_protection_keys() {
  const int key = pkey_alloc(0, 0);
  return key > 0 && pkey_free(key) == 0;
}

class Roots : public testing::TestWithParam<Named> {
protected:
  void SetUp() override {
    if (GetParam().root == std::string_view("keyed") && !has_protection_keys())
      GTEST_SKIP() << "this processor has no protection keys";
  }
  Target target_in_mode(const char *mode) {
    return Target({program(GetParam().program), GetParam().root, mode}, {.stop = GetParam().stop});
  }
};

TEST_P(Roots, KeepWhatTheyHold) {
  Target target = target_in_mode("held");
  target.await_ready();
  Profile profile = target.snap();
  expect_stopped_by(profile, GetParam().stop);
  expect_nothing_leaked(profile);
  target.expect_clean_end();
}

TEST_P(Roots, WithoutThePointerItLeaks) {
  Target target = target_in_mode("leak");
  target.await_ready();
  Profile profile = target.snap();
  SCOPED_TRACE(profile.text());
  EXPECT_EQ(profile.totals().threads, 0);
  EXPECT_EQ(profile.totals().objects, target.number("objects"));
  EXPECT_EQ(profile.totals().bytes, target.number("bytes"));
  EXPECT_EQ(profile.totals_of("support::take").bytes, target.number("bytes"));
  target.expect_clean_end();
}

INSTANTIATE_TEST_SUITE_P(, Roots, testing::ValuesIn(every_root()), [](const auto &each) {
  return std::string(each.param.root) + (std::string_view(each.param.program) == "roots" ? "_O2" : "_O0") +
         (std::string_view(each.param.stop) == "signal" ? "_by_signal" : "");
});

} // namespace
} // namespace e2e
