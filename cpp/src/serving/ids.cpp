// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <string>
#include <system_error>

#include "require.hpp"
#include "serving/utf8.hpp"
#include "warpfactor/model.hpp"

namespace warpfactor {
namespace {

void require_count(std::size_t n) {
  if (n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    reject("there are " + text(n) + " ids; there must be fewer than 2^31");
  }
}

template <class I>
void require_rising(const std::vector<I>& ids) {
  require_count(ids.size());
  const auto bad = std::adjacent_find(ids.begin(), ids.end(), [](I a, I b) { return a >= b; });
  if (bad != ids.end()) {
    reject("ids must be sorted and distinct, and " + text(bad[1]) + " follows " + text(bad[0]) + " at position " +
           text(bad - ids.begin() + 1));
  }
}

template <class I>
std::int32_t position(const std::vector<I>& ids, I id) {
  const auto at = std::lower_bound(ids.begin(), ids.end(), id);
  return at != ids.end() && *at == id ? static_cast<std::int32_t>(at - ids.begin()) : -1;
}

bool is_uuid(std::string_view id) {
  if (id.size() != 36) return false;
  for (std::size_t at = 0; at < id.size(); ++at) {
    const bool hyphen = at == 8 || at == 13 || at == 18 || at == 23;
    const char c = id[at];
    if (hyphen ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

}  // namespace

Ids::Ids(std::vector<std::int64_t> ids) : signed_(std::move(ids)) { require_rising(signed_); }
Ids::Ids(std::vector<std::uint64_t> ids) : unsigned_(std::move(ids)) { require_rising(unsigned_); }

Ids::Ids(std::span<const std::string> ids, Kind kind) {
  std::string all;
  std::vector<std::int64_t> offsets{0};
  for (const std::string& id : ids) {
    all += id;
    offsets.push_back(static_cast<std::int64_t>(all.size()));
  }
  *this = Ids(std::move(all), std::move(offsets), kind);
}

Ids::Ids(std::string all_text, std::vector<std::int64_t> offsets, Kind kind)
    : kind_(kind), text_(std::move(all_text)), offsets_(std::move(offsets)) {
  if (kind == Kind::integers) reject("ids that are integers come as numbers, not as text");
  if (offsets_.empty() || offsets_.front() != 0 || offsets_.back() != static_cast<std::int64_t>(text_.size()) ||
      !std::is_sorted(offsets_.begin(), offsets_.end())) {
    reject("offsets of ids must rise from 0 to " + text(text_.size()) + ", the length of their text");
  }
  require_count(offsets_.size() - 1);
  for (std::size_t code = 0; code + 1 < offsets_.size(); ++code) {
    const std::string_view id = text_at(code);
    if (!is_utf8(id)) reject("the id at position " + text(code) + " is not valid UTF-8 text");
    if (kind == Kind::uuids && !is_uuid(id)) {
      reject("the id '" + std::string(id) + "' at position " + text(code) +
             " is no UUID in lower case, as 0e37df36-f698-11e6-8dd4-cb9ced3df976");
    }
    if (code > 0 && text_at(code - 1) >= id) {
      reject("ids must be sorted by their bytes and distinct, and '" + std::string(id) + "' follows '" +
             std::string(text_at(code - 1)) + "' at position " + text(code));
    }
  }
}

Ids Ids::numbered(std::int32_t n) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(n));
  std::iota(ids.begin(), ids.end(), 0);
  return Ids(std::move(ids));
}

std::int32_t Ids::size() const noexcept {
  const std::size_t n = kind_ != Kind::integers ? offsets_.size() - 1 : std::max(signed_.size(), unsigned_.size());
  return static_cast<std::int32_t>(n);
}

std::string_view Ids::text_at(std::size_t code) const {
  return std::string_view(text_).substr(static_cast<std::size_t>(offsets_[code]),
                                        static_cast<std::size_t>(offsets_[code + 1] - offsets_[code]));
}

template <class I>
void Ids::require_integers(I id) const {
  if (kind_ != Kind::integers) {
    reject("the ids are " + std::string(kind_ == Kind::uuids ? "UUIDs" : "strings") + ", and " + text(id) +
           " is an integer: look it up as text");
  }
}

std::int32_t Ids::find_negative(std::int64_t id) const {
  require_integers(id);
  return position(signed_, id);
}

std::int32_t Ids::find_positive(std::uint64_t id) const {
  require_integers(id);
  if (!unsigned_.empty()) return position(unsigned_, id);
  if (id > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return -1;
  return position(signed_, static_cast<std::int64_t>(id));
}

std::int32_t Ids::find(std::string_view id) const {
  if (kind_ == Kind::integers) {
    reject("the ids are integers, and '" + std::string(id) + "' is text: look it up as a number");
  }
  std::size_t low = 0, high = offsets_.size() - 1;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (text_at(middle) < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low + 1 < offsets_.size() && text_at(low) == id ? static_cast<std::int32_t>(low) : -1;
}

std::int32_t Ids::find_text(std::string_view id) const {
  if (kind_ != Kind::integers) return find(id);
  const auto code_of = [&]<class I>(I number) -> std::int32_t {
    const auto [end, problem] = std::from_chars(id.data(), id.data() + id.size(), number);
    return problem == std::errc() && end == id.data() + id.size() ? find(number) : -1;
  };
  std::int32_t code = code_of(std::int64_t{});
  if (code < 0) code = code_of(std::uint64_t{});
  // "007" reads as a number that may be an id, and is the text of none.
  return code >= 0 && to_string(code) == id ? code : -1;
}

Ids::Id Ids::at(std::int32_t code) const {
  if (code < 0 || code >= size()) {
    throw std::out_of_range("code is " + text(code) + "; it must be from 0 to " + text(size() - 1));
  }
  const auto row = static_cast<std::size_t>(code);
  if (kind_ != Kind::integers) return text_at(row);
  if (!unsigned_.empty()) return unsigned_[row];
  return signed_[row];
}

std::string Ids::to_string(std::int32_t code) const {
  return std::visit(
      [](const auto& id) {
        if constexpr (std::is_same_v<std::decay_t<decltype(id)>, std::string_view>) {
          return std::string(id);
        } else {
          return std::to_string(id);
        }
      },
      at(code));
}

}  // namespace warpfactor
