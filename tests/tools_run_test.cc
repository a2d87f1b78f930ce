// castaway run: what the program sees, and that it runs in any case. A program that cannot be profiled gets one line.
#include "tests/run_command.h"
#include "tools/program.h"

#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace castaway {
namespace {

// Runs with the profiler off, for the reason given, but runs: `out` and `status` are the program's own.
void expect_unprofiled(const Finished &finished, int status, const std::string &out, const std::string &reason) {
  EXPECT_EQ(finished.status, status) << finished.err;
  EXPECT_EQ(finished.out, out);
  EXPECT_EQ(finished.error_lines(), 1u) << finished.err;
  EXPECT_TRUE(finished.err.starts_with("castaway: profiling is off: ")) << finished.err;
  EXPECT_NE(finished.err.find(reason), std::string::npos) << finished.err;
}

Finished run_under(const std::vector<std::string> &options, const std::vector<std::string> &command) {
  std::vector<std::string> argv = {"castaway", "run"};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.emplace_back("--");
  argv.insert(argv.end(), command.begin(), command.end());
  return run_command(argv);
}

template <typename T> std::string bytes_of(const T &value) {
  return std::string(reinterpret_cast<const char *>(&value), sizeof value);
}

// exit(7) by way of int 0x80, in both modes: mov eax, 1; mov ebx, 7; int 0x80.
const std::string kExit7("\xb8\x01\x00\x00\x00\xbb\x07\x00\x00\x00\xcd\x80", 12);

// A program of one segment, with a PT_INTERP behind it if `loader` is not empty.
template <typename Header, typename Segment>
std::string elf_program(unsigned char elf_class, uint16_t machine, const std::string &code, const std::string &loader) {
  constexpr uint32_t base = 0x10000;
  const uint32_t start = sizeof(Header) + 2 * sizeof(Segment);
  Header header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf_class;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  header.e_version = EV_CURRENT;
  header.e_entry = base + start;
  header.e_phoff = sizeof(Header);
  header.e_ehsize = sizeof(Header);
  header.e_phentsize = sizeof(Segment);
  header.e_phnum = loader.empty() ? 1 : 2;
  Segment text = {};
  text.p_type = PT_LOAD;
  text.p_vaddr = text.p_paddr = base;
  text.p_filesz = text.p_memsz = start + code.size();
  text.p_flags = PF_R | PF_X;
  text.p_align = 0x1000;
  Segment interpreter = {};
  interpreter.p_type = PT_INTERP;
  interpreter.p_offset = start + code.size();
  interpreter.p_filesz = interpreter.p_memsz = loader.size() + 1;
  return bytes_of(header) + bytes_of(text) + bytes_of(interpreter) + code + loader + '\0';
}

std::string program_64(const std::string &loader, uint16_t machine = EM_X86_64) {
  return elf_program<Elf64_Ehdr, Elf64_Phdr>(ELFCLASS64, machine, kExit7, loader);
}

std::string program_32() { return elf_program<Elf32_Ehdr, Elf32_Phdr>(ELFCLASS32, EM_386, kExit7, ""); }

TEST(Run, ProgramIsTheSameProcessWithTheSettings) {
  const Finished finished = run_shell(
      "cd /tmp && $CASTAWAY run --interval 5m --output out --at-exit --confirm 3 --sample-bytes 1 --keep 7 --markers 2 "
      "--stop "
      "signal "
      "--follow none --log log --symbolize off -- sh -c 'echo $CASTAWAY_INTERVAL $CASTAWAY_OUTPUT $CASTAWAY_AT_EXIT "
      "$CASTAWAY_CONFIRM $CASTAWAY_SAMPLE_BYTES $CASTAWAY_KEEP $CASTAWAY_MARKERS $CASTAWAY_STOP $CASTAWAY_FOLLOW "
      "$CASTAWAY_LOG "
      "$CASTAWAY_SYMBOLIZE; [ $$ = $CASTAWAY_ROOT ] && echo root' && echo then");
  EXPECT_EQ(finished.out, "5m /tmp/out 1 3 1 7 2 signal none /tmp/log off\nroot\nthen\n");
  EXPECT_EQ(finished.status, 0);
}

TEST(Run, OutputIsAbsoluteAlsoWhereNobodyNamedIt) {
  EXPECT_EQ(run_shell("cd /tmp && $CASTAWAY run -- sh -c 'echo $CASTAWAY_OUTPUT'").out, "/tmp/castaway-out\n");
  EXPECT_EQ(run_shell("cd /tmp && CASTAWAY_OUTPUT=x $CASTAWAY run -- sh -c 'echo $CASTAWAY_OUTPUT'").out, "/tmp/x\n");
}

TEST(Run, LastValueOfAnOptionCounts) {
  EXPECT_EQ(run_under({"--keep", "3", "--keep=4"}, {"sh", "-c", "echo $CASTAWAY_KEEP"}).out, "4\n");
}

TEST(Run, RuntimeIsPreloadedInFrontOfWhatIs) {
  const std::string runtime = std::filesystem::weakly_canonical(built("../lib/libcastaway.so"));
  EXPECT_EQ(run_shell("$CASTAWAY run -- sh -c 'echo $LD_PRELOAD'").out, runtime + "\n");
  EXPECT_EQ(run_shell("LD_PRELOAD=libm.so.6 $CASTAWAY run -- sh -c 'echo $LD_PRELOAD'").out, runtime + ":libm.so.6\n");
  EXPECT_EQ(run_shell("$CASTAWAY run -- $CASTAWAY run -- sh -c 'echo $LD_PRELOAD'").out, runtime + "\n");
}

TEST(Run, ArgumentsArriveAsTheyAre) {
  const Finished finished = run_under({}, {"printf", "<%s>", "[a,b]", "{}", "--", "--help", "", "-x", "a b"});
  EXPECT_EQ(finished.out, "<[a,b]><{}><--><--help><><-x><a b>");
  EXPECT_EQ(run_command({"castaway", "run", "printf", "<%s>", "--", "--interval"}).out, "<--><--interval>");
  EXPECT_EQ(run_shell("$CASTAWAY run -- sh -c 'kill -TERM $$'").status, 128 + 15);
  EXPECT_EQ(run_under({}, {"sh", "-c", "exit 5"}).status, 5);
}

TEST(Run, FirstOneInPathThatCanBeExecutedIsTaken) {
  const TestDirectory directory;
  std::filesystem::create_directories(directory / "a");
  std::filesystem::create_directories(directory / "b");
  directory.write("a/tool", "#!/bin/sh\necho a\n", 0600);
  directory.write("b/tool", "#!/bin/sh\necho b\n", 0700);
  const std::string path = (directory / "a").string() + ":" + (directory / "b").string() + ":/bin";
  EXPECT_EQ(run_shell("PATH=" + path + " $CASTAWAY run -- tool").out, "b\n");
  const Finished finished = run_shell("PATH=" + (directory / "a").string() + " $CASTAWAY run -- tool");
  EXPECT_EQ(finished.status, 126);
  EXPECT_EQ(finished.error_lines(), 1u);
}

TEST(Run, ScriptWithoutFirstLineRunsInTheShell) {
  const TestDirectory directory;
  EXPECT_EQ(run_under({}, {directory.write("script", "echo ran\n", 0700)}).out, "ran\n");
}

TEST(Run, MissingInterpreterIsNotFound) {
  const TestDirectory directory;
  const std::string script = directory.write("script", "#!/no/such/shell\n", 0700);
  const Finished finished = run_under({}, {script});
  EXPECT_EQ(finished.status, 127);
  EXPECT_EQ(finished.error_lines(), 1u) << finished.err;
  EXPECT_NE(finished.err.find(script), std::string::npos) << finished.err;
}

TEST(RunUnprofiled, StaticProgram) {
  const TestDirectory directory;
  const std::string program = directory.write("static", program_64(""), 0700);
  ASSERT_EQ(run_command({program}).status, 7);
  expect_unprofiled(run_under({}, {program}), 7, "", "'" + program + "' is statically linked");
}

TEST(RunUnprofiled, ScriptOfAStaticInterpreter) {
  const TestDirectory directory;
  const std::string program = directory.write("static", program_64(""), 0700);
  const std::string script = directory.write("script", "#! " + program + " -x\n", 0700);
  expect_unprofiled(run_under({}, {script}), 7, "", "interpreter '" + program + "' is statically linked");
}

TEST(RunUnprofiled, Program32Bit) {
  const TestDirectory directory;
  const std::string program = directory.write("program32", program_32(), 0700);
  EXPECT_EQ(why_not_preloadable(program), "is a 32-bit program");
  if (run_command({program}).status != 7) GTEST_SKIP() << "this kernel runs no 32-bit programs";
  expect_unprofiled(run_under({}, {program}), 7, "", "'" + program + "' is a 32-bit program");
}

TEST(RunUnprofiled, SetUserIdProgram) {
  const TestDirectory directory;
  struct statvfs mount = {};
  ASSERT_EQ(statvfs(directory.path().c_str(), &mount), 0);
  if (geteuid() != 0 || (mount.f_flag & ST_NOSUID) != 0) GTEST_SKIP() << "needs root and a file system with suid";
  const std::string program = directory / "other";
  std::filesystem::copy("/bin/echo", program);
  ASSERT_EQ(chown(program.c_str(), 12345, 0), 0);
  ASSERT_EQ(chmod(program.c_str(), 04755), 0);
  expect_unprofiled(run_under({}, {program, "ran"}), 0, "ran\n", "gains privileges");
}

TEST(RunUnprofiled, OutputDirectoryThatCannotBe) {
  expect_unprofiled(run_under({"--output", "/etc/passwd/x"}, {"echo", "ran"}), 0, "ran\n", "'/etc/passwd/x'");
  expect_unprofiled(run_under({"--output", "/dev/null"}, {"echo", "ran"}), 0, "ran\n", "Not a directory");
}

TEST(RunUnprofiled, OutputDirectoryOfSomebodyElse) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const TestDirectory directory;
  const Finished finished = run_shell("setpriv --reuid 12345 --clear-groups $CASTAWAY run --output " +
                                      (directory / "out").string() + " -- echo ran");
  expect_unprofiled(finished, 0, "ran\n", "Permission denied");
}

TEST(RunUnprofiled, RuntimeThatIsMissing) {
  const TestDirectory directory;
  std::filesystem::create_directories(directory / "bin");
  std::filesystem::copy(built("castaway"), directory / "bin/castaway");
  expect_unprofiled(run_command({directory / "bin/castaway", "run", "--", "echo", "ran"}), 0, "ran\n",
                    "libcastaway.so is missing");
}

TEST(Preloadable, WhatTheLoaderOfGlibcStarts) {
  EXPECT_EQ(why_not_preloadable("/bin/sh"), "");
  EXPECT_EQ(why_not_preloadable("/lib64/ld-linux-x86-64.so.2"), "");
}

TEST(Preloadable, OtherLoadersAndProcessorsAreNot) {
  const TestDirectory directory;
  EXPECT_EQ(why_not_preloadable(directory.write("glibc", program_64("/lib64/ld-linux-x86-64.so.2"))), "");
  EXPECT_EQ(why_not_preloadable(directory.write("musl", program_64("/lib/ld-musl-x86_64.so.1"))),
            "uses another C library (its loader is '/lib/ld-musl-x86_64.so.1')");
  EXPECT_EQ(why_not_preloadable(directory.write("arm", program_64("", EM_AARCH64))), "is made for another processor");
}

TEST(Preloadable, DamagedProgramsAreLeftToTheKernel) {
  const TestDirectory directory;
  const std::string whole = program_64("");
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string verdict = why_not_preloadable(directory.write("cut", whole.substr(0, size)));
    EXPECT_TRUE(verdict.empty() || verdict == "is statically linked") << size << verdict;
  }
}

TEST(Preloadable, ScriptsInACircleEnd) {
  const TestDirectory directory;
  const std::string script = directory / "script";
  EXPECT_EQ(why_not_preloadable(directory.write("script", "#!" + script + "\n")), "");
}

} // namespace
} // namespace castaway
