// Settings: the options of `run` and `check` that become CASTAWAY_ variables of the target.
//
// One table has them all: variable, option, accepted forms. Values are checked here, so that a slip on the command line
// is refused with one line before anything runs; the runtime reads the same forms again, as the variables also come
// without this tool. Paths become absolute, since the target may change its directory.
#pragma once

#include "tools/command_line.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace castaway {

class Settings {
public:
  Settings();

  // Help texts by variable that differ from the table's; an empty one leaves its option out.
  using Texts = std::map<std::string, std::string>;
  void add_to(CommandLine &line, const Texts &texts = {});

  // What was given, else what the environment has, else nothing.
  std::string value(const std::string &variable) const;

  // Overrides what was given.
  void set(const std::string &variable, const std::string &value);

  // Where profiles will go: absolute, never empty.
  std::filesystem::path output() const;

  // Sets the variables in this process's environment.
  void export_to_environment() const;

private:
  std::vector<std::string> values_; // parallel to the table; empty = not given
};

} // namespace castaway
