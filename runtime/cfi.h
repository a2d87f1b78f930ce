// Call frame information (CFI): how the registers of a function's caller are found from its own, per program counter.
//
// Compilers write it into .eh_frame for exceptions; every module of a distribution has it. cfi.cc finds and runs it,
// which gives a row: a rule per register. unwind.cc applies rows to registers and a stack.
//
// Sources: DWARF 5 section 6.4 (call frame information), 7.24 (its encoding), 2.5 (expressions); Linux Standard Base
// Core 5.0 section 10.6 (.eh_frame, .eh_frame_hdr, pointer encodings); System V psABI x86-64 figure 3.36 and AArch64
// DWARF (register numbers).
//
// Contexts: HOOK and SNAPSHOT. No state, no OS calls, no allocation; up to 3.5 KiB of stack. The tables are read where
// the module has them mapped and are treated as hostile: every read is bounded, trouble gives no row.
#pragma once

#include "runtime/unwind.h"

#include <cstdint>
#include <cstring>
#include <optional>

namespace castaway {

// Reads bytes in order. A read beyond the end gives 0 and leaves the reader failed and at its end, so that loops over
// it end; callers may therefore check once, after several reads.
class ByteReader {
public:
  ByteReader(uintptr_t begin, uintptr_t end) : position_(begin), end_(end), failed_(begin > end) {
    if (failed_) position_ = end_;
  }

  template <class T> T fixed() {
    T value{};
    if (end_ - position_ < sizeof value) {
      fail();
      return value;
    }
    memcpy(&value, reinterpret_cast<const void *>(position_), sizeof value);
    position_ += sizeof value;
    return value;
  }

  uint8_t byte() { return fixed<uint8_t>(); }

  uint64_t uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      uint8_t next = byte();
      if (shift < 64) value |= uint64_t(next & 0x7f) << shift;
      if (!(next & 0x80)) return value;
    }
  }

  int64_t sleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;;) {
      uint8_t next = byte();
      if (shift < 64) value |= uint64_t(next & 0x7f) << shift;
      shift += 7;
      if (next & 0x80) continue;
      if (shift < 64 && (next & 0x40)) value |= ~uint64_t{0} << shift;
      return int64_t(value);
    }
  }

  // A pointer as LSB 10.5.1 encodes it. What DW_EH_PE_indirect points at is not looked up.
  uintptr_t encoded(uint8_t encoding, uintptr_t data_base = 0);

  void skip(uint64_t count) {
    if (count > end_ - position_) return fail();
    position_ += count;
  }

  // The next `count` bytes as a reader of their own; this one goes on behind them.
  ByteReader part(uint64_t count) {
    uintptr_t begin = position_;
    skip(count);
    ByteReader inner(begin, position_);
    inner.failed_ = failed_;
    return inner;
  }

  void fail() {
    failed_ = true;
    position_ = end_;
  }
  bool failed() const { return failed_; }
  bool at_end() const { return position_ == end_; }
  uintptr_t position() const { return position_; }
  uintptr_t end() const { return end_; }

private:
  uintptr_t position_;
  uintptr_t end_;
  bool failed_;
};

// How the caller's value of one register is found (DWARF 5, 6.4.1). `unset`: the tables say nothing, which producers
// use for "same" (callee-saved) and "undefined" (scratch) alike.
enum class RuleKind : uint8_t { unset, same, undefined, offset, val_offset, in_register, expression, val_expression };

struct Row {
  // The canonical frame address, CFA: `offset`: cfa_register + cfa_value; `expression`: at cfa_value.
  RuleKind cfa = RuleKind::unset;
  uint8_t cfa_register = 0;
  RuleKind kind[kFrameRegisters] = {};
  int64_t cfa_value = 0;
  // Distance from the CFA, register number, or address of an expression (length, then that many bytes).
  int64_t value[kFrameRegisters] = {};
};

struct FrameRow {
  Row row;
  uint8_t return_register = 0; // the register whose caller's value is the return address
  bool signal_frame = false;   // its "return address" is where a signal struck, not behind a call
  uintptr_t tables_end = 0;    // expressions end before this
};

// A loaded module, as far as its call frame information is concerned.
struct Module {
  Range mapped;
  uintptr_t bias = 0;   // what is added to the addresses in its program headers
  uintptr_t header = 0; // its .eh_frame_hdr
};

// The module that `pc` lies in, if it has call frame information.
std::optional<Module> find_module(uintptr_t pc);

// The row that is in force at `pc`; none where the module does not describe it or its tables are damaged.
std::optional<FrameRow> find_row(const Module &module, uintptr_t pc);

// The code of the function around `pc` as its call frame information bounds it; empty where there is none.
Range function_at(uintptr_t pc);

// The caller's registers according to `row`; reads memory within `stack` only. None where a value lies elsewhere, where
// the row makes no sense, or for the outermost frame, whose return address is undefined. (Defined in unwind.cc, which
// explains it; declared for the test that compares it with libdw.)
std::optional<FrameRegisters> apply_row(const FrameRow &row, const FrameRegisters &registers, Range stack);

} // namespace castaway
