// What differs between processors when threads are stopped by a signal: the context that the kernel hands to a handler.
#pragma once

#if defined(__x86_64__)
#include "runtime/arch_signal_x86_64.h"
#else
#error "castaway stops threads by signal on x86-64 only"
#endif
