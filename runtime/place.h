// Where this library is, and with it the reporter: LIB/../bin/castaway.
#pragma once

namespace castaway {

// Before main: finds out where libcastaway.so was loaded from.
void learn_place();
// The path of the castaway command; an absolute path, perhaps of a file that does not exist.
const char *reporter_path();

} // namespace castaway
