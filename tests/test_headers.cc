// Empty: what comes before it, the headers of most tests, is compiled once (CMakeLists.txt).
