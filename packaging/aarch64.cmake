# SPDX-License-Identifier: Apache-2.0
# Cross-compiles for aarch64 Linux with Debian's g++-aarch64-linux-gnu. What is built runs under qemu-user, so that the tests
# do too: cmake --preset aarch64. WARPFACTOR_AARCH64_ROOT names a folder with the target's libraries, where the compiler's
# own are not enough (Python's, for its tests).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(WARPFACTOR_AARCH64_ROOT /usr/aarch64-linux-gnu CACHE PATH "Where qemu-user finds the target's loader and libraries")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES WARPFACTOR_AARCH64_ROOT)
# A cortex-a72 has what Armv8.0-A demands, NEON among it, and next to nothing else: with qemu's own choice, "max", code that
# needs a newer processor would run.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu cortex-a72 -L ${WARPFACTOR_AARCH64_ROOT})

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
