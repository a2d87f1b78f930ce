// What differs between processors, behind one contract: system calls, tasks, registers of a stopped thread.
//
// Exactly one implementation is compiled; another processor fails here, loudly.
#pragma once

#if defined(__x86_64__)
#include "runtime/arch_x86_64.h"
#elif defined(__aarch64__)
#include "runtime/arch_aarch64.h"
#else
#error "castaway knows x86-64 and aarch64"
#endif
