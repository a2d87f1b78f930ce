#include "profile/elf_symbols.h"

#include <algorithm>
#include <cstring>

namespace castaway {
namespace {

bool names_code_or_data(const Elf64_Sym &symbol) {
  const auto type = ELF64_ST_TYPE(symbol.st_info);
  return symbol.st_name != 0 && symbol.st_shndx != SHN_UNDEF && type != STT_SECTION && type != STT_FILE &&
         type != STT_TLS;
}

int rank_of_binding(const Elf64_Sym &symbol) {
  switch (ELF64_ST_BIND(symbol.st_info)) {
  case STB_GLOBAL:
    return 3;
  case STB_WEAK:
    return 2;
  case STB_LOCAL:
    return 1;
  default:
    return 0;
  }
}

// Of two symbols that an address lies in, the second of them found first.
bool is_better(const Elf64_Sym &symbol, const Elf64_Sym &than) {
  const auto rank = rank_of_binding(symbol), other = rank_of_binding(than);
  if (symbol.st_value > than.st_value || rank > other) return true;
  return symbol.st_value == than.st_value && symbol.st_size < than.st_size && rank >= other;
}

bool contains(const Elf64_Sym &symbol, uint64_t address) {
  return symbol.st_value <= address && address - symbol.st_value < symbol.st_size;
}

} // namespace

std::optional<ElfSymbol> ElfSymbols::at(uint64_t address) {
  constexpr int kFew = 16;
  if (++asked_ == kFew) {
    make_index(globals_);
    make_index(locals_);
    is_indexed_ = true;
  }
  auto best = find(address, globals_);
  if (!best) best = find(address, locals_);
  if (!best) return may_be_label(address) ? std::nullopt : std::optional(ElfSymbol());
  if (best->st_name >= table_.names.size()) return std::nullopt;
  const auto *name = reinterpret_cast<const char *>(table_.names.data()) + best->st_name;
  return ElfSymbol{{name, strnlen(name, table_.names.size() - best->st_name)}, best->st_value};
}

Elf64_Sym ElfSymbols::symbol(size_t number) const {
  Elf64_Sym symbol;
  memcpy(&symbol, table_.symbols.data() + number * sizeof symbol, sizeof symbol);
  return symbol;
}

// Symbols are compared in the table's order, which decides between equal ones.
std::optional<Elf64_Sym> ElfSymbols::find(uint64_t address, const Part &part) const {
  std::optional<Elf64_Sym> best;
  const auto consider = [&](const Elf64_Sym &candidate) {
    if (contains(candidate, address) && names_code_or_data(candidate) && (!best || is_better(candidate, *best)))
      best = candidate;
  };
  if (!is_indexed_) {
    for (auto i = part.from; i < part.to; i++) consider(symbol(i));
    return best;
  }
  const auto &index = part.index;
  auto entry = std::upper_bound(index.begin(), index.end(), address,
                                [](uint64_t wanted, const Entry &each) { return wanted < each.first; });
  std::vector<uint32_t> candidates;
  while (entry != index.begin() && (--entry)->furthest >= address)
    if (entry->last >= address) candidates.push_back(entry->number);
  std::sort(candidates.begin(), candidates.end());
  for (const auto number : candidates) consider(symbol(number));
  return best;
}

void ElfSymbols::make_index(Part &part) const {
  auto &index = part.index;
  for (auto i = part.from; i < part.to; i++) {
    const auto each = symbol(i);
    if (each.st_size == 0 || !names_code_or_data(each)) continue;
    const auto last = each.st_value + std::min(each.st_size - 1, ~each.st_value);
    index.push_back({each.st_value, last, 0, static_cast<uint32_t>(i)});
  }
  std::sort(index.begin(), index.end(), [](const Entry &a, const Entry &b) { return a.first < b.first; });
  uint64_t furthest = 0;
  for (auto &entry : index) entry.furthest = furthest = std::max(furthest, entry.last);
}

// Whether it is the value of a symbol without size, whose section may end before it, or behind one in its section.
bool ElfSymbols::may_be_label(uint64_t address) {
  if (!labels_) {
    labels_.emplace();
    for (size_t i = 1; i < count(); i++) {
      const auto each = symbol(i);
      if (each.st_size != 0 || !names_code_or_data(each)) continue;
      labels_->values.insert(each.st_value);
      auto &begin = labels_->begins.try_emplace(each.st_shndx, each.st_value).first->second;
      begin = std::min(begin, each.st_value);
    }
  }
  return labels_->values.contains(address) ||
         std::any_of(labels_->begins.begin(), labels_->begins.end(), [&](const auto &label) {
           return label.second <= address && file_->is_in_section(address, label.first);
         });
}

} // namespace castaway
