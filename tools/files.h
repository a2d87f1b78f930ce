// Questions about files that leave nothing behind.
#pragma once

#include <filesystem>
#include <string>

namespace castaway {

// Against the current directory.
std::filesystem::path absolute_path(const std::filesystem::path &path);

// Why no file could be made in this directory, which need not be there yet; empty if one could.
std::string trouble_writing_directory(const std::filesystem::path &directory);

// The same for a file that is there or could be made.
std::string trouble_writing_file(const std::filesystem::path &file);

} // namespace castaway
