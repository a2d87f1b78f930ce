// The collector: writes the profiles of processes that the output directory refuses, since they have changed their
// user.
//
// A process of its own, beside the program, as the user who started it (collector_process.h). It listens on an abstract
// socket and serves one peer after the other, each in bounded time and memory: profile/collector_protocol.h. Who has
// the secret may store profiles of any process name and number, and nothing else. Abstract sockets belong to a network
// namespace: a process that has left it finds nobody.
//
// It watches the program; when that has ended, any process that still has a status page in the directory, as daemons
// do; when none is left for a while, it ends. It waits for events, not for time, while there is somebody to watch.
// It also removes the status pages of those whom it has served, once they have ended: they cannot do it themselves.
//
// How it fails: what it cannot store is the peer's error, in one line. It never writes to anything but the directory.
#pragma once

#include "profile/file.h"

#include <chrono>
#include <filesystem>
#include <set>
#include <string>

namespace castaway {

// Serves one connection. The profile goes to the directory `output`, which must not have become a symbolic link. Gives
// back the name of its process's status page, which may not be there; nothing if nothing was stored.
std::string serve_peer(Descriptor connection, const std::string &secret, const std::filesystem::path &output);

class Collector {
public:
  // `listener` is a listening socket, `program` a pidfd.
  Collector(Descriptor listener, Descriptor program, std::string secret, std::filesystem::path output)
      : listener_(std::move(listener)), watched_(std::move(program)), secret_(std::move(secret)),
        output_(std::move(output)) {}

  // Returns when there is nobody left to serve. Throws only std::bad_alloc.
  void run();

private:
  void serve_next(std::chrono::milliseconds most);
  void serve(Descriptor connection);
  void watch();
  void remove_old_pages();

  Descriptor listener_;
  Descriptor watched_; // not there: nobody was found
  std::string secret_;
  std::filesystem::path output_;
  std::set<std::string> pages_; // of those who have been served
};

} // namespace castaway
