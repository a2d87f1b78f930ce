// Writing a capture (scanner/capture.h) into memory. Context: SNAPSHOT.
#pragma once

#include "runtime/text.h"
#include "scanner/capture.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace castaway {

class CaptureWriter {
public:
  // Reserves room for `most` bytes; what does not fit is dropped and complete() says so.
  explicit CaptureWriter(size_t most);

  void begin_section(SectionType type);
  void append(const void *bytes, size_t size);
  template <typename T> void append(const T &record) { append(&record, sizeof record); }
  void end_section();
  // A whole section of text.
  void text_section(SectionType type, std::string_view text);

  bool complete() const { return complete_; }
  // Offset within the section that is open.
  size_t section_size() const { return used_ - section_ - sizeof(SectionHeader); }
  // Ends the capture and writes it to a new memfd: its descriptor, or a negative errno.
  int finish();

private:
  char *memory_;
  size_t most_;
  size_t used_ = 0;
  size_t section_ = 0;
  bool complete_ = true;
};

} // namespace castaway
