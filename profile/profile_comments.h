// Comments of a profile: lines `key: value`, for people and for castaway's own tools. Pure; any thread; OFFLINE.
#pragma once

#include "profile/capture_reader.h"
#include "profile/profile_data.h"

#include <string>
#include <string_view>
#include <vector>

namespace castaway {

// Keys. Each appears once, but for kNote and kAnswer.
inline constexpr std::string_view kProgram = "program";     // the command line
inline constexpr std::string_view kProcess = "process";     // comm and pid
inline constexpr std::string_view kSafepoint = "safepoint"; // number, and what triggered it
inline constexpr std::string_view kThreads = "threads";     // how many there were
inline constexpr std::string_view kPause = "pause";         // how long all threads were stopped, and how
inline constexpr std::string_view kMark = "mark";           // how long the scan took
inline constexpr std::string_view kScan = "scan";           // memory that the snapshot took for itself
inline constexpr std::string_view kAfter = "after";         // page faults since the pause, a write to shared pages each
inline constexpr std::string_view kHeap = "heap";           // what was scanned
inline constexpr std::string_view kConfirm = "confirm";     // safepoints until a leak is confirmed
inline constexpr std::string_view kRefuted = "refuted";     // reported leaks that came to life after all
inline constexpr std::string_view kNothingRefuted = "0 threads, 0 blocks";
inline constexpr std::string_view kConfirmed = "confirmed"; // totals, suppressed ones left out
inline constexpr std::string_view kUnconfirmed = "unconfirmed";
inline constexpr std::string_view kSuppressed = "suppressed"; // totals of what suppressions left out
inline constexpr std::string_view kNote = "note";             // what made the result incomplete
inline constexpr std::string_view kQuestion = "question";     // the address or thread that somebody asked about
inline constexpr std::string_view kAnswer = "answer";         // a line of what keeps that alive

std::string comment_line(std::string_view key, std::string_view value);

// What the capture's facts tell, and the notes.
std::vector<std::string> capture_comments(const Capture &capture, const std::vector<std::string> &notes);

// "3 threads, 4096 bytes retained, 2 objects, 64 bytes", and back; what does not parse reads as zeros.
std::string totals_text(const LeakTotals &totals);
LeakTotals parse_totals(std::string_view text);

} // namespace castaway
