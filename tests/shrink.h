// Makes a failing input small: an input is a list of facts, any of which can be left out, and many of which have
// simpler forms.
//
// Owner: the tests. Context: a test program only. `fails` must be a function of the facts alone.
#pragma once

#include <cstddef>
#include <vector>

namespace castaway::testing {

// Leaves out as many facts as it can: large parts first, then one by one.
template <typename Fact, typename Fails> bool leave_out(std::vector<Fact> &facts, Fails fails) {
  bool any = false;
  for (size_t part = facts.size(); part > 0; part /= 2)
    for (size_t at = 0; at < facts.size();) {
      std::vector<Fact> fewer(facts.begin(), facts.begin() + static_cast<std::ptrdiff_t>(at));
      if (at + part < facts.size())
        fewer.insert(fewer.end(), facts.begin() + static_cast<std::ptrdiff_t>(at + part), facts.end());
      if (!fails(fewer)) {
        at += part;
        continue;
      }
      facts = fewer;
      any = true;
    }
  return any;
}

// Gives each fact the simplest form that it can have; simpler_forms(fact) lists some, the simplest first.
template <typename Fact, typename Fails> bool simplify(std::vector<Fact> &facts, Fails fails) {
  bool any = false;
  for (size_t at = 0; at < facts.size(); ++at)
    for (const Fact &simpler : simpler_forms(facts[at])) {
      std::vector<Fact> other = facts;
      other[at] = simpler;
      if (!fails(other)) continue;
      facts = other;
      any = true;
      break;
    }
  return any;
}

// A list that fails, no fact of which can be left out or take a simpler form. `facts` fails. A form is simpler than
// another only in one direction, so this ends.
template <typename Fact, typename Fails> std::vector<Fact> shrink(std::vector<Fact> facts, Fails fails) {
  while (leave_out(facts, fails) || simplify(facts, fails)) {
  }
  return facts;
}

} // namespace castaway::testing
