// castaway: finds the command, runs it, and turns a Failure into one line and an exit status.
#include "tools/commands.h"
#include "tools/failure.h"

#include <array>
#include <cstdio>
#include <exception>

namespace castaway {

namespace {

struct Command {
  const char *name;
  const char *about; // empty: not in the overview
  int (*run)(const Arguments &arguments);
};

constexpr std::array kCommands = {
    Command{"run", "Run a program with the leak profiler in it", command_run},
    Command{"check", "Run a program, print what it leaked, fail if it did: for tests and CI", command_check},
    Command{"snap", "Ask a running program for a profile now", command_snap},
    Command{"why", "Print what keeps a block or a thread of a running program alive", command_why},
    Command{"show", "Print a profile as text", command_show},
    Command{"report", "", command_report},
};

void print_overview() {
  puts("Usage: castaway COMMAND [options]\n\nFinds leaked threads and leaked memory in running programs.\n\nCommands:");
  for (const Command &command : kCommands) {
    if (*command.about != 0) printf("  %-8s%s\n", command.name, command.about);
  }
  puts("\nOptions:\n  -h, --help    This text; castaway COMMAND --help tells more of one command\n"
       "  --version     The version of castaway\n\n"
       "Example:\n  castaway run -- ./server --port 8080\n  castaway snap --wait $(pidof server)");
}

int dispatch(const Arguments &words) {
  if (words.empty()) throw Failure(kStatusUsage, "a command is missing (see castaway --help)");
  if (words[0] == "--help" || words[0] == "-h") return print_overview(), 0;
  if (words[0] == "--version") return puts("castaway " CASTAWAY_VERSION), 0;
  for (const Command &command : kCommands) {
    if (words[0] == command.name) return command.run(Arguments(words.begin() + 1, words.end()));
  }
  const char *what = words[0].starts_with('-') ? "unknown option " : "unknown command ";
  throw Failure(kStatusUsage, what + in_quotes(words[0]) + " (see castaway --help)");
}

// A full disk or a closed pipe must not pass for success.
int after_flush(int status) {
  if (fflush(stdout) == 0 && ferror(stdout) == 0) return status;
  throw Failure(kStatusFailed, "standard output cannot be written");
}

} // namespace

} // namespace castaway

int main(int argc, char **argv) {
  try {
    return castaway::after_flush(castaway::dispatch(castaway::Arguments(argv + 1, argv + argc)));
  } catch (const castaway::Failure &failure) {
    castaway::complain(failure.what());
    return failure.status();
  } catch (const std::exception &error) {
    castaway::complain(error.what());
    return castaway::kStatusFailed;
  }
}
