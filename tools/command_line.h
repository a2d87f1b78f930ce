// The command line of one command: CLI11, with castaway's own rules around it.
//
// CLI11 does the options and --help. What it would guess is refused here instead: an empty value after '=' (it would
// take the next argument), and the words of CMD (it would look for options and brackets in them), which are cut off
// before it sees them. Every refusal is a Failure with status 2 that names the argument.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace castaway {

using Arguments = std::vector<std::string>;

class CommandLine {
public:
  // `usage` follows "castaway NAME" in the help, `example` stands at its end.
  CommandLine(const std::string &name, const std::string &usage, const std::string &about, const std::string &example);
  CommandLine(const CommandLine &) = delete;
  CommandLine &operator=(const CommandLine &) = delete;
  ~CommandLine();

  // Says why a value is refused; an empty string accepts it.
  using Refusal = std::function<std::string(const std::string &value)>;

  struct Argument {
    std::string name; // "--interval", or "FILE" for one that stands without a dash
    std::string value_name;
    std::string about;
    Refusal refusal = {};
    bool is_required = false;
    std::string value_alone = {}; // of an option whose value may be left out
    std::string needs = {};       // an option, added before, that must be there too
  };
  // All must be added before parsing; `value` keeps what it has if the argument is not given.
  void add(const Argument &argument, std::string &value);
  void add_flag(const std::string &name, const std::string &about, bool &value);

  // Reads all arguments. False: --help was asked for and printed, the command is done.
  bool parse(const Arguments &arguments);

  // Reads the options before CMD; CMD and its arguments, possibly none, go to `command` untouched.
  bool parse_before_command(const Arguments &arguments, Arguments &command);

private:
  void refuse_empty_values(const Arguments &arguments) const;
  size_t count_option_words(const Arguments &arguments) const;
  bool takes_as_value(const std::string &option, const std::string &next) const;

  std::string name_;
  std::unique_ptr<CLI::App> app_;
};

} // namespace castaway
