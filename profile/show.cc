#include "profile/show.h"

#include "profile/file.h"
#include "profile/make_profiles.h"
#include "profile/show_forms.h"

#include <array>
#include <cstdio>
#include <cstring>

namespace castaway {
namespace {

constexpr size_t kLargestInput = size_t(4) << 30;

bool is_capture(const std::vector<std::byte> &bytes) {
  return bytes.size() >= sizeof kCaptureMagic && memcmp(bytes.data(), kCaptureMagic, sizeof kCaptureMagic) == 0;
}

Result<ProfileData> from_capture(const std::vector<std::byte> &bytes, bool threads) {
  const auto capture = Capture::read(bytes);
  if (!capture) return Error{capture.error()};
  const auto profiles = make_profiles(*capture);
  const auto &profile = threads ? profiles.threads : profiles.leak.bytes;
  return parse_profile(std::as_bytes(std::span(profile)));
}

template <typename... Values> std::string formatted(const char *format, Values... values) {
  char text[64];
  snprintf(text, sizeof text, format, values...);
  return text;
}

} // namespace

Result<ProfileData> load_profile(const std::string &path, bool threads) {
  const auto bytes = read_file(path, kLargestInput);
  if (!bytes) return Error{bytes.error()};
  auto profile = is_capture(*bytes) ? from_capture(*bytes, threads) : parse_profile(*bytes);
  if (!profile) return Error{path + ": " + profile.error()};
  return profile;
}

Result<std::string> show(const std::string &path, const ShowOptions &options) {
  const auto profile = load_profile(path, options.threads);
  if (!profile) return Error{profile.error()};
  auto with_path = options;
  with_path.path = path;
  return render(*profile, with_path);
}

std::string render(const ProfileData &profile, const ShowOptions &options) {
  switch (options.debug) {
  case 0:
    return show_summary(profile, options);
  case 1:
    return show_stacks(profile);
  default:
    return show_threads(profile);
  }
}

std::string human_bytes(int64_t bytes) {
  constexpr std::array<const char *, 6> units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024 && bytes > -1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would be shown as 1024.0.
  while ((value >= 1023.95 || value <= -1023.95) && unit + 1 < units.size()) {
    value /= 1024;
    unit++;
  }
  return formatted("%.1f %s", value, units[unit]);
}

std::string human_age(int64_t seconds) {
  const auto s = static_cast<long long>(seconds < 0 ? 0 : seconds);
  if (s < 60) return formatted("%llds", s);
  if (s < 3600) return formatted("%lldm%02llds", s / 60, s % 60);
  if (s < 86400) return formatted("%lldh%02lldm", s / 3600, s / 60 % 60);
  return formatted("%lldd%02lldh", s / 86400, s / 3600 % 24);
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      out += formatted("\\x%02x", byte);
    else
      out += c;
  }
  return out;
}

} // namespace castaway
