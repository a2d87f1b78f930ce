// From a program counter to the row of register rules in force there. See cfi.h for sources and contexts.
//
// The way: _dl_find_object names the module and its .eh_frame_hdr; that has a sorted table of (function, address of its
// FDE), searched by halves; the FDE (frame description entry) holds instructions that build the rows of one function,
// after those of the CIE (common information entry) that it refers to. They are run until they pass the pc.
//
// What may go wrong: anything, for the bytes are some linker's, and a garbage pc may lead to a module that has never
// been looked at. Reads are held to the readable segment that they start in (holes between segments fault), every loop
// consumes bytes of it, and whatever is not understood gives no row.
#include "runtime/cfi.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

// Absent before glibc 2.35: then there is no call frame information for us, and frame pointers have to do.
extern "C" [[gnu::weak]] int _dl_find_object(void *, struct dl_find_object *) noexcept;

namespace castaway {
namespace {

constexpr uint8_t kPointerOmitted = 0xff;

// Rows that one function may have remembered at a time. Compilers nest once; each costs 180 bytes of the thread's
// stack.
constexpr size_t kMostRemembered = 8;

struct Cie {
  uint64_t code_factor = 1;
  int64_t data_factor = 1;
  uint8_t return_register = 0;
  uint8_t pointer_encoding = 0; // DW_EH_PE_absptr
  bool has_augmentation_data = false;
  bool signal_frame = false;
  uintptr_t instructions = 0;
  uintptr_t end = 0;
};

struct Fde {
  Cie cie;
  Range code;
  uintptr_t instructions = 0;
  uintptr_t end = 0;
};

bool is_elf(const ElfW(Ehdr) & header) {
  const unsigned char *magic = header.e_ident;
  return magic[0] == ELFMAG0 && magic[1] == ELFMAG1 && magic[2] == ELFMAG2 && magic[3] == ELFMAG3;
}

// The readable, file-backed part of the module's segment around `address`. Falls back to all that the module has
// mapped where its ELF header is not at the start, as in a test's buffer.
Range segment_around(const Module &module, uintptr_t address) {
  constexpr size_t kFirstPage = 4096;
  ElfW(Ehdr) elf;
  if (module.mapped.size() < kFirstPage) return module.mapped;
  memcpy(&elf, reinterpret_cast<const void *>(module.mapped.begin), sizeof elf);
  if (!is_elf(elf)) return module.mapped;
  if (elf.e_phoff > kFirstPage || elf.e_phnum > (kFirstPage - elf.e_phoff) / sizeof(ElfW(Phdr))) return module.mapped;
  for (size_t i = 0; i < elf.e_phnum; ++i) {
    ElfW(Phdr) segment;
    memcpy(&segment, reinterpret_cast<const void *>(module.mapped.begin + elf.e_phoff + i * sizeof segment),
           sizeof segment);
    uintptr_t begin = module.bias + segment.p_vaddr;
    Range range{begin, begin + segment.p_filesz};
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_R) && range.contains(address)) return range;
  }
  return {};
}

// "zPLR": the letters say what the augmentation data holds, in order. Without 'z' nothing can be skipped, so that only
// the empty string is known.
bool read_augmentation(ByteReader in, const char *letters, Cie &cie) {
  for (; *letters; ++letters) {
    if (*letters == 'R') {
      cie.pointer_encoding = in.byte();
    } else if (*letters == 'L') {
      in.byte();
    } else if (*letters == 'P') {
      in.encoded(in.byte());
    } else if (*letters == 'S') {
      cie.signal_frame = true;
    } else if (*letters != 'B' && *letters != 'G') { // AArch64: signed with the B key, tagged stack memory
      return false;
    }
  }
  return !in.failed();
}

// Length, then a reader of that many bytes; the 64-bit form is marked by a length of all ones.
ByteReader read_entry(ByteReader &in) {
  uint64_t length = in.fixed<uint32_t>();
  if (length == 0xffffffff) length = in.fixed<uint64_t>();
  return in.part(length);
}

std::optional<Cie> read_cie(uintptr_t address, uintptr_t end) {
  ByteReader all(address, end);
  ByteReader in = read_entry(all);
  if (in.fixed<uint32_t>() != 0) return {};
  uint8_t version = in.byte();
  if (version != 1 && version != 3) return {};
  auto letters = reinterpret_cast<const char *>(in.position());
  while (in.byte() != 0) {
  }
  if (in.failed()) return {};
  Cie cie;
  cie.code_factor = in.uleb();
  cie.data_factor = in.sleb();
  uint64_t return_register = version == 1 ? in.byte() : in.uleb();
  if (return_register >= kFrameRegisters) return {};
  cie.return_register = uint8_t(return_register);
  if (*letters == 'z') {
    cie.has_augmentation_data = true;
    if (!read_augmentation(in.part(in.uleb()), letters + 1, cie)) return {};
  } else if (*letters != 0) {
    return {};
  }
  cie.instructions = in.position();
  cie.end = in.end();
  return in.failed() ? std::nullopt : std::optional(cie);
}

// `entry` is what read_entry gave; `tables` bounds the CIE, which lies before it.
std::optional<Fde> read_fde(ByteReader entry, Range tables) {
  uintptr_t here = entry.position();
  uint32_t back = entry.fixed<uint32_t>();
  if (entry.failed() || back == 0 || back > here - tables.begin) return {};
  std::optional<Cie> cie = read_cie(here - back, tables.end);
  if (!cie) return {};
  Fde fde{.cie = *cie, .code = {}};
  fde.code.begin = entry.encoded(cie->pointer_encoding);
  fde.code.end = fde.code.begin + entry.encoded(cie->pointer_encoding & 0x0f);
  if (cie->has_augmentation_data) entry.skip(entry.uleb());
  fde.instructions = entry.position();
  fde.end = entry.end();
  return entry.failed() ? std::nullopt : std::optional(fde);
}

// Address of the FDE of the last function that starts at or before `pc`. Table entries are pairs of 32-bit distances
// from the header, the only form that linkers write.
uintptr_t search_table(uintptr_t header, uintptr_t table, size_t count, uintptr_t pc) {
  auto entry = [&](size_t index, size_t field) {
    int32_t distance;
    memcpy(&distance, reinterpret_cast<const void *>(table + 8 * index + 4 * field), sizeof distance);
    return header + uintptr_t(intptr_t(distance));
  };
  size_t low = 0;
  for (size_t high = count; low < high;) {
    size_t middle = low + (high - low) / 2;
    if (entry(middle, 0) <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low == 0 ? 0 : entry(low - 1, 1);
}

// For a header without a table: linkers leave it out when they do not understand some entry.
std::optional<Fde> walk_entries(Range tables, uintptr_t eh_frame, uintptr_t pc) {
  if (!tables.contains(eh_frame)) return {};
  for (ByteReader in(eh_frame, tables.end); !in.at_end();) {
    ByteReader entry = read_entry(in);
    if (entry.at_end()) return {};
    std::optional<Fde> fde = read_fde(entry, tables);
    if (fde && fde->code.contains(pc)) return fde;
  }
  return {};
}

std::optional<Fde> find_fde(const Module &module, uintptr_t pc) {
  constexpr uint8_t kVersion = 1, kDistancesFromHeader = 0x3b; // DW_EH_PE_datarel | DW_EH_PE_sdata4
  Range around = segment_around(module, module.header);
  if (!around.contains(module.header)) return {};
  ByteReader in(module.header, around.end);
  uint8_t version = in.byte(), frame_encoding = in.byte(), count_encoding = in.byte(), table_encoding = in.byte();
  if (version != kVersion || frame_encoding == kPointerOmitted) return {};
  uintptr_t eh_frame = in.encoded(frame_encoding, module.header);
  if (count_encoding == kPointerOmitted || table_encoding != kDistancesFromHeader)
    return walk_entries(segment_around(module, eh_frame), eh_frame, pc);
  size_t count = in.encoded(count_encoding, module.header);
  if (in.failed() || count > (in.end() - in.position()) / 8) return {};
  uintptr_t address = search_table(module.header, in.position(), count, pc);
  Range tables = segment_around(module, address);
  if (!tables.contains(address)) return {};
  ByteReader rest(address, tables.end);
  return read_fde(read_entry(rest), tables);
}

// Runs call frame instructions (DWARF 5, 6.4.2) up to the row of `target`.
class RowBuilder {
public:
  RowBuilder(const Fde &fde, uintptr_t target) : cie_(fde.cie), target_(target), location_(fde.code.begin) {}

  // False: something is not understood.
  bool run(ByteReader in) {
    while (!in.at_end() && !passed_) instruction(in);
    return !in.failed();
  }
  void keep_as_initial() { initial_ = row; }

  Row row;

private:
  void instruction(ByteReader &in) {
    uint8_t code = in.byte(), low = code & 0x3f;
    if (code >> 6 == 1) return advance(low);
    if (code >> 6 == 2) return set(low, RuleKind::offset, factored(in.uleb()));
    if (code >> 6 == 3) return restore(low);
    if (!location_instruction(code, in) && !cfa_instruction(code, in) && !rule_instruction(code, in)) in.fail();
  }

  bool location_instruction(uint8_t code, ByteReader &in) {
    if (code == 0x00) return true;                                             // nop
    if (code == 0x01) return move_to(in.encoded(cie_.pointer_encoding)), true; // set_loc
    if (code == 0x02) return advance(in.byte()), true;                         // advance_loc1
    if (code == 0x03) return advance(in.fixed<uint16_t>()), true;              // advance_loc2
    if (code == 0x04) return advance(in.fixed<uint32_t>()), true;              // advance_loc4
    if (code == 0x0a) return remember(in), true;                               // remember_state
    if (code == 0x0b) return recall(in), true;                                 // restore_state
    if (code == 0x2d) return true;            // AArch64_negate_ra_state: every address has its signature removed
    if (code == 0x2e) return in.uleb(), true; // GNU_args_size: matters to exception landing pads only
    return false;
  }

  bool cfa_instruction(uint8_t code, ByteReader &in) {
    if (code == 0x0e) return row.cfa_value = int64_t(in.uleb()), true;            // def_cfa_offset
    if (code == 0x13) return row.cfa_value = factored(uint64_t(in.sleb())), true; // def_cfa_offset_sf
    if (code == 0x0f) {                                                           // def_cfa_expression
      row.cfa = RuleKind::expression;
      return row.cfa_value = block(in), true;
    }
    if (code != 0x0c && code != 0x0d && code != 0x12) return false;
    uint64_t which = in.uleb();
    if (code == 0x0c) return set_cfa(which, int64_t(in.uleb()), in), true;            // def_cfa
    if (code == 0x12) return set_cfa(which, factored(uint64_t(in.sleb())), in), true; // def_cfa_sf
    return set_cfa(which, row.cfa_value, in), true;                                   // def_cfa_register
  }

  bool rule_instruction(uint8_t code, ByteReader &in) {
    uint64_t which = in.uleb();
    if (code == 0x05) return set(which, RuleKind::offset, factored(in.uleb())), true;           // offset_extended
    if (code == 0x06) return restore(which), true;                                              // restore_extended
    if (code == 0x07) return set(which, RuleKind::undefined, 0), true;                          // undefined
    if (code == 0x08) return set(which, RuleKind::same, 0), true;                               // same_value
    if (code == 0x09) return set(which, RuleKind::in_register, int64_t(in.uleb())), true;       // register
    if (code == 0x10) return set(which, RuleKind::expression, block(in)), true;                 // expression
    if (code == 0x11) return set(which, RuleKind::offset, factored(uint64_t(in.sleb()))), true; // offset_extended_sf
    if (code == 0x14) return set(which, RuleKind::val_offset, factored(in.uleb())), true;       // val_offset
    if (code == 0x15) return set(which, RuleKind::val_offset, factored(uint64_t(in.sleb()))), true; // val_offset_sf
    if (code == 0x16) return set(which, RuleKind::val_expression, block(in)), true;                 // val_expression
    if (code == 0x2f)
      return set(which, RuleKind::offset, factored(0 - in.uleb())), true; // GNU_negative_offset_extended
    return false;
  }

  void advance(uint64_t delta) { move_to(location_ + delta * cie_.code_factor); }
  void move_to(uintptr_t location) {
    passed_ = location > target_;
    location_ = location;
  }

  // Unsigned, for a product of hostile numbers may overflow.
  int64_t factored(uint64_t offset) const { return int64_t(offset * uint64_t(cie_.data_factor)); }

  // Vector registers and others beyond ours are passed over.
  void set(uint64_t which, RuleKind kind, int64_t value) {
    if (which >= kFrameRegisters) return;
    row.kind[which] = kind;
    row.value[which] = value;
  }
  void restore(uint64_t which) {
    if (which < kFrameRegisters) set(which, initial_.kind[which], initial_.value[which]);
  }

  void set_cfa(uint64_t which, int64_t offset, ByteReader &in) {
    if (which >= kFrameRegisters) return in.fail();
    row.cfa = RuleKind::offset;
    row.cfa_register = uint8_t(which);
    row.cfa_value = offset;
  }
  static int64_t block(ByteReader &in) {
    uintptr_t begin = in.position();
    in.skip(in.uleb());
    return int64_t(begin);
  }

  void remember(ByteReader &in) {
    if (depth_ == kMostRemembered) return in.fail();
    remembered_[depth_++] = row;
  }
  void recall(ByteReader &in) {
    if (depth_ == 0) return in.fail();
    row = remembered_[--depth_];
  }

  const Cie &cie_;
  uintptr_t target_;
  uintptr_t location_;
  bool passed_ = false;
  size_t depth_ = 0;
  Row initial_;
  Row remembered_[kMostRemembered];
};

} // namespace

uintptr_t ByteReader::encoded(uint8_t encoding, uintptr_t data_base) {
  if (encoding == kPointerOmitted) return 0;
  uintptr_t base = 0;
  uint8_t relative_to = encoding & 0x70, format = encoding & 0x0f;
  if (relative_to == 0x10) base = position_;
  if (relative_to == 0x30) base = data_base;
  if (relative_to > 0x30 || relative_to == 0x20) fail(); // to text or function, or aligned: nobody writes them here
  if (format == 0x00) return base + fixed<uintptr_t>();
  if (format == 0x01) return base + uleb();
  if (format == 0x02) return base + fixed<uint16_t>();
  if (format == 0x03) return base + fixed<uint32_t>();
  if (format == 0x04) return base + fixed<uint64_t>();
  if (format == 0x09) return base + uintptr_t(sleb());
  if (format == 0x0a) return base + uintptr_t(intptr_t(fixed<int16_t>()));
  if (format == 0x0b) return base + uintptr_t(intptr_t(fixed<int32_t>()));
  if (format == 0x0c) return base + uintptr_t(fixed<int64_t>());
  fail();
  return 0;
}

std::optional<Module> find_module(uintptr_t pc) {
  struct dl_find_object found;
  if (!_dl_find_object || _dl_find_object(reinterpret_cast<void *>(pc), &found) != 0 || !found.dlfo_eh_frame) return {};
  return Module{
      .mapped = {reinterpret_cast<uintptr_t>(found.dlfo_map_start), reinterpret_cast<uintptr_t>(found.dlfo_map_end)},
      .bias = found.dlfo_link_map ? found.dlfo_link_map->l_addr : 0,
      .header = reinterpret_cast<uintptr_t>(found.dlfo_eh_frame)};
}

std::optional<FrameRow> find_row(const Module &module, uintptr_t pc) {
  std::optional<Fde> fde = find_fde(module, pc);
  if (!fde || !fde->code.contains(pc)) return {};
  RowBuilder builder(*fde, pc);
  if (!builder.run({fde->cie.instructions, fde->cie.end})) return {};
  builder.keep_as_initial();
  if (!builder.run({fde->instructions, fde->end}) || builder.row.cfa == RuleKind::unset) return {};
  return FrameRow{.row = builder.row,
                  .return_register = fde->cie.return_register,
                  .signal_frame = fde->cie.signal_frame,
                  .tables_end = segment_around(module, fde->instructions).end};
}

Range function_at(uintptr_t pc) {
  std::optional<Module> module = find_module(pc);
  std::optional<Fde> fde = module ? find_fde(*module, pc) : std::nullopt;
  return fde && fde->code.contains(pc) ? fde->code : Range{};
}

} // namespace castaway
