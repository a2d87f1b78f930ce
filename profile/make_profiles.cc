#include "profile/make_profiles.h"

#include "profile/threads_profile.h"

namespace castaway {
namespace {

constexpr uint64_t kUsualPage = 4096;
constexpr uint64_t kLargestPage = 65536;

uint64_t page_size_of(const Capture &capture) {
  const auto size = capture.number_or("page_size", kUsualPage);
  const bool plausible = size >= kUsualPage && size <= kLargestPage && (size & (size - 1)) == 0;
  return plausible ? size : kUsualPage;
}

// Suppressions that cannot be read suppress nothing: better heard twice than never.
Suppressions suppressions_of(const Capture &capture, std::string &trouble) {
  const std::string path(capture.fact("suppressions"));
  if (path.empty()) return {};
  auto suppressions = Suppressions::read(path);
  if (suppressions) return std::move(*suppressions);
  trouble = "suppressions are not applied: " + suppressions.error();
  return {};
}

} // namespace

Profiles make_profiles(const Capture &capture, EarlierSymbols *earlier) {
  Profiles profiles;
  auto parsed = MemoryMap::parse(capture.maps());
  const MemoryMap map = parsed ? *parsed : MemoryMap();
  const Modules modules(map, page_size_of(capture), capture.number_or("pid", 0));
  const auto suppressions = suppressions_of(capture, profiles.trouble);
  // Suppressions name functions and files, so they need them even where the profile shall not have them.
  const bool names_only = capture.fact("symbolize") == "off" && suppressions.empty();
  Symbolizer symbols(modules, names_only ? SymbolDetail::names_only : SymbolDetail::full, "", earlier);
  Analysis analysis(capture, modules, symbols);
  if (!parsed) analysis.add_note("no function has a name: " + parsed.error());
  if (!profiles.trouble.empty()) analysis.add_note(profiles.trouble);
  profiles.leak = make_leak_profile(analysis, suppressions);
  profiles.threads = make_threads_profile(analysis);
  return profiles;
}

} // namespace castaway
