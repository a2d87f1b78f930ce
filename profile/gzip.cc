#include "profile/gzip.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <zlib.h>

namespace castaway {
namespace {

constexpr int kGzip = 16; // zlib: gzip's header and trailer
constexpr int kSmallestWindow = 9, kLargestWindow = 15, kMostMemory = 8;
constexpr size_t kFirstPiece = size_t(16) << 10;

Bytef *as_input(const void *bytes) { return static_cast<Bytef *>(const_cast<void *>(bytes)); }

// Makes room at the end of `out`, as much again as it holds, and points `stream` there.
void add_room(z_stream &stream, std::string &out) {
  constexpr size_t kMost = size_t(1) << 20;
  const auto used = out.size();
  const auto piece = std::clamp(used, kFirstPiece, kMost);
  out.resize(used + piece);
  stream.next_out = reinterpret_cast<Bytef *>(out.data()) + used;
  stream.avail_out = static_cast<uInt>(piece);
}

} // namespace

Result<std::string> gzip(std::string_view bytes) {
  z_stream stream = {};
  if (bytes.size() > std::numeric_limits<uInt>::max()) return Error{"too large for one gzip stream"};
  // No more than so many bytes need: of 256 KiB of tables that zlib takes by default, most would be zeroed for nothing.
  const int window = std::clamp(static_cast<int>(std::bit_width(bytes.size())), kSmallestWindow, kLargestWindow);
  const int memory = std::min(window - 5, kMostMemory);
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window + kGzip, memory, Z_DEFAULT_STRATEGY) != Z_OK)
    return Error{"gzip: out of memory"};
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = as_input(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef *>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) return Error{"gzip: failed"};
  return out;
}

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

Result<std::string> gunzip(std::span<const std::byte> bytes, size_t limit) {
  z_stream stream = {};
  if (bytes.size() > std::numeric_limits<uInt>::max()) return Error{"too large for one gzip stream"};
  if (inflateInit2(&stream, kLargestWindow + kGzip) != Z_OK) return Error{"gzip: out of memory"};
  stream.next_in = as_input(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string out;
  int status = Z_OK;
  while (status == Z_OK && out.size() <= limit) {
    add_room(stream, out);
    status = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
  }
  const bool starved = stream.avail_in == 0;
  inflateEnd(&stream);
  if (status == Z_STREAM_END && out.size() <= limit) return out;
  if (out.size() > limit) return Error{"gzip: more than " + std::to_string(limit) + " bytes"};
  return Error{starved ? "gzip: truncated" : "gzip: damaged"};
}

} // namespace castaway
