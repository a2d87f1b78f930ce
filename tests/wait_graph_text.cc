// Wait graphs as text, to be pasted into a test, and the simpler forms of their facts.
#include "tests/wait_graph.h"

#include <sstream>

namespace castaway::testing {

namespace {

// A fact of a graph in C++, without the fields that have their usual values.
class Writer {
public:
  explicit Writer(const char *type) { out_ << type << "{"; }
  Writer &raw(const char *field, const std::string &value, bool usual) {
    if (usual) return *this;
    out_ << (first_ ? "." : ", .") << field << " = " << value;
    first_ = false;
    return *this;
  }
  template <typename T> Writer &number(const char *field, T value, T usual = {}) {
    return raw(field, std::to_string(value), value == usual);
  }
  Writer &flag(const char *field, bool value) { return raw(field, "true", !value); }
  std::string done() { return out_.str() + "}"; }

private:
  std::ostringstream out_;
  bool first_ = true;
};

std::string text(const Place &place) {
  static constexpr const char *kNames[] = {"block", "stack", "tls", "descriptor", "root", "unknown"};
  return std::string("{In::") + kNames[static_cast<int>(place.in)] + ", " + std::to_string(place.of) + ", " +
         std::to_string(place.offset) + "}";
}
std::string text(WaitKind wait) {
  static constexpr const char *kNames[] = {"none",    "mutex", "cond", "rwlock", "sem",
                                           "barrier", "join",  "once", "futex"};
  return std::string("WaitKind::") + kNames[static_cast<int>(wait)];
}
std::string person(int thread) {
  return thread == kNobody ? "kNobody" : thread == kExited ? "kExited" : std::to_string(thread);
}
std::string text(Holder holder) {
  static constexpr const char *kNames[] = {"memory", "in_register", "outside"};
  return std::string("Holder::") + kNames[static_cast<int>(holder)];
}

std::string text(const BlockFact &fact) {
  return Writer("BlockFact")
      .number("block", fact.block)
      .number("size", fact.size, size_t{16})
      .flag("flagged", fact.flagged)
      .flag("noted", fact.noted)
      .flag("loader", fact.loader)
      .flag("ignored", fact.ignored)
      .done();
}
std::string text(const ThreadFact &fact) {
  return Writer("ThreadFact")
      .number("thread", fact.thread)
      .flag("waiter", fact.waiter)
      .flag("main", fact.main)
      .raw("wait", text(fact.wait), fact.wait == WaitKind::futex)
      .raw("owner", person(fact.owner), fact.owner == kNobody)
      .raw("joined", person(fact.joined), fact.joined == kNobody)
      .done();
}
std::string text(const WordFact &fact) {
  return Writer("WordFact")
      .number("thread", fact.thread)
      .raw("at", text(fact.at), false)
      .flag("shared", fact.shared)
      .flag("woken", fact.woken)
      .done();
}
std::string text(const PointerFact &fact) {
  return Writer("PointerFact")
      .raw("holder", text(fact.holder), fact.holder == Holder::memory)
      .raw("at", text(fact.at), fact.holder == Holder::outside)
      .raw("to", text(fact.to), false)
      .number("tag", fact.tag)
      .done();
}

// `fact` with one field as it mostly is, unless it is so already.
template <typename F, typename T> void offer(std::vector<Fact> &forms, F fact, T F::*field, T usual) {
  if (fact.*field == usual) return;
  fact.*field = usual;
  forms.emplace_back(fact);
}
template <typename F> void offer_no_offset(std::vector<Fact> &forms, F fact, Place F::*field) {
  if ((fact.*field).offset == 0) return;
  (fact.*field).offset = 0;
  forms.emplace_back(fact);
}

std::vector<Fact> forms_of(const BlockFact &fact) {
  std::vector<Fact> forms;
  offer(forms, fact, &BlockFact::size, size_t{16});
  for (bool BlockFact::*field : {&BlockFact::flagged, &BlockFact::noted, &BlockFact::loader, &BlockFact::ignored})
    offer(forms, fact, field, false);
  return forms;
}
std::vector<Fact> forms_of(const ThreadFact &fact) {
  std::vector<Fact> forms;
  offer(forms, fact, &ThreadFact::waiter, false);
  offer(forms, fact, &ThreadFact::main, false);
  offer(forms, fact, &ThreadFact::wait, WaitKind::futex);
  offer(forms, fact, &ThreadFact::owner, kNobody);
  offer(forms, fact, &ThreadFact::joined, kNobody);
  return forms;
}
std::vector<Fact> forms_of(const WordFact &fact) {
  std::vector<Fact> forms;
  offer(forms, fact, &WordFact::shared, false);
  offer(forms, fact, &WordFact::woken, false);
  offer_no_offset(forms, fact, &WordFact::at);
  return forms;
}
std::vector<Fact> forms_of(const PointerFact &fact) {
  std::vector<Fact> forms;
  offer(forms, fact, &PointerFact::holder, Holder::memory);
  offer(forms, fact, &PointerFact::tag, 0u);
  offer_no_offset(forms, fact, &PointerFact::at);
  offer_no_offset(forms, fact, &PointerFact::to);
  return forms;
}

} // namespace

std::vector<Fact> simpler_forms(const Fact &fact) {
  return std::visit([](const auto &each) { return forms_of(each); }, fact);
}

std::string to_cpp(const Graph &graph) {
  std::string out = "  const Graph graph = {\n";
  for (const Fact &fact : graph)
    out += "      " + std::visit([](const auto &each) { return text(each); }, fact) + ",\n";
  return out + "  };\n";
}

} // namespace castaway::testing
