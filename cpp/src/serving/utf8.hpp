// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace warpfactor {

/// Whether all of the text is UTF-8 (RFC 3629: shortest forms, no surrogates, up to U+10FFFF).
inline bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t n) {
      return at + n < text.size() ? static_cast<unsigned char>(text[at + n]) : 0u;
    };
    const unsigned first = byte(0);
    std::size_t length = 1;
    unsigned low = 0x80, high = 0xBF;  // of the second byte
    if (first >= 0x80) {
      if (first < 0xC2 || first > 0xF4) return false;
      length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
      if (byte(1) < low || byte(1) > high) return false;
      for (std::size_t n = 2; n < length; ++n) {
        if (byte(n) < 0x80 || byte(n) > 0xBF) return false;
      }
    }
    at += length;
  }
  return true;
}

}  // namespace warpfactor
