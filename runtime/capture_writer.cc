// Writing a capture into memory; see capture_writer.h.
#include "runtime/capture_writer.h"

#include "runtime/sys.h"

namespace castaway {

CaptureWriter::CaptureWriter(size_t most) : memory_(static_cast<char *>(sys::map_memory(most))), most_(most) {
  used_ = sizeof(CaptureHeader);
  if (!memory_) most_ = 0, complete_ = false;
}

void CaptureWriter::append(const void *bytes, size_t size) {
  if (used_ + size > most_) {
    complete_ = false;
    return;
  }
  std::memcpy(memory_ + used_, bytes, size);
  used_ += size;
}

void CaptureWriter::begin_section(SectionType type) {
  section_ = used_;
  append(SectionHeader{type, 0, 0});
}

void CaptureWriter::end_section() {
  if (section_ + sizeof(SectionHeader) > most_) return;
  auto *header = reinterpret_cast<SectionHeader *>(memory_ + section_);
  header->size = section_size();
  constexpr char kZeros[8] = {};
  append(kZeros, (8 - header->size % 8) % 8);
}

void CaptureWriter::text_section(SectionType type, std::string_view text) {
  begin_section(type);
  append(text.data(), text.size());
  end_section();
}

int CaptureWriter::finish() {
  if (!memory_) return -ENOMEM;
#if defined(__x86_64__)
  constexpr Machine kMachine = Machine::x86_64;
#else
  constexpr Machine kMachine = Machine::aarch64;
#endif
  CaptureHeader header{{}, kCaptureVersion, kMachine, used_};
  std::memcpy(header.magic, kCaptureMagic, sizeof header.magic);
  std::memcpy(memory_, &header, sizeof header);
  int fd = static_cast<int>(sys::call(SYS_memfd_create, "castaway-capture", 0));
  if (fd < 0) return fd;
  long result = sys::write_all(fd, memory_, used_);
  return result < 0 ? static_cast<int>(result) : fd;
}

} // namespace castaway
