// castaway why: what keeps a block or a thread of a running process alive, told link by link.
#include "target.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <regex>
#include <sstream>

namespace e2e {
namespace {

class Why : public testing::Test {
protected:
  Why() : target_({program("why"), "everything"}) { target_.await_ready(); }

  Ended ask(const std::string &what) {
    return run({{castaway(), "why", std::to_string(target_.process().pid()), what}, {}});
  }
  // The lines of an answer to a question that has one, each without the hexadecimal numbers.
  std::vector<std::string> answer(const std::string &what) {
    Ended ended = ask(what);
    EXPECT_EQ(ended.how, "exit 0") << ended.errors;
    EXPECT_EQ(ended.errors, "");
    std::istringstream text(std::regex_replace(ended.output, std::regex("0x[0-9a-f]+"), "0x"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }
  std::string address(const std::string &name) {
    char text[32];
    snprintf(text, sizeof text, "0x%lx", target_.number(name));
    return text;
  }
  std::string tid(const std::string &name) { return std::to_string(target_.number(name)); }

  Target target_;
};

using Lines = std::vector<std::string>;

// Whether `line` is `beginning`, then "allocated in", then a stack that names `function`.
bool is_allocated(const std::string &line, const std::string &beginning, const std::string &function) {
  return line.starts_with(beginning + ", allocated in ") && line.find(function) != std::string::npos;
}

TEST_F(Why, ABlockBehindAGlobal) {
  Lines lines = answer(address("globals"));
  ASSERT_EQ(lines.size(), 4u) << testing::PrintToString(lines);
  EXPECT_TRUE(is_allocated(lines[0], "block 0x, 64 bytes", "everything (why.cc:")) << lines[0];
  EXPECT_TRUE(is_allocated(lines[1], "  <- offset 8 of block 0x, 16 bytes", "support::make<Entry>")) << lines[1];
  EXPECT_TRUE(is_allocated(lines[2], "  <- offset 0 of block 0x, 16 bytes", "support::make<Entry>")) << lines[2];
  EXPECT_EQ(lines[3], "  <- session_table+16 in why: a root");
}

TEST_F(Why, ABlockOnAStack) {
  Lines lines = answer(address("stacks"));
  ASSERT_EQ(lines.size(), 3u) << testing::PrintToString(lines);
  EXPECT_TRUE(is_allocated(lines[0], "block 0x, 200 bytes", "hold_on_stack (why.cc:")) << lines[0];
  EXPECT_NE(lines[1].find("  <- stack at 0x of thread " + tid("holder") +
                          ", in the frame of (anonymous namespace)::hold_on_stack (why.cc:"),
            std::string::npos)
      << lines[1];
  EXPECT_EQ(lines[2].find("  lives: it is not blocked for ever on a futex ("), 0u) << lines[2];
}

TEST_F(Why, AThreadWhoseWaitCanEnd) {
  Lines lines = answer(tid("waiter"));
  ASSERT_EQ(lines.size(), 4u) << testing::PrintToString(lines);
  EXPECT_EQ(lines[0], "thread " + tid("waiter") + " \"why\", sem wait");
  EXPECT_EQ(lines[1], "  lives: the futex word 0x can be reached, because of");
  EXPECT_TRUE(is_allocated(lines[2], "block 0x, 40 bytes", "Gate")) << lines[2];
  EXPECT_EQ(lines[3], "  <- session_table+24 in why: a root");
}

TEST_F(Why, WhatIsLeaked) {
  EXPECT_EQ(answer(tid("leaked")), (Lines{"thread " + tid("leaked") + " \"why\", sem wait",
                                          "  leaked: it can never run again (unreachable)"}));
  Lines lines = answer(address("lost"));
  ASSERT_EQ(lines.size(), 2u) << testing::PrintToString(lines);
  EXPECT_TRUE(is_allocated(lines[0], "block 0x, 100 bytes", "everything (why.cc:")) << lines[0];
  EXPECT_EQ(lines[1], "  nothing that can still run leads to it: leaked");
}

TEST_F(Why, WhatIsNot) {
  EXPECT_EQ(answer("1"), (Lines{"there is no thread 1 that is not castaway's"}));
  EXPECT_EQ(answer("0x1000"), (Lines{"at 0x is no block of the heap and no thread's memory"}));
}

TEST_F(Why, BadQuestionsGetOneLine) {
  for (const char *question : {"0x", "0xzz", "-1", "0", "main", "0x1000000000000", "99999999999"}) {
    Ended ended = ask(question);
    EXPECT_EQ(ended.how, "exit 2") << question;
    EXPECT_EQ(ended.output, "");
    EXPECT_NE(ended.errors.find(std::string("'") + question + "' is neither an address (0x7f...) nor a thread id"),
              std::string::npos)
        << ended.errors;
    EXPECT_EQ(std::count(ended.errors.begin(), ended.errors.end(), '\n'), 1);
  }
}

// What somebody asks concerns his answer only.
TEST_F(Why, OtherProfilesHaveNoAnswer) {
  answer(tid("leaked"));
  Profile profile = target_.snap();
  EXPECT_EQ(profile.data().comment("question"), "");
  EXPECT_EQ(profile.totals().threads, 1);
}

// One that comes while another is being finished must not wait for the next.
TEST(Requests, AreServedAtOnce) {
  Target target({program("why"), "everything"}, {.more = {"CASTAWAY_SYMBOLIZE=off"}});
  target.await_ready();
  for (int i = 0; i < 100; ++i) {
    Ended ended = run({{castaway(), "snap", "--wait", "--timeout", "20s", std::to_string(target.process().pid())}, {}});
    ASSERT_EQ(ended.how, "exit 0") << i << ended.errors;
  }
}

} // namespace
} // namespace e2e
