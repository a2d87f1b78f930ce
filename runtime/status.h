// The runtime's side of the status page (status_page.h): making it, filling it in, removing it. Context: the agent.
#pragma once

#include "runtime/history.h"
#include "runtime/safepoint.h"
#include "runtime/status_page.h"

namespace castaway {

// What the reporter said, as lines "key value" (profile/reporter.h); numbers are 0 where it said nothing.
struct ReportResult {
  Text<1024> profile;
  Text<256> trouble;
  uint64_t threads = 0, objects = 0, bytes = 0, retained = 0;
  uint64_t unconfirmed_threads = 0, unconfirmed_objects = 0, unconfirmed_bytes = 0, unconfirmed_retained = 0;

  bool leaked() const { return threads || objects || unconfirmed_threads || unconfirmed_objects; }
};
ReportResult read_result(int fd);

// The status page of this process. The agent keeps the contents here and writes them to the file; the mapping serves as
// a futex only. So neither a full disk nor a file cut short by somebody can end the target with SIGBUS.
class Status {
public:
  // Makes the file NAME in the directory `output`. False where that fails: nobody can then ask for a safepoint.
  bool open(int output, const char *name, int pid);
  void remove(int output, const char *name);
  // Before open() again; the file stays.
  void close();
  // In the child of a fork: the file is another's.
  void forget();

  // How many safepoints have been asked for from outside so far.
  uint32_t requested() const;
  // Takes what was asked about; see StatusPage::question.
  Question take_question();
  // The word that grows with each request, for FUTEX_WAIT (shared), or null.
  const void *request_word() const { return page_ ? &page_->requested : nullptr; }

  // Where the page is mapped; 0 where it is not.
  uintptr_t page_address() const { return reinterpret_cast<uintptr_t>(page_); }

  const StatusPage &contents() const { return contents_; }

  // After a safepoint. `trouble`: why there is no profile, empty if there is one.
  void update(const Safepoint &safepoint, const HistoryHeader &history, const ReportResult &result,
              std::string_view trouble);
  // The requests up to this one have been served.
  void complete(uint32_t request);

private:
  void publish() const;

  StatusPage contents_{};
  StatusPage *page_ = nullptr;
  int fd_ = -1;
};

} // namespace castaway
