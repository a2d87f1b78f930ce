// The target is undisturbed: see calm.h.
#include "calm.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace calm {

Milliseconds span_of(int argc, char **argv, int otherwise) {
  return Milliseconds(argc > 2 ? atoi(argv[2]) : otherwise);
}

void repeat(Milliseconds span, const std::function<bool()> &step) {
  Clock::time_point end = Clock::now() + span;
  while (Clock::now() < end)
    if (!step()) return;
}

bool expect(bool fine, const char *format, ...) {
  if (fine) return true;
  va_list arguments;
  va_start(arguments, format);
  char text[512];
  int length = vsnprintf(text, sizeof text - 1, format, arguments);
  va_end(arguments);
  text[length] = '\n';
  return write(STDOUT_FILENO, text, length + 1) < 0;
}

int done(char **argv) {
  dprintf(STDOUT_FILENO, "%s done\n", argv[1]);
  return 0;
}

} // namespace calm

int main(int argc, char **argv) {
  std::string_view wanted = argc > 1 ? argv[1] : "";
  for (auto table : {calm::kCalls, calm::kDescriptors, calm::kProcesses, calm::kEnds, calm::kThreads, calm::kSignals,
                     calm::kStorms, calm::kHandOffs, calm::kShared})
    for (const calm::Case &each : table)
      if (each.name == wanted) return each.run(argc, argv);
  dprintf(STDERR_FILENO, "calm: no case '%s'\n", argc > 1 ? argv[1] : "");
  return 2;
}
