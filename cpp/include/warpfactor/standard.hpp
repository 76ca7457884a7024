// SPDX-License-Identifier: Apache-2.0
// Says what is wrong where the headers are compiled as older C++, in place of a page of errors about std::span.
#pragma once

#if defined(_MSVC_LANG) ? _MSVC_LANG < 202002L : __cplusplus < 202002L
#error "warpfactor's headers are C++20: compile with -std=c++20 or later (MSVC: /std:c++20)"
#endif
