// What every example needs to look like a service: options, a log, thread names, and staying alive for a while.
#pragma once

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <pthread.h>
#include <string>
#include <string_view>
#include <thread>

namespace examples {

struct Options {
  int requests = 10; // how often the leaking thing is done
  double stay = 6;   // seconds to stay alive afterwards, so that periodic safepoints happen
};

// Shown by debuggers, top -H and castaway; the kernel keeps 15 characters.
inline void name_this_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

// One line on standard output: time of day, who, what.
[[gnu::format(printf, 2, 3)]] inline void log(const char *who, const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);

  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  localtime_r(&now.tv_sec, &local);
  std::printf("%02d:%02d:%02d.%03ld %-10s %s\n", local.tm_hour, local.tm_min, local.tm_sec, now.tv_nsec / 1000000, who,
              text);
  std::fflush(stdout);
}

[[noreturn]] inline void usage_error(const char *program, const char *argument) {
  std::fprintf(stderr, "%s: cannot read '%s'; usage: %s [--requests N] [--stay SECONDS]\n", program, argument, program);
  std::exit(2);
}

inline double read_number(const char *program, const char *text) {
  char *end = nullptr;
  double value = text ? std::strtod(text, &end) : -1;
  if (!text || end == text || *end != 0 || !(value >= 0 && value <= 1e6)) usage_error(program, text ? text : "");
  return value;
}

inline Options read_options(int argc, char **argv, Options options) {
  for (int i = 1; i < argc; i += 2) {
    std::string_view name = argv[i];
    if (name == "--requests") {
      options.requests = static_cast<int>(read_number(argv[0], argv[i + 1]));
    } else if (name == "--stay") {
      options.stay = read_number(argv[0], argv[i + 1]);
    } else {
      usage_error(argv[0], argv[i]);
    }
  }
  return options;
}

// The rest of a service's life. Nothing more happens in it, and it should need no memory and no threads for that.
inline void stay_alive(const Options &options) {
  log("service", "idle for %.1f s", options.stay);
  std::this_thread::sleep_for(std::chrono::duration<double>(options.stay));
  log("service", "bye");
}

} // namespace examples
