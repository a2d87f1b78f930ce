// castaway run: becomes the program, with the runtime preloaded and the settings in its environment.
#include "tools/commands.h"
#include "tools/failure.h"
#include "tools/launch.h"

namespace castaway {

int command_run(const Arguments &arguments) {
  CommandLine line("run", "[options] -- CMD ARGS...",
                   "Runs CMD with the leak profiler in it: same pid, same output, same exit status.",
                   "  castaway run --interval 5m --output /var/tmp/leaks -- ./server --port 8080");
  Settings settings;
  settings.add_to(line);
  Arguments command;
  if (!line.parse_before_command(arguments, command)) return 0;
  if (command.empty()) throw Failure(kStatusUsage, "run: CMD is missing (castaway run [options] -- CMD ARGS...)");

  const Launch launch(command, settings);
  if (!launch.obstacle().empty()) complain("profiling is off: " + launch.obstacle());
  launch.execute();
}

} // namespace castaway
