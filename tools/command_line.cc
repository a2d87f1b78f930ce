#include "tools/command_line.h"

#include "tools/failure.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

namespace castaway {

namespace {

bool is_option(const std::string &word) { return word.size() > 1 && word[0] == '-'; }

// CLI11's sentences, where they are of use to nobody, in the words of this tool.
std::string in_own_words(const CLI::ParseError &error, const CLI::App &app) {
  if (dynamic_cast<const CLI::ExtrasError *>(&error) != nullptr) {
    const Arguments extras = app.remaining();
    const std::string first = extras.empty() ? "" : extras.front();
    return (is_option(first) ? "unknown option " : "unexpected argument ") + in_quotes(first);
  }
  std::string text = error.what();
  if (const size_t at = text.find(": 1 required "); at != std::string::npos)
    return text.substr(0, at) + ": value missing";
  return text;
}

// CLI11's help with a usage line of our own, as it knows nothing of "-- CMD", and without its remarks on options.
class HelpFormat : public CLI::Formatter {
public:
  explicit HelpFormat(std::string usage) : usage_(std::move(usage)) { column_width(24); }

  std::string make_usage(const CLI::App * /*app*/, std::string /*name*/) const override { return "\n" + usage_ + "\n"; }

  std::string make_option_opts(const CLI::Option *option) const override {
    return option->get_type_name().empty() ? "" : " " + option->get_type_name();
  }

private:
  std::string usage_;
};

} // namespace

CommandLine::CommandLine(const std::string &name, const std::string &usage, const std::string &about,
                         const std::string &example)
    : name_(name), app_(std::make_unique<CLI::App>(about, "castaway " + name)) {
  app_->formatter(std::make_shared<HelpFormat>("Usage: castaway " + name + " " + usage));
  app_->set_help_flag("-h,--help", "This text");
  app_->footer("Example:\n" + example);
}

CommandLine::~CommandLine() = default;

void CommandLine::add(const Argument &argument, std::string &value) {
  CLI::Option *option = app_->add_option(argument.name, value, argument.about);
  option->type_name(argument.value_name)->required(argument.is_required);
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  if (argument.refusal) option->check(CLI::Validator(argument.refusal, ""));
  if (!argument.value_alone.empty()) option->expected(0, 1)->default_str(argument.value_alone);
  if (!argument.needs.empty()) option->needs(app_->get_option(argument.needs));
}

void CommandLine::add_flag(const std::string &name, const std::string &about, bool &value) {
  app_->add_flag(name, value, about);
}

void CommandLine::refuse_empty_values(const Arguments &arguments) const {
  for (const std::string &word : arguments) {
    if (word == "--") return;
    if (word.size() > 3 && word.starts_with("--") && word.find('=') == word.size() - 1)
      throw Failure(kStatusUsage, name_ + ": " + escaped(word.substr(0, word.size() - 1)) + ": value missing");
  }
}

bool CommandLine::parse(const Arguments &arguments) {
  refuse_empty_values(arguments);
  try {
    app_->parse(Arguments(arguments.rbegin(), arguments.rend())); // CLI11 takes them from the back
  } catch (const CLI::CallForHelp &) {
    fputs(app_->help().c_str(), stdout);
    return false;
  } catch (const CLI::ParseError &error) {
    throw Failure(kStatusUsage, name_ + ": " + in_own_words(error, *app_) + " (see castaway " + name_ + " --help)");
  }
  return true;
}

bool CommandLine::takes_as_value(const std::string &option, const std::string &next) const {
  const CLI::Option *known = app_->get_option_no_throw(option);
  if (known == nullptr || known->get_items_expected_max() == 0 || next == "--") return false;
  return known->get_items_expected_min() > 0 || !is_option(next); // a switch may stand alone
}

// How many words at the front are options and their values. CMD begins behind them, or behind a "--" there.
size_t CommandLine::count_option_words(const Arguments &arguments) const {
  size_t at = 0;
  while (at < arguments.size() && is_option(arguments[at]) && arguments[at] != "--") {
    const bool has_next = at + 1 < arguments.size();
    at += has_next && takes_as_value(arguments[at], arguments[at + 1]) ? 2 : 1;
  }
  return at;
}

bool CommandLine::parse_before_command(const Arguments &arguments, Arguments &command) {
  const auto end = arguments.begin() + static_cast<std::ptrdiff_t>(count_option_words(arguments));
  const auto first = end != arguments.end() && *end == "--" ? end + 1 : end;
  command.assign(first, arguments.end());
  return parse(Arguments(arguments.begin(), end));
}

} // namespace castaway
