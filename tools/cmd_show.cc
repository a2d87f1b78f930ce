// castaway show: a profile as text on standard output.
#include "profile/show.h"
#include "tools/commands.h"
#include "tools/failure.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>

namespace castaway {

namespace {

std::string refuse_debug(const std::string &value) {
  return value == "1" || value == "2" ? "" : in_quotes(value) + " is not 1 or 2";
}

std::string refuse_color(const std::string &value) {
  return value == "auto" || value == "always" || value == "never" ? ""
                                                                  : in_quotes(value) + " is not auto, always or never";
}

bool is_wanted(const std::string &color) {
  if (color != "auto") return color == "always";
  const char *plain = getenv("NO_COLOR"); // https://no-color.org
  return isatty(STDOUT_FILENO) == 1 && (plain == nullptr || *plain == 0);
}

} // namespace

int command_show(const Arguments &arguments) {
  std::string file;
  std::string debug;
  std::string color = "auto";
  CommandLine line("show", "[options] FILE",
                   "Prints a profile: a summary, or all of it in the shape that Go users know.",
                   "  castaway show castaway-out/server.4711.leak.pb.gz\n"
                   "  castaway show --debug 2 castaway-out/server.4711.leak.pb.gz");
  line.add({"FILE", "", "A profile (.pb.gz)", {}, true}, file);
  line.add({"--debug", "1|2", "1: groups of equal stacks; 2: an entry per thread", refuse_debug}, debug);
  line.add({"--color", "WHEN", "auto, always or never (default auto: on a terminal)", refuse_color}, color);
  if (!line.parse(arguments)) return 0;

  ShowOptions options;
  options.debug = debug.empty() ? 0 : debug[0] - '0';
  options.colour = is_wanted(color);
  const Result<std::string> text = show(file, options);
  if (!text) throw Failure(kStatusFailed, "show: " + text.error());
  fwrite(text->data(), 1, text->size(), stdout);
  return 0;
}

} // namespace castaway
