// The reporter's way to the collector; see collector_protocol.h. One thread; OFFLINE.
#pragma once

#include "profile/collector_protocol.h"

namespace castaway {

// Has the collector store a profile; `request` needs neither its secret nor its size. Waits a minute at most. An Error
// is the collector's own, or says why it could not be asked.
Result<StoredProfile> hand_to_collector(const CollectorAddress &address, CollectorRequest request,
                                        std::string_view bytes);

} // namespace castaway
