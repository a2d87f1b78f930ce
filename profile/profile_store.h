// ProfileStore: the profiles of one process in the output directory.
//
// Names are INTERFACE's: <comm>.<pid>.<kind>.<seq>.pb.gz, with a symbolic link <comm>.<pid>.<kind>.pb.gz to the newest.
// A file is written under a name that starts with a dot and names the writer, and renamed, so that no reader sees half
// of one; the link is replaced in the same way. What a writer that was killed left, the next one removes. The directory
// belongs to the user and may hold anything: nothing in it is followed, and only names of this process and kind are
// ever removed.
//
// How it fails: an Error in one line; the temporary file is removed. Several writers for a process at once are in no
// one's way; the link is the last one's. OFFLINE.
#pragma once

#include "profile/file.h"
#include "profile/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace castaway {

// `comm` reduced to [A-Za-z0-9._-], with '_' for all else and for a dot at the start; "unknown" if nothing is left.
std::string safe_comm(std::string_view comm);

struct StoredProfile {
  std::string name;
  std::string trouble; // one line if it is there, but the link or the older ones are not as they should be
};

class ProfileStore {
public:
  // `directory` stays the caller's.
  ProfileStore(int directory, std::string_view comm, uint64_t pid);

  // Stores `bytes` as the newest profile of `kind`. REQUIRES: keep >= 1.
  Result<StoredProfile> put(std::string_view kind, uint64_t seq, uint64_t keep, std::string_view bytes) const;

  // The profile of `kind` with the number before `seq`, or the one or two before that; nothing if they cannot be read,
  // are another user's, or are larger than 64 MiB.
  std::vector<std::byte> earlier(std::string_view kind, uint64_t seq) const;
  // The name that a profile of this process has.
  std::string name_of(std::string_view kind, uint64_t seq) const;
  // Of each other process with the same name the newest profile of `kind`, the processes with the highest pids first:
  // as a rule those that were started last.
  std::vector<std::string> siblings(std::string_view kind) const;
  // The profile of such a name; as for earlier().
  std::vector<std::byte> read(const std::string &name) const;

  // Waits, but not for long, until no other process holds the directory. It is held as long as the descriptor is open;
  // it is none where the directory cannot be had.
  Descriptor hold() const;

  // Whether the directory takes no new file from this process, so that another one has to write: it has changed its
  // user, or the file system is read-only for it.
  bool is_denied() const;

private:
  Status write(const std::string &name, std::string_view bytes) const;
  Status link(const std::string &target, const std::string &name) const;
  Status remove_old(std::string_view kind, uint64_t newest, uint64_t keep) const;
  Status remove_all_old(const std::string &prefix, uint64_t newest, uint64_t keep) const;

  int directory_;
  std::string comm_, process_; // "<comm>" and "<comm>.<pid>."
};

} // namespace castaway
