// libFuzzer: profiles, maps and suppressions of any bytes.
#include "profile/maps.h"
#include "profile/show.h"
#include "profile/suppressions.h"

#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace castaway;
  const std::string_view text(reinterpret_cast<const char *>(data), size);
  if (const auto map = MemoryMap::parse(text)) map->find(size);
  if (const auto known = Suppressions::parse(text, "fuzz")) known->matches_leak(text);
  const auto profile = parse_profile(std::as_bytes(std::span(data, size)));
  if (!profile) return 0;
  for (const int debug : {0, 1, 2}) {
    ShowOptions options;
    options.debug = debug;
    render(*profile, options);
  }
  for (const auto &sample : profile->samples) sample_identity(*profile, sample);
  return 0;
}
