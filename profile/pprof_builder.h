// PprofBuilder: puts together one pprof profile.
//
// Interns strings, functions and mappings, so that equal ones are written once; locations are the caller's to keep
// apart. The format's rules are asserted where they are made. Use: set the types, add, then take it with finish().
// Owner: one thread. OFFLINE.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace castaway {

using MappingId = uint64_t;  // 0: none
using FunctionId = uint64_t; // never 0
using LocationId = uint64_t; // never 0

struct PprofMapping {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  std::string_view file;
  std::string_view build_id;
};

struct PprofLine {
  FunctionId function;
  int64_t line;
};

struct PprofLocation {
  MappingId mapping = 0;
  uint64_t address = 0;
  std::vector<PprofLine> lines; // innermost first
  uint64_t function_offset_plus_one = 0;
};

struct PprofLabel {
  std::string_view key;
  std::string_view text;
  int64_t number = 0;         // where `text` is empty
  std::string_view unit = {}; // of the number
};

class PprofBuilder {
public:
  PprofBuilder();
  ~PprofBuilder();
  PprofBuilder(const PprofBuilder &) = delete;
  PprofBuilder &operator=(const PprofBuilder &) = delete;

  void add_sample_type(std::string_view type, std::string_view unit);
  void set_default_sample_type(std::string_view type);
  void set_period(std::string_view type, std::string_view unit, int64_t period);
  void set_time(int64_t wall_ns, int64_t duration_ns);
  void add_comment(std::string_view text);

  // REQUIRES: the program's own mapping is added first.
  MappingId add_mapping(const PprofMapping &mapping);
  // All of the mapping's locations have what there is to know: pprof then looks for no binary.
  void set_symbolized(MappingId mapping);
  FunctionId add_function(std::string_view name, std::string_view system_name, std::string_view file);
  LocationId add_location(const PprofLocation &location);

  // REQUIRES: as many values as sample types; labels with a text or a number.
  void add_sample(const std::vector<LocationId> &leaf_first, const std::vector<int64_t> &values,
                  const std::vector<PprofLabel> &labels);

  // The serialized profile, not compressed.
  std::string finish() &&;

private:
  struct Message; // the generated class stays out of here
  int64_t string(std::string_view text);

  std::unique_ptr<Message> message_;
  std::unordered_map<std::string, int64_t> strings_;
  std::map<std::tuple<int64_t, int64_t, int64_t>, FunctionId> functions_;
};

} // namespace castaway
