// libFuzzer: a capture of any bytes, all the way to its texts.
#include "profile/make_profiles.h"
#include "profile/show.h"

#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using namespace castaway;
  const auto capture = Capture::read(std::as_bytes(std::span(data, size)));
  if (!capture) return 0;
  const auto profiles = make_profiles(*capture);
  for (const auto *bytes : {&profiles.leak.bytes, &profiles.threads}) {
    const auto profile = parse_profile(std::as_bytes(std::span(*bytes)));
    if (!profile) __builtin_trap(); // what we write, we read
    for (const int debug : {0, 1, 2}) {
      ShowOptions options;
      options.debug = debug;
      if (render(*profile, options).find('\033') != std::string::npos) __builtin_trap();
    }
  }
  return 0;
}
