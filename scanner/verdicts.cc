// Verdicts on threads, from the fixpoint's result.
//
// Owner: scanner. Context: SNAPSHOT or a test.
#include "scanner/verdicts.h"

namespace castaway {

namespace {

bool is_thread(uint32_t waits_for) { return waits_for < Fixpoint::kExited; }

Reason reason_of(uint32_t waits_for) {
  if (is_thread(waits_for)) return Reason::behind; // follow_waits() knows better of some
  return waits_for == Fixpoint::kExited ? Reason::abandoned : Reason::unreachable;
}

// Leaked threads have one edge at most, to the thread they wait for, which is leaked too. Following the edges from
// each and leaving a number behind, a path either ends, or meets an older one, or itself: then the rest is a cycle.
// How a path ends is certain or not for all of it.
void follow_waits(const Fixpoint &fixpoint, std::span<uint32_t> paths, std::span<ThreadVerdict> verdicts) {
  for (uint32_t start = 0; start < verdicts.size(); ++start) {
    uint32_t path = start + 1;
    uint32_t at = start;
    while (is_thread(at) && verdicts[at].leaked && !paths[at]) {
      paths[at] = path;
      at = fixpoint.waits_for(at);
    }
    bool cycle = is_thread(at) && paths[at] == path;
    bool certain = cycle || at == Fixpoint::kExited || (is_thread(at) && verdicts[at].certain);
    if (cycle)
      for (; verdicts[at].reason != Reason::deadlock; at = fixpoint.waits_for(at))
        verdicts[at].reason = Reason::deadlock;
    if (!certain) continue;
    for (at = start; is_thread(at) && !verdicts[at].certain; at = fixpoint.waits_for(at)) verdicts[at].certain = true;
  }
}

} // namespace

void judge(const Fixpoint &fixpoint, std::span<uint32_t> paths, std::span<ThreadVerdict> verdicts) {
  for (uint32_t i = 0; i < verdicts.size(); ++i) {
    verdicts[i].leaked = !fixpoint.is_live(i);
    if (verdicts[i].leaked) verdicts[i].reason = reason_of(fixpoint.waits_for(i));
  }
  follow_waits(fixpoint, paths, verdicts);
}

void count_retained(const Image &image, Marker &marker, std::span<ThreadVerdict> verdicts) {
  for (uint32_t i = 0; i < verdicts.size(); ++i) {
    if (!verdicts[i].leaked) continue;
    HeapTotals before = marker.retained();
    marker.scan_thread<Phase::retained>(image.threads[i], i);
    marker.drain<Phase::retained>();
    verdicts[i].retained_objects = marker.retained().blocks - before.blocks;
    verdicts[i].retained_bytes = marker.retained().bytes - before.bytes;
  }
}

} // namespace castaway
