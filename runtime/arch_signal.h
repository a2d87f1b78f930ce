// What differs between processors when threads are stopped by a signal: the context that the kernel hands to a handler.
#pragma once

#if defined(__x86_64__)
#include "runtime/arch_signal_x86_64.h"
#elif defined(__aarch64__)
#include "runtime/arch_signal_aarch64.h"
#else
#error "castaway knows x86-64 and aarch64"
#endif
