// How a function gets out of libcastaway.so: everything else is hidden.
#pragma once

#define EXPORT extern "C" [[gnu::visibility("default")]]
