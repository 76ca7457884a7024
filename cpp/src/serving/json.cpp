// SPDX-License-Identifier: Apache-2.0
#include "serving/json.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "serving/utf8.hpp"

namespace warpfactor::json {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value whole() {
    if (!is_utf8(text_)) throw Error("JSON is not valid UTF-8");
    Value value = next(0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the value");
    return value;
  }

 private:
  static constexpr int kMostLevels = 16;
  static constexpr std::int64_t kMostValues = 1'000'000;

  [[noreturn]] void fail(const char* what) const {
    throw Error(std::string("JSON: ") + what + " at byte " + std::to_string(at_));
  }
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value next(int level) {
    if (++n_values_ > kMostValues) fail("there are too many values");
    skip_space();
    Value value;
    switch (peek()) {
      case '{': object(value, level + 1); break;
      case '[': array(value, level + 1); break;
      case '"':
        value.kind_ = Value::Kind::string;
        value.text_ = string();
        break;
      case 't':
      case 'f':
        value.kind_ = Value::Kind::boolean;
        value.boolean_ = peek() == 't';
        if (!take_word(value.boolean_ ? "true" : "false")) fail("there is no value");
        break;
      case 'n':
        if (!take_word("null")) fail("there is no value");
        break;
      default: value.kind_ = Value::Kind::number; value.text_ = number();
    }
    return value;
  }

  void object(Value& value, int level) {
    if (level > kMostLevels) fail("values are nested too deeply");
    value.kind_ = Value::Kind::object;
    ++at_;
    skip_space();
    if (take('}')) return;
    do {
      skip_space();
      if (peek() != '"') fail("a name is missing");
      std::string name = string();
      skip_space();
      if (!take(':')) fail("a colon is missing");
      value.members_.emplace_back(std::move(name), next(level));
      skip_space();
    } while (take(','));
    if (!take('}')) fail("an object does not end");
    std::sort(value.members_.begin(), value.members_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    const auto twice = std::adjacent_find(value.members_.begin(), value.members_.end(),
                                          [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice != value.members_.end()) fail("a name occurs twice in an object");
  }

  void array(Value& value, int level) {
    if (level > kMostLevels) fail("values are nested too deeply");
    value.kind_ = Value::Kind::array;
    ++at_;
    skip_space();
    if (take(']')) return;
    do {
      value.elements_.push_back(next(level));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("an array does not end");
  }

  bool digits() {
    const std::size_t from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > from;
  }

  std::string number() {
    const std::size_t from = at_;
    take('-');
    if (!take('0') && !digits()) fail("there is no value");
    if (take('.') && !digits()) fail("a number ends in its point");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) fail("a number ends in its exponent");
    }
    return std::string(text_.substr(from, at_ - from));
  }

  std::string string() {
    ++at_;
    std::string all;
    for (;;) {
      if (at_ == text_.size()) fail("a string does not end");
      const char c = text_[at_++];
      if (c == '"') return all;
      if (static_cast<unsigned char>(c) < 0x20) fail("a string holds a control character");
      if (c == '\\') {
        escaped(all);
      } else {
        all += c;
      }
    }
  }

  void escaped(std::string& all) {
    constexpr std::string_view kNames = "\"\\/bfnrt", kStandFor = "\"\\/\b\f\n\r\t";
    const char c = peek();
    const std::size_t which = kNames.find(c);
    if (at_ < text_.size() && which != std::string_view::npos) {
      ++at_;
      all += kStandFor[which];
      return;
    }
    if (!take('u')) fail("a backslash precedes nothing that it can");
    std::uint32_t code = code_unit();
    if (code >= 0xD800 && code < 0xDC00 && take_word("\\u")) {
      const std::uint32_t low = code_unit();
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair is missing");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code <= 0xDFFF) {
      fail("half of a surrogate pair is missing");
    }
    const auto put = [&all](std::uint32_t byte) { all += static_cast<char>(static_cast<unsigned char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | code >> 6);
      put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      put(0xE0 | code >> 12);
      put(0x80 | (code >> 6 & 0x3F));
      put(0x80 | (code & 0x3F));
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
      put(0x80 | (code >> 6 & 0x3F));
      put(0x80 | (code & 0x3F));
    }
  }

  std::uint32_t code_unit() {
    const std::string_view four = text_.substr(at_, 4);
    std::uint32_t code = 0;
    const auto [end, error] = std::from_chars(four.data(), four.data() + four.size(), code, 16);
    if (four.size() < 4 || error != std::errc() || end != four.data() + 4) fail("\\u needs four hexadecimal digits");
    at_ += 4;
    return code;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::int64_t n_values_ = 0;
};

void Value::require(Kind kind, const char* wanted) const {
  if (kind_ != kind) throw Error(std::string("JSON: a value is not ") + wanted);
}

bool Value::boolean() const {
  require(Kind::boolean, "true or false");
  return boolean_;
}

double Value::number() const {
  if (is_null()) return std::numeric_limits<double>::quiet_NaN();
  require(Kind::number, "a number");
  // Not std::from_chars, which some standard libraries still lack for floating point.
  std::istringstream stream(text_);
  stream.imbue(std::locale::classic());
  double value = 0;
  if (!(stream >> value)) throw Error("JSON: " + text_.substr(0, 40) + " is beyond the numbers");
  return value;
}

std::int64_t Value::integer() const {
  require(Kind::number, "an integer");
  std::int64_t value = 0;
  const char* const end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value);
  if (error != std::errc() || stop != end) throw Error("JSON: " + text_.substr(0, 40) + " is no integer of 64 bits");
  return value;
}

const std::string& Value::string() const {
  require(Kind::string, "a string");
  return text_;
}

const std::vector<Value>& Value::array() const {
  require(Kind::array, "an array");
  return elements_;
}

const Value::Members& Value::object() const {
  require(Kind::object, "an object");
  return members_;
}

const Value& Value::operator[](std::string_view name) const {
  for (const auto& [each, value] : object()) {
    if (each == name) return value;
  }
  throw Error("JSON: an object has no '" + std::string(name) + "'");
}

Value parse(std::string_view text) { return Parser(text).whole(); }

std::string quoted(std::string_view text) {
  constexpr char kHexadecimal[] = "0123456789abcdef";
  std::string all = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      all += "\\u00";
      all += kHexadecimal[byte >> 4];
      all += kHexadecimal[byte & 15];
    } else {
      if (c == '"' || c == '\\') all += '\\';
      all += c;
    }
  }
  return all + "\"";
}

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), value);
  std::string all(digits, end);
  if (all.find_first_of(".e") == std::string::npos) all += ".0";  // Python reads 3 as an int
  return all;
}

}  // namespace warpfactor::json
