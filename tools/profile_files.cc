#include "tools/profile_files.h"

#include "tools/values.h"

#include <limits>
#include <map>
#include <sys/stat.h>

namespace castaway {

namespace {

// Takes ".TEXT" from the end of `name` and gives back TEXT.
std::string_view take_last_part(std::string_view &name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string_view part = name.substr(dot + 1);
  name = name.substr(0, dot);
  return part;
}

template <typename Visit> void for_each_file(const std::filesystem::path &directory, Visit visit) {
  std::error_code error;
  for (const auto &entry : std::filesystem::directory_iterator(directory, error)) {
    struct stat status = {};
    if (lstat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) visit(entry.path(), status.st_ino);
  }
}

} // namespace

std::optional<ProfileName> parse_profile_name(std::string_view file_name) {
  if (take_last_part(file_name) != "gz" || take_last_part(file_name) != "pb") return std::nullopt;
  const auto sequence = read_number(take_last_part(file_name), 0, std::numeric_limits<uint64_t>::max());
  if (!sequence || take_last_part(file_name) != "leak") return std::nullopt;
  const auto pid = read_number(take_last_part(file_name), 1, std::numeric_limits<pid_t>::max());
  if (!pid || file_name.empty()) return std::nullopt;
  return ProfileName{std::string(file_name), static_cast<pid_t>(*pid), *sequence};
}

Present list_present(const std::filesystem::path &directory) {
  Present present;
  for_each_file(directory,
                [&](const std::filesystem::path &path, ino_t inode) { present.emplace(path.filename(), inode); });
  return present;
}

std::vector<ProfileFile> newest_profiles(const std::filesystem::path &directory, const Present &before) {
  std::map<std::pair<pid_t, std::string>, ProfileFile> newest;
  for_each_file(directory, [&](const std::filesystem::path &path, ino_t inode) {
    const auto name = parse_profile_name(path.filename().native());
    if (!name || before.contains({path.filename(), inode})) return;
    ProfileFile &best = newest[{name->pid, name->comm}];
    if (best.path.empty() || name->sequence > best.name.sequence) best = {*name, path};
  });
  std::vector<ProfileFile> files;
  files.reserve(newest.size());
  for (const auto &[key, file] : newest) files.push_back(file);
  return files;
}

} // namespace castaway
