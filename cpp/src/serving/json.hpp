// SPDX-License-Identifier: Apache-2.0
// As much of JSON (RFC 8259) as model files need, of files that may be damaged or hostile. Of our own, because a
// package may fetch nothing when it is built, and a library to carry along is a hundred times as long.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace warpfactor::json {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A value. The functions that read it throw Error if it is of another kind.
class Value {
 public:
  [[nodiscard]] bool is_null() const noexcept { return kind_ == Kind::null; }
  [[nodiscard]] bool is_number() const noexcept { return kind_ == Kind::number; }
  [[nodiscard]] bool is_array() const noexcept { return kind_ == Kind::array; }
  [[nodiscard]] bool boolean() const;
  [[nodiscard]] double number() const;         ///< null is NaN, which JSON lacks
  [[nodiscard]] std::int64_t integer() const;  ///< without fraction and exponent
  [[nodiscard]] const std::string& string() const;
  [[nodiscard]] const std::vector<Value>& array() const;
  using Members = std::vector<std::pair<std::string, Value>>;
  [[nodiscard]] const Members& object() const;  ///< sorted by their names
  [[nodiscard]] const Value& operator[](std::string_view name) const;

 private:
  friend class Parser;
  enum class Kind { null, boolean, number, string, array, object };
  void require(Kind kind, const char* wanted) const;

  Kind kind_ = Kind::null;
  bool boolean_ = false;
  std::string text_;  // the string, or the number as it was written
  std::vector<Value> elements_;
  Members members_;
};

/// Throws Error at anything that is not one value: bad UTF-8, names that occur twice, more than 16 levels of arrays and
/// objects, or more than a million values.
Value parse(std::string_view text);

std::string quoted(std::string_view text);
/// The shortest text that reads back as the same number, with a point or an exponent; "null" for what is not finite.
std::string number(double value);

}  // namespace warpfactor::json
