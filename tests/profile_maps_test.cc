// The parser of /proc/PID/maps and what is built on it: modules and ELF files.
#include "profile/file.h"
#include "profile/modules.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/mman.h>
#include <unistd.h>

namespace castaway {
namespace {

std::string error_of(const std::string &text) {
  const auto map = MemoryMap::parse(text);
  return map ? "" : map.error();
}

std::string own_maps() {
  std::ifstream file("/proc/self/maps");
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ProfileMaps, ReadsEveryKindOfLine) {
  const auto map = MemoryMap::parse("00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/a program (deleted)\n"
                                    "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
                                    "35b1800000-35b1820000 r--p 00000000 08:02 135522  /lib/new\\012line.so\n"
                                    "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
                                    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]");
  ASSERT_TRUE(map.ok()) << map.error();
  const auto &mappings = map->mappings();
  ASSERT_EQ(mappings.size(), 5u);
  EXPECT_EQ(mappings[0].path, "/usr/bin/a program");
  EXPECT_TRUE(mappings[0].deleted && mappings[0].executable && mappings[0].is_file());
  EXPECT_EQ(mappings[0].offset, 0x1000u);
  EXPECT_EQ(mappings[1].path, "[heap]");
  EXPECT_FALSE(mappings[1].executable || mappings[1].is_file());
  EXPECT_EQ(mappings[2].path, "/lib/new\nline.so");
  EXPECT_EQ(mappings[3].path, "");
  EXPECT_EQ(mappings[4].begin, 0xffffffffff600000u);
}

TEST(ProfileMaps, FindsTheMappingOfAnAddress) {
  const auto map = MemoryMap::parse("1000-2000 r-xp 0 0:0 0\n3000-4000 r-xp 0 0:0 0\n");
  ASSERT_TRUE(map.ok()) << map.error();
  EXPECT_EQ(map->find(0xfff), -1);
  EXPECT_EQ(map->find(0x1000), 0);
  EXPECT_EQ(map->find(0x1fff), 0);
  EXPECT_EQ(map->find(0x2000), -1);
  EXPECT_EQ(map->find(0x3800), 1);
  EXPECT_EQ(map->find(~uint64_t(0)), -1);
  EXPECT_EQ(MemoryMap().find(0), -1);
}

TEST(ProfileMaps, ErrorsNameTheLine) {
  const std::string good = "1000-2000 r-xp 00000000 00:00 0\n";
  EXPECT_EQ(error_of(good + "nonsense\n"), "maps, line 2: not a mapping");
  EXPECT_EQ(error_of(good + "\n"), "maps, line 2: not a mapping");
  EXPECT_EQ(error_of("2000-1000 r-xp 00000000 00:00 0"), "maps, line 1: not a mapping");
  EXPECT_EQ(error_of("-1000 r-xp 00000000 00:00 0"), "maps, line 1: not a mapping");
  EXPECT_EQ(error_of("10000000000000000-20000000000000000 r-xp 0 00:00 0"), "maps, line 1: not a mapping");
  EXPECT_EQ(error_of("1000-2000 r-x 00000000 00:00 0"), "maps, line 1: not a mapping");
  EXPECT_EQ(error_of(good + "1800-3000 r-xp 00000000 00:00 0"), "maps: 0x1800 lies in the mapping before it");
}

TEST(ProfileMaps, TruncatedAnywhereIsSurvived) {
  const auto maps = own_maps().substr(0, 2000);
  for (size_t size = 0; size < maps.size(); size++) (void)MemoryMap::parse(std::string(maps, 0, size));
}

TEST(ProfileModules, KnowsOwnCodeVdsoAndLibraries) {
  const auto map = *MemoryMap::parse(own_maps());
  const Modules modules(map, 4096, 0);
  const auto *own = modules.at(reinterpret_cast<uint64_t>(&own_maps));
  ASSERT_NE(own, nullptr);
  EXPECT_EQ(own->path, std::filesystem::read_symlink("/proc/self/exe").string());
  ASSERT_NE(own->file, nullptr) << own->error;
  EXPECT_EQ(own->file->build_id().size() % 2, 0u);
  EXPECT_TRUE(own->file->unwind_table());
  // The code in the file is the code in memory.
  const auto in_file = own->file->at(reinterpret_cast<uint64_t>(&own_maps) - own->bias);
  ASSERT_GE(in_file.size(), 16u);
  EXPECT_EQ(memcmp(in_file.data(), reinterpret_cast<const void *>(&own_maps), 16), 0);
  EXPECT_FALSE(own->file->section(".text").empty());
  EXPECT_TRUE(own->file->section(".bss").empty()) << "the file has nothing of it";
  EXPECT_TRUE(own->file->section(".no_such").empty());
  size_t without_file = 0;
  bool vdso = false;
  for (size_t i = 0; i < map.mappings().size(); i++) (void)modules.of_mapping(static_cast<int>(i));
  for (const auto &module : modules.opened()) {
    without_file += module.file == nullptr;
    vdso |= module.path == "[vdso]" && module.file != nullptr && module.file->unwind_table();
  }
  EXPECT_EQ(without_file, 0u);
  EXPECT_TRUE(vdso);
}

TEST(ProfileModules, WhatIsNoElfFileHasAReason) {
  const auto map = *MemoryMap::parse("1000-2000 r-xp 00000000 00:00 5 /etc/passwd\n"
                                     "2000-3000 r-xp 00000000 00:00 5 /dev/zero\n"
                                     "3000-4000 r-xp 00000000 00:00 5 /bin/true (deleted)\n"
                                     "4000-5000 r-xp 7f000000 00:00 5 /bin/true\n"
                                     "5000-6000 r-xp 7f000000 00:00 5 /no/such\n");
  const Modules modules(map, 4096, 0);
  EXPECT_EQ(modules.at(0x1000)->error, "/etc/passwd: not a 64-bit little-endian ELF file");
  EXPECT_EQ(modules.at(0x2000)->error, "/dev/zero: not a regular file");
  EXPECT_EQ(modules.at(0x3000)->error, "/bin/true: deleted since it was mapped");
  EXPECT_EQ(modules.at(0x4000)->error, "/bin/true: is not the file that was mapped");
  EXPECT_EQ(modules.at(0x5000)->error, "/no/such: No such file or directory");
  EXPECT_EQ(modules.opened().size(), 5u);
}

TEST(ProfileModules, AreOpenedWhenTheyAreAskedFor) {
  const auto map = *MemoryMap::parse(own_maps());
  const Modules modules(map, 4096, 0);
  EXPECT_TRUE(modules.opened().empty());
  const auto *own = modules.at(reinterpret_cast<uint64_t>(&own_maps));
  EXPECT_EQ(modules.at(reinterpret_cast<uint64_t>(&map)), nullptr) << "a stack";
  for (size_t i = 0; i < map.mappings().size(); i++)
    if (map.mappings()[i].path == own->path) (void)modules.of_mapping(static_cast<int>(i));
  EXPECT_EQ(modules.opened().size(), 1u);
  EXPECT_EQ(&modules.opened()[0], own);
}

TEST(ProfileModules, DeletedFilesAreReadThroughTheirProcess) {
  const auto path = testing::TempDir() + "deleted." + std::to_string(getpid());
  std::filesystem::copy_file("/proc/self/exe", path);
  const auto file = *open_file(path);
  // Where the program's own code lies, found by its own mapping.
  const auto own_map = *MemoryMap::parse(own_maps());
  const auto &own = own_map.mappings()[static_cast<size_t>(own_map.find(reinterpret_cast<uint64_t>(&own_maps)))];
  void *at = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), static_cast<off_t>(own.offset));
  ASSERT_NE(at, MAP_FAILED);
  std::filesystem::remove(path);
  const auto map = *MemoryMap::parse(own_maps());
  if (access("/proc/self/map_files", X_OK) != 0 || geteuid() != 0) GTEST_SKIP() << "needs rights over map_files";
  const Modules without_process(map, 4096, 0);
  EXPECT_EQ(without_process.at(reinterpret_cast<uint64_t>(at))->error, path + ": deleted since it was mapped");
  const Modules modules(map, 4096, static_cast<uint64_t>(getpid()));
  const auto *module = modules.at(reinterpret_cast<uint64_t>(at));
  ASSERT_NE(module->file, nullptr) << module->error;
  EXPECT_EQ(module->file->build_id(), modules.at(reinterpret_cast<uint64_t>(&own_maps))->file->build_id());
  munmap(at, 4096);
}

TEST(ProfileModules, DamagedElfFilesAreSurvived) {
  const auto original = *read_file("/bin/true", 1 << 24);
  const auto path = testing::TempDir() + "damaged." + std::to_string(getpid());
  srand(3);
  for (int round = 0; round < 500; round++) {
    auto bytes = original;
    for (int i = 0; i < 8; i++) bytes[static_cast<size_t>(rand()) % 1024] = static_cast<std::byte>(rand());
    for (int i = 0; i < 8; i++) // the section headers
      bytes[bytes.size() - 1 - static_cast<size_t>(rand()) % 1024] = static_cast<std::byte>(rand());
    if (round % 5 == 0) bytes.resize(static_cast<size_t>(rand()) % bytes.size() + 1);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const auto file = ElfFile::open(path);
    if (!file) continue;
    for (uint64_t address = 0; address < 0x10000; address += 0xfff)
      ASSERT_LE((*file)->at(address).size(), bytes.size());
    for (const auto *name : {".text", ".bss", ".gnu_debuglink", ""})
      ASSERT_LE((*file)->section(name).size(), bytes.size());
  }
  std::filesystem::remove(path);
}

} // namespace
} // namespace castaway
