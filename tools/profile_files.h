// Profile files of an output directory, by their names: COMM.PID.leak.SEQ.pb.gz.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace castaway {

struct ProfileName {
  std::string comm;
  pid_t pid = 0;
  uint64_t sequence = 0;
};

// Nothing if it is not the name of one safepoint's leak profile.
std::optional<ProfileName> parse_profile_name(std::string_view file_name);

struct ProfileFile {
  ProfileName name;
  std::filesystem::path path;
};

// What was there before something ran: file names with inodes, as names come again.
using Present = std::set<std::pair<std::string, ino_t>>;
Present list_present(const std::filesystem::path &directory);

// The newest leak profile of each process among those not in `before`; by pid.
std::vector<ProfileFile> newest_profiles(const std::filesystem::path &directory, const Present &before);

} // namespace castaway
