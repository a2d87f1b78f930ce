// In place of libdw's way to debuginfod servers, where the command is linked without a loader: it would load a shared
// library for HTTP, which needs the libc that the command was built with. No report waits for a network anyway
// (profile/symbolizer.cc).
//
// The names and types are those of elfutils' libdwfl/libdwflP.h and debuginfod-client.c.
#include <cstddef>

extern "C" {
int __libdwfl_debuginfod_find_debuginfo(void *, const unsigned char *, size_t) { return -1; }
int __libdwfl_debuginfod_find_executable(void *, const unsigned char *, size_t) { return -1; }
void __libdwfl_debuginfod_end(void *) {}
}
