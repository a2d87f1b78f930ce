// What a thread waits on, in words. Pure; any thread; OFFLINE.
#pragma once

#include "scanner/capture.h"

#include <span>
#include <string>
#include <string_view>

namespace castaway {

// What the names on the stack (leaf first) tell of a wait that the runtime only saw as a futex; `seen` itself where
// the runtime knew more, or where the names say nothing.
WaitKind refine_wait(WaitKind seen, std::span<const std::string_view> functions);

// Labels `wait` and `reason`; empty for `none`.
std::string_view wait_label(WaitKind wait);
std::string_view reason_label(Reason reason);

// "cond wait", as in `[cond wait (leaked), 5 minutes]`. Takes the label, so that it serves profiles read back too.
std::string_view wait_words(std::string_view label);

// What a thread does, for label `state` of the threads profile: "running", "cond wait", "epoll_wait", ...
std::string thread_state(const ThreadRecord &thread, WaitKind wait, Machine machine);

} // namespace castaway
