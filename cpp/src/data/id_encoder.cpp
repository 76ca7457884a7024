// SPDX-License-Identifier: Apache-2.0
#include "data/id_encoder.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <limits>
#include <new>
#include <numeric>
#include <random>
#include <type_traits>
#include <utility>

#include "huge_pages.hpp"
#include "require.hpp"

// What a loop seldom calls: taken into it, it would cost registers.
#if defined(__GNUC__)
#define WARPFACTOR_SELDOM __attribute__((noinline))
#define WARPFACTOR_OFTEN __attribute__((always_inline)) inline
#define WARPFACTOR_OFTEN_LAMBDA __attribute__((always_inline))
#else
#define WARPFACTOR_SELDOM
#define WARPFACTOR_OFTEN inline
#define WARPFACTOR_OFTEN_LAMBDA
#endif

namespace warpfactor {
namespace {

constexpr std::int64_t kSlice = 1 << 13;  // rows of a task; not measured
constexpr std::int64_t kBatch = 32;       // look-ups under way at a time; not measured

std::uint64_t fresh_seed() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::uint64_t seed = static_cast<std::uint64_t>(now);
  try {
    std::random_device device;
    seed ^= static_cast<std::uint64_t>(device()) << 32 | device();
  } catch (const std::exception&) {
    // No such device here: the time has to do.
  }
  return SplitMix64(seed).next();
}

/// Eight bytes as a number whose lowest byte is the first.
std::uint64_t load8(const char* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, 8);
  return word;
}

/// Reads a number of up to eight digits, n of them, from the first n bytes of a word (Lemire, "Quickly parsing eight
/// digits", 2018). False: they are no digits. Here and below the result is an argument because GCC builds a returned
/// optional in memory, where the load waits for the stores: 3 ns a row.
inline bool parse_digits(std::uint64_t word, std::size_t n, std::int64_t& value) {
  word <<= 64 - 8 * n;
  word |= (0x3030303030303030u >> 4 * n) >> 4 * n;
  constexpr std::uint64_t kHigh = 0xf0f0f0f0f0f0f0f0u;
  if (((word & kHigh) | ((word + 0x0606060606060606u) & kHigh) >> 4) != 0x3333333333333333u) return false;
  word -= 0x3030303030303030u;
  word = word * 10 + (word >> 8);
  constexpr std::uint64_t kMask = 0x000000ff000000ffu;
  word = ((word & kMask) * 0x000f424000000064u + ((word >> 16) & kMask) * 0x0000271000000001u) >> 32;
  value = static_cast<std::int64_t>(static_cast<std::uint32_t>(word));
  return true;
}

WARPFACTOR_SELDOM bool parse_other_integer(std::string_view text, std::int64_t& value) {
  const std::size_t n = text.size(), digit = n > 0 && text[0] == '-' ? 1 : 0;
  if (n <= digit || (text[digit] == '0' && n > 1)) return false;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + n, value);
  return error == std::errc() && stop == text.data() + n;
}

/// Reads the integer that a text writes in the one way that counts: no sign but a minus, no zero in front, in int64.
/// `room`: the bytes that may be read from its beginning.
inline bool parse_integer(std::string_view text, std::size_t room, std::int64_t& value) {
  const std::size_t n = text.size();
  if (std::endian::native == std::endian::little && n - 1 < 18 && room >= 8) [[likely]] {
    const std::size_t head = (n - 1) % 8 + 1;
    if (parse_digits(load8(text.data()), head, value)) {
      for (std::size_t at = head; at < n; at += 8) {
        std::int64_t part = 0;
        if (!parse_digits(load8(text.data() + at), 8, part)) return false;
        value = value * 100'000'000 + part;
      }
      return text[0] != '0' || n == 1;
    }
  }
  return parse_other_integer(text, value);
}

WARPFACTOR_SELDOM std::uint64_t hash_long(std::string_view text, std::uint64_t seed) {
  const std::size_t n = text.size();
  for (std::size_t at = 0; at + 8 < n; at += 8) seed = SplitMix64(seed ^ load8(text.data() + at)).next();
  return SplitMix64(seed ^ load8(text.data() + n - 8)).next();
}

/// A text of up to eight bytes is its own key; for others a hash stands.
inline std::uint64_t key_bits(std::string_view text, std::size_t room, std::uint64_t seed) {
  const std::size_t n = text.size();
  if (n > 8) return hash_long(text, seed);
  if (std::endian::native == std::endian::little && room >= 8 && n > 0) {
    return load8(text.data()) & (~std::uint64_t{0} >> (64 - 8 * n));
  }
  std::uint64_t bits = 0;
  std::memcpy(&bits, text.data(), n);
  return bits;
}

/// Places that a table of numbers may have for n rows: no more than the codes take, of one byte each.
constexpr std::int64_t places_for(std::int64_t n) { return n + 1024; }
/// Whether a table with a place for each number from low to high is no larger.
bool close_together(std::int64_t low, std::int64_t high, std::int64_t n) {
  return static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) < static_cast<std::uint64_t>(places_for(n));
}

/// Which numbers from `low` on occur. Threads may mark at once.
class Marks {
 public:
  /// Room for the numbers from `low` to `high`. What is not touched takes no memory.
  Marks(std::int64_t low, std::int64_t high)
      : low_(low),
        marks_(static_cast<std::atomic<std::uint8_t>*>(std::calloc(static_cast<std::size_t>(high - low + 1), 1))) {
    static_assert(sizeof(std::atomic<std::uint8_t>) == 1);
    if (marks_ == nullptr) throw std::bad_alloc();
  }

  void mark(std::int64_t number) { mark_at(first() + (number - low_)); }
  /// The mark of `low`.
  [[nodiscard]] std::atomic<std::uint8_t>* first() const noexcept { return marks_.get(); }
  static void mark_at(std::atomic<std::uint8_t>* at) {
    // Read first: a line that all threads write would go from one to the other.
    if (at->load(std::memory_order_relaxed) == 0) at->store(1, std::memory_order_relaxed);
  }
  /// The rank of each marked number up to `high`, by its distance from `low`; other places hold nothing. Puts the
  /// numbers into `values`.
  [[nodiscard]] Buffer<std::int32_t> ranks(std::int64_t high, std::vector<std::int64_t>& values,
                                           ThreadTeam& team) const {
    const std::int64_t n = high - low_ + 1;
    std::vector<std::int64_t> before(static_cast<std::size_t>((n + ThreadTeam::kSlice - 1) / ThreadTeam::kSlice) + 1);
    team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
      std::int64_t& count = before[static_cast<std::size_t>(begin / ThreadTeam::kSlice) + 1];
      for (std::int64_t at = begin; at < end; ++at) count += is_marked(at) ? 1 : 0;
    });
    std::partial_sum(before.begin(), before.end(), before.begin());
    if (before.back() > std::numeric_limits<std::int32_t>::max()) reject("there are 2^31 distinct ids or more");
    values.resize(static_cast<std::size_t>(before.back()));
    Buffer<std::int32_t> ranks(n);
    team.run_slices(n, [&](std::int64_t begin, std::int64_t end, int) {
      std::int64_t rank = before[static_cast<std::size_t>(begin / ThreadTeam::kSlice)];
      for (std::int64_t at = begin; at < end; ++at) {
        if (!is_marked(at)) continue;
        ranks[at] = static_cast<std::int32_t>(rank);
        values[static_cast<std::size_t>(rank++)] = low_ + at;
      }
    });
    return ranks;
  }

 private:
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  [[nodiscard]] bool is_marked(std::int64_t at) const { return marks_.get()[at].load(std::memory_order_relaxed) != 0; }

  std::int64_t low_;
  std::unique_ptr<std::atomic<std::uint8_t>, Free> marks_;
};

/// Sorts a vocabulary of integers, by code; returns the rank of each code.
Buffer<std::int32_t> sort_integers(std::vector<std::int64_t>& values) {
  const auto n = static_cast<std::int64_t>(values.size());
  std::vector<std::pair<std::int64_t, std::int32_t>> order(values.size());
  for (std::int64_t code = 0; code < n; ++code) order[code] = {values[code], static_cast<std::int32_t>(code)};
  std::sort(order.begin(), order.end());
  Buffer<std::int32_t> ranks(n);
  for (std::int64_t rank = 0; rank < n; ++rank) {
    values[rank] = order[rank].first;
    ranks[order[rank].second] = static_cast<std::int32_t>(rank);
  }
  return ranks;
}

/// A text in a sort: most are told apart by their first bytes, which need no look into the texts.
struct TextOrder {
  std::uint64_t head = 0;
  std::int32_t code = 0;
};

TextOrder text_order(std::string_view text, std::int32_t code) {
  TextOrder order{0, code};
  for (std::size_t at = 0; at < 8; ++at) {
    order.head = order.head << 8 | (at < text.size() ? static_cast<unsigned char>(text[at]) : 0u);
  }
  return order;
}

void require_whole(const TextChunk& chunk) {
  constexpr std::int64_t kMost = PTRDIFF_MAX / 16;
  const auto n_offsets = static_cast<std::int64_t>(chunk.offsets.size() / (chunk.wide ? 8 : 4));
  const auto n_bits = static_cast<std::int64_t>(std::min<std::size_t>(chunk.validity.size(), kMost)) * 8;
  if (chunk.n_rows == 0) return;
  if (chunk.n_rows < 0 || chunk.first < 0 || chunk.n_rows > kMost || chunk.first > kMost ||
      chunk.first + chunk.n_rows >= n_offsets || (n_bits > 0 && chunk.first + chunk.n_rows > n_bits)) {
    reject("a chunk of texts has " + text(chunk.n_rows) + " rows from row " + text(chunk.first) +
           ", which its buffers do not hold");
  }
}

}  // namespace

void Codes::reserve(std::int64_t size) {
  if (size <= room_) return;
  if (static_cast<std::uint64_t>(size) > PTRDIFF_MAX / sizeof(std::int32_t)) throw std::bad_alloc();
  void* grown = std::realloc(memory_.get(), static_cast<std::size_t>(size) * sizeof(std::int32_t));
  if (grown == nullptr) throw std::bad_alloc();
  (void)memory_.release();
  memory_.reset(static_cast<std::int32_t*>(grown));
  room_ = size;
  // A third of the time went into the faults of small pages.
  want_huge_pages(grown, static_cast<std::size_t>(size) * sizeof(std::int32_t));
}

void Codes::resize(std::int64_t size) {
  if (size > room_) reserve(std::max(size, 2 * room_));
  size_ = size;
}

void Codes::shrink() {
  if (size_ == 0 || size_ == room_) return;
  void* shrunk = std::realloc(memory_.get(), static_cast<std::size_t>(size_) * sizeof(std::int32_t));
  if (shrunk == nullptr) return;  // it can stay as it is
  (void)memory_.release();
  memory_.reset(static_cast<std::int32_t*>(shrunk));
  room_ = size_;
}

struct TextEncoder::SliceResult {
  bool fits = true;  // all of it can be held in the mode
  std::int32_t low = std::numeric_limits<std::int32_t>::max(), high = std::numeric_limits<std::int32_t>::min();
  std::int64_t n_missing = 0, first_missing = -1, n_new = 0;

  void miss(std::int64_t row) {
    if (n_missing++ == 0) first_missing = row;
  }
};

/// Reads the texts of a chunk. Small, so that a loop over rows can have its own copy, in registers.
template <class Offset>
struct TextEncoder::Reader {
  const char* offsets;  // of the chunk's first row; perhaps not aligned
  const char* text;
  std::size_t text_size;
  const char* validity;  // null: no nulls
  std::int64_t first;    // the first row's bit in validity
  bool plain;            // no nulls, nothing to strip
  bool strip, empty_is_missing;

  Reader(const TextChunk& chunk, const IdOptions& options)
      : offsets(chunk.offsets.data() + chunk.first * static_cast<std::int64_t>(sizeof(Offset))),
        text(chunk.text.data()),
        text_size(chunk.text.size()),
        validity(chunk.validity.empty() ? nullptr : chunk.validity.data()),
        first(chunk.first),
        plain(validity == nullptr && !options.strip),
        strip(options.strip),
        empty_is_missing(options.empty_is_missing) {}

  [[nodiscard]] std::size_t offset(std::int64_t row) const {
    Offset value;
    std::memcpy(&value, offsets + row * static_cast<std::int64_t>(sizeof value), sizeof value);
    return static_cast<std::size_t>(value);  // a negative one is beyond any text
  }

  /// The id of a row; without data if it is missing.
  [[nodiscard]] std::string_view operator()(std::int64_t row) const {
    const std::size_t start = offset(row), stop = offset(row + 1);
    if (plain && start < stop && stop <= text_size) [[likely]]
      return {text + start, stop - start};
    return other(row, start, stop);
  }

  /// How many bytes lie from the beginning of an id to the end of the chunk.
  [[nodiscard]] std::size_t room(std::string_view id) const {
    return id.empty() ? 0 : static_cast<std::size_t>(text + text_size - id.data());
  }

 private:
  [[nodiscard]] WARPFACTOR_SELDOM std::string_view other(std::int64_t row, std::size_t start, std::size_t stop) const {
    const std::int64_t at = first + row;
    if (validity != nullptr && (validity[at >> 3] >> (at & 7) & 1) == 0) return {};
    if (start > stop || stop > text_size) {
      reject("the offsets of a chunk of texts are damaged at row " + warpfactor::text(row));
    }
    std::string_view id(start < stop ? text + start : "", stop - start);
    if (strip) id = stripped(id);
    if (id.empty() && empty_is_missing) return {};
    return id;
  }

  static std::string_view stripped(std::string_view id) {
    for (;;) {
      if (id.starts_with(' ') || id.starts_with('\t')) {
        id.remove_prefix(1);
      } else if (id.starts_with("\xc2\xa0")) {
        id.remove_prefix(2);
      } else if (id.ends_with(' ') || id.ends_with('\t')) {
        id.remove_suffix(1);
      } else if (id.ends_with("\xc2\xa0")) {
        id.remove_suffix(2);
      } else {
        return id;
      }
    }
  }
};

/// Integers as they are.
struct TextEncoder::Integers {
  const std::int64_t* values;
};

TextEncoder::TextEncoder(const IdOptions& options)
    : options_(options),
      seed_(fresh_seed()),
      mode_(!options.integers   ? Mode::texts
            : options.streaming ? Mode::integers
                                : Mode::numbers),
      table_(seed_),
      low_(std::numeric_limits<std::int32_t>::max()),
      high_(std::numeric_limits<std::int32_t>::min()) {
  if (options.n_threads < 0) reject("n_threads", options.n_threads, "at least 0");
}

void TextEncoder::begin_call() {
  if (!std::exchange(usable_, false)) reject("this encoder has finished or failed: make another");
}

void TextEncoder::add(const TextChunk& chunk) {
  begin_call();
  require_whole(chunk);
  if (chunk.n_rows > 0) {
    if (chunk.wide) {
      encode(Reader<std::int64_t>(chunk, options_), chunk.n_rows);
    } else {
      encode(Reader<std::int32_t>(chunk, options_), chunk.n_rows);
    }
  }
  usable_ = true;
}

void TextEncoder::add_integers(std::span<const std::int64_t> ids) {
  begin_call();
  if (!options_.streaming || mode_ != Mode::integers) reject("integers are added to ids that stream and are integers");
  const std::int64_t begin = codes_.size();
  const auto n_rows = static_cast<std::int64_t>(ids.size());
  codes_.resize(begin + n_rows);
  if (n_rows > 0) read_keys(Integers{ids.data()}, n_rows, begin);
  usable_ = true;
}

Codes TextEncoder::take_codes() {
  if (!options_.streaming) reject("codes are taken of ids that stream");
  return std::exchange(codes_, Codes());
}

std::int64_t TextEncoder::n_bytes() const noexcept {
  return table_.n_bytes() +
         static_cast<std::int64_t>((values_.capacity() + ends_.capacity()) * sizeof(std::int64_t) + texts_.capacity());
}

template <class Offset>
void TextEncoder::encode(const Reader<Offset>& rows, std::int64_t n_rows) {
  const std::int64_t begin = codes_.size();
  codes_.resize(begin + n_rows);
  if (mode_ == Mode::numbers) {
    if (read_numbers(rows, n_rows, begin)) return;
    begin_integers(begin);
  }
  if (mode_ == Mode::integers) {
    if (read_keys(rows, n_rows, begin)) return;
    begin_texts();
  }
  read_keys(rows, n_rows, begin);
}

template <class F>
void TextEncoder::run_slices(std::int64_t n, std::int64_t slice, const F& f) {
  if (n <= slice) return f(0, n, 0);
  team().run_slices(n, f, slice);
}

ThreadTeam& TextEncoder::team() {
  if (!team_) team_ = std::make_unique<ThreadTeam>(team_size(options_.n_threads, std::int64_t{1} << 20));
  return *team_;
}

template <class F>
std::vector<TextEncoder::SliceResult> TextEncoder::each_slice(std::int64_t n, const F& f) {
  std::vector<SliceResult> slices(static_cast<std::size_t>((n + kSlice - 1) / kSlice));
  run_slices(n, kSlice, [&](std::int64_t begin, std::int64_t end, int) {
    SliceResult result;
    f(begin, end, result);
    slices[static_cast<std::size_t>(begin / kSlice)] = result;
  });
  return slices;
}

void TextEncoder::count_missing(const std::vector<SliceResult>& slices, std::int64_t begin) {
  for (const SliceResult& slice : slices) {
    if (slice.n_missing > 0 && n_missing_ == 0) first_missing_ = begin + slice.first_missing;
    n_missing_ += slice.n_missing;
  }
}

/// Reads rows as numbers of 32 bits; false, with nothing changed but codes, if some are not.
template <class Offset>
bool TextEncoder::read_numbers(const Reader<Offset>& rows, std::int64_t n_rows, std::int64_t begin) {
  const auto slices = each_slice(n_rows, [&](std::int64_t first, std::int64_t last, SliceResult& result) {
    const Reader<Offset> reader = rows;
    SliceResult slice;
    std::int32_t* const codes = codes_.data() + begin;
    for (std::int64_t row = first; row < last; ++row) {
      const std::string_view id = reader(row);
      if (id.data() == nullptr) [[unlikely]] {
        slice.miss(row);
        codes[row] = 0;
        continue;
      }
      std::int64_t number = 0;
      const bool is_integer = parse_integer(id, reader.room(id), number);
      const auto code = static_cast<std::int32_t>(number);
      if (!is_integer || number != code) {
        result.fits = false;
        return;
      }
      slice.low = std::min(slice.low, code);
      slice.high = std::max(slice.high, code);
      codes[row] = code;
    }
    result = slice;
  });
  if (!std::ranges::all_of(slices, &SliceResult::fits)) return false;
  for (const SliceResult& slice : slices) {
    low_ = std::min(low_, slice.low);
    high_ = std::max(high_, slice.high);
  }
  count_missing(slices, begin);
  return true;
}

/// The text is empty for integers, whose key is all.
struct TextEncoder::KeyedId {
  std::uint64_t bits, hash;
  const char* text;
  std::uint64_t length;
  std::int64_t row;

  [[nodiscard]] IdKey key() const { return {bits, static_cast<std::uint32_t>(length)}; }
  [[nodiscard]] std::string_view view() const { return {text, length}; }
};

template <class Rows>
WARPFACTOR_OFTEN TextEncoder::Found TextEncoder::read_key(const Rows& rows, std::int64_t row, KeyedId& found) const {
  if constexpr (std::is_same_v<Rows, Integers>) {
    const auto bits = static_cast<std::uint64_t>(rows.values[row]);
    found = {bits, table_.hash({bits, 0}), "", 0, row};
    table_.prefetch_place(found.hash);
    return Found::key;
  } else {
    return read_text(rows, row, found);
  }
}

template <class Offset>
WARPFACTOR_OFTEN TextEncoder::Found TextEncoder::read_text(const Reader<Offset>& rows, std::int64_t row,
                                                           KeyedId& found) const {
  const std::string_view id = rows(row);
  if (id.data() == nullptr) return Found::missing;
  found.row = row;
  if (mode_ == Mode::texts) {
    found.text = id.data();
    found.length = id.size();
    found.bits = key_bits(id, rows.room(id), seed_);
  } else {
    std::int64_t value = 0;
    if (!parse_integer(id, rows.room(id), value)) return Found::no_integer;
    found.text = "";
    found.length = 0;
    found.bits = static_cast<std::uint64_t>(value);
  }
  found.hash = table_.hash(found.key());
  table_.prefetch_place(found.hash);
  return Found::key;
}

std::int32_t TextEncoder::insert(const KeyedId& id) {
  const std::int64_t n = table_.size();
  const std::int32_t code = table_.find_or_insert(id.key(), id.hash, same(id));
  if (code < n) return code;
  if (mode_ == Mode::texts) {
    texts_ += id.view();
    ends_.push_back(static_cast<std::int64_t>(texts_.size()));
  } else {
    values_.push_back(static_cast<std::int64_t>(id.bits));
  }
  return code;
}

/// Encodes rows: the ids that are in the table by all threads, then the new ones by one. False, with nothing changed
/// but codes, if the mode is integers and some are not.
template <class Rows>
bool TextEncoder::read_keys(const Rows& rows, std::int64_t n, std::int64_t begin) {
  using Batch = std::array<KeyedId, kBatch>;
  constexpr std::int32_t kNew = -2, kMissing = -1;
  const auto slices = each_slice(n, [&](std::int64_t first, std::int64_t last, SliceResult& slice) {
    const Rows reader = rows;
    Batch batch;
    for (std::int64_t row = first; row < last;) {
      std::size_t n_keys = 0;
      for (; row < last && n_keys < batch.size(); ++row) {
        const Found found = read_key(reader, row, batch[n_keys]);
        if (found == Found::no_integer) {
          slice.fits = false;
          return;
        }
        if (found == Found::key) {
          ++n_keys;
        } else {
          slice.miss(row);
          codes_[begin + row] = kMissing;
        }
      }
      for (std::size_t at = 0; at < n_keys; ++at) {
        const KeyedId& id = batch[at];
        const std::int32_t code = table_.find(id.key(), id.hash, same(id));
        codes_[begin + id.row] = code >= 0 ? code : kNew;
        slice.n_new += code < 0 ? 1 : 0;
      }
    }
  });
  if (!std::ranges::all_of(slices, &SliceResult::fits)) return false;
  Batch batch;
  std::size_t n_keys = 0;
  const auto insert_batch = [&] {
    for (std::size_t at = 0; at < n_keys; ++at) codes_[begin + batch[at].row] = insert(batch[at]);
    n_keys = 0;
  };
  for (std::size_t s = 0; s < slices.size(); ++s) {
    if (slices[s].n_new == 0) continue;
    const std::int64_t first = static_cast<std::int64_t>(s) * kSlice;
    for (std::int64_t row = first; row < std::min(n, first + kSlice); ++row) {
      if (codes_[begin + row] != kNew) continue;
      read_key(rows, row, batch[n_keys++]);
      if (n_keys == batch.size()) insert_batch();
    }
  }
  insert_batch();
  count_missing(slices, begin);
  return true;
}

/// Turns the numbers of the first `n_rows` rows into codes.
void TextEncoder::begin_integers(std::int64_t n_rows) {
  mode_ = Mode::integers;
  std::array<KeyedId, kBatch> batch;
  for (std::int64_t begin = 0; begin < n_rows; begin += kBatch) {
    const std::int64_t n = std::min(kBatch, n_rows - begin);
    for (std::int64_t at = 0; at < n; ++at) {
      KeyedId& id = batch[static_cast<std::size_t>(at)];
      const auto bits = static_cast<std::uint64_t>(std::int64_t{codes_[begin + at]});
      id = {bits, table_.hash({bits, 0}), "", 0, begin + at};
      table_.prefetch_place(id.hash);
    }
    for (std::int64_t at = 0; at < n; ++at) codes_[begin + at] = insert(batch[static_cast<std::size_t>(at)]);
  }
}

/// Turns the integers into their texts, whose codes are the same.
void TextEncoder::begin_texts() {
  mode_ = Mode::texts;
  table_ = IdTable(seed_);
  for (const std::int64_t value : std::exchange(values_, {})) {
    std::array<char, 24> digits;
    const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
    KeyedId id{key_bits(text, digits.size(), seed_), 0, text.data(), text.size(), 0};
    id.hash = table_.hash(id.key());
    insert(id);
  }
}

std::string_view TextEncoder::text_of(std::int32_t code) const {
  const std::int64_t start = ends_[static_cast<std::size_t>(code)], stop = ends_[static_cast<std::size_t>(code) + 1];
  return std::string_view(texts_).substr(static_cast<std::size_t>(start), static_cast<std::size_t>(stop - start));
}

/// Sorts the texts; returns the rank of each code.
Buffer<std::int32_t> TextEncoder::sort_texts(EncodedIds& ids) {
  const std::int64_t n = table_.size();
  std::vector<TextOrder> order;
  order.reserve(static_cast<std::size_t>(n));
  for (std::int32_t code = 0; code < n; ++code) order.push_back(text_order(text_of(code), code));
  std::sort(order.begin(), order.end(), [&](const TextOrder& a, const TextOrder& b) {
    return a.head != b.head ? a.head < b.head : text_of(a.code) < text_of(b.code);
  });
  Buffer<std::int32_t> ranks(n);
  ids.text.reserve(texts_.size());
  ids.offsets.reserve(ends_.size());
  ids.offsets.push_back(0);
  for (std::int32_t rank = 0; rank < n; ++rank) {
    const std::int32_t code = order[static_cast<std::size_t>(rank)].code;
    ranks[code] = rank;
    ids.text += text_of(code);
    ids.offsets.push_back(static_cast<std::int64_t>(ids.text.size()));
  }
  return ranks;
}

EncodedIds TextEncoder::finish() {
  begin_call();
  if (n_missing_ > 0 && !options_.streaming)
    reject(text(n_missing_) + " ids are missing, the first in row " + text(first_missing_));
  if (options_.streaming) {
    if (codes_.size() > 0) reject("codes were not taken");
    codes_.resize(table_.size());
    for (std::int64_t code = 0; code < table_.size(); ++code) codes_[code] = static_cast<std::int32_t>(code);
  }
  EncodedIds ids;
  const std::int64_t n = codes_.size();
  Buffer<std::int32_t> ranks;
  std::int64_t low = 0;
  if (mode_ == Mode::numbers && n > 0 && close_together(low_, high_, n)) {
    low = low_;
    Marks marks(low_, high_);
    run_slices(n, ThreadTeam::kSlice, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) marks.mark(codes_[row]);
    });
    ThreadTeam alone(1);  // few ids are not worth starting threads for
    ranks = marks.ranks(high_, ids.values, n > ThreadTeam::kSlice ? team() : alone);
  } else if (mode_ == Mode::texts) {
    ids.integers = false;
    ranks = sort_texts(ids);
  } else {
    if (mode_ == Mode::numbers) begin_integers(n);
    table_ = IdTable(seed_);
    ranks = sort_integers(values_);
    ids.values = std::move(values_);
  }
  run_slices(n, ThreadTeam::kSlice, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) codes_[row] = ranks[codes_[row] - low];
  });
  codes_.shrink();
  ids.codes = std::move(codes_);
  return ids;
}

namespace {

/// Ids that lie far apart, by a hash table. In rounds: few ids are new in the longer ones, so that all threads do the
/// work.
template <class Id>
EncodedIds encode_sparse(const IdColumn<Id>& given, std::int32_t n_threads, ThreadTeam& team) {
  constexpr std::int64_t kFirstRound = 1 << 16, kLongestRound = 1 << 20;  // rows; not measured
  TextEncoder encoder({.streaming = true, .n_threads = n_threads});
  encoder.reserve(given.n);
  std::vector<std::int64_t> round;
  for (std::int64_t begin = 0; begin < given.n;) {
    const std::int64_t n = std::min({std::max(kFirstRound, begin), kLongestRound, given.n - begin});
    round.resize(static_cast<std::size_t>(n));
    team.run_slices(n, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t row = first; row < last; ++row) round[static_cast<std::size_t>(row)] = given[begin + row];
    });
    encoder.add_integers(round);
    begin += n;
  }
  Codes codes = encoder.take_codes();
  EncodedIds ids = encoder.finish();  // the codes are ranks
  team.run_slices(given.n, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) codes[row] = ids.codes[codes[row]];
  });
  ids.codes = std::move(codes);
  return ids;
}

/// Rows that one thread takes of a column before those of the next: both are in its cache then, where columns lie side
/// by side. Not measured.
constexpr std::int64_t kColumnSlice = 1 << 14;

/// Calls f(row) for rows of a column, which is fetched ahead: without that memory came at 7 GB/s (AMD EPYC, two
/// threads).
template <class Id, class F>
WARPFACTOR_OFTEN void each_fetched(const IdColumn<Id>& column, std::int64_t begin, std::int64_t end, const F& f) {
  constexpr std::int64_t kAtOnce = 8, kAhead = 512;
  for (std::int64_t row = begin; row < end;) {
    prefetch(column.first + std::min(row + kAhead, column.n - 1) * column.step);
    for (const std::int64_t stop = std::min(end, row + kAtOnce); row < stop; ++row) f(row);
  }
}

/// A column whose ids are taken to be from 0 on and close together, as most are, until one shows that they are not.
template <class Id>
class CountedColumn {
 public:
  CountedColumn(const IdColumn<Id>& given, int n_threads)
      : given_(given), marks_(0, places_for(given.n) - 1), most_(static_cast<std::size_t>(n_threads), Id{0}) {}

  /// Threads may mark at once, each in its own slices.
  void mark(std::int64_t begin, std::int64_t end, int thread) {
    if (far_.load(std::memory_order_relaxed)) return;
    const IdColumn<Id> given = given_;  // copies: for all that the compiler knows, a mark may change the members
    std::atomic<std::uint8_t>* const marks = marks_.first();
    const auto places = static_cast<std::uint64_t>(places_for(given.n));
    Id most = most_[static_cast<std::size_t>(thread)];
    bool far = false;
    each_fetched(given, begin, end, [&](std::int64_t row) WARPFACTOR_OFTEN_LAMBDA {
      const Id id = given[row];
      if (static_cast<std::uint64_t>(std::int64_t{id}) >= places) [[unlikely]] {
        far = true;
        return;
      }
      Marks::mark_at(marks + id);
      most = std::max(most, id);
    });
    most_[static_cast<std::size_t>(thread)] = most;
    if (far) far_.store(true, std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_far() const { return far_.load(std::memory_order_relaxed); }
  /// Once all are marked.
  void rank(ThreadTeam& team) {
    ranks_ = marks_.ranks(*std::max_element(most_.begin(), most_.end()), ids_.values, team);
    ids_.codes.resize(given_.n);
  }
  void encode(std::int64_t begin, std::int64_t end) {
    const IdColumn<Id> given = given_;
    std::int32_t* const codes = ids_.codes.data();
    const std::int32_t* const ranks = ranks_.data();
    each_fetched(given, begin, end, [&](std::int64_t row) WARPFACTOR_OFTEN_LAMBDA { codes[row] = ranks[given[row]]; });
  }
  [[nodiscard]] EncodedIds take() { return std::move(ids_); }

 private:
  IdColumn<Id> given_;
  Marks marks_;
  std::vector<Id> most_;  ///< by thread
  std::atomic<bool> far_{false};
  Buffer<std::int32_t> ranks_;
  EncodedIds ids_;
};

/// A column of which nothing is known.
template <class Id>
EncodedIds encode_any(const IdColumn<Id>& given, std::int32_t n_threads, ThreadTeam& team) {
  std::vector<std::pair<Id, Id>> ends(
      static_cast<std::size_t>((given.n + ThreadTeam::kSlice - 1) / ThreadTeam::kSlice));
  team.run_slices(given.n, [&](std::int64_t begin, std::int64_t end, int) {
    Id low = given[begin], high = low;
    for (std::int64_t row = begin + 1; row < end; ++row) {
      low = std::min(low, given[row]);
      high = std::max(high, given[row]);
    }
    ends[static_cast<std::size_t>(begin / ThreadTeam::kSlice)] = {low, high};
  });
  std::int64_t low = ends.front().first, high = ends.front().second;
  for (const auto& [least, most] : ends) {
    low = std::min<std::int64_t>(low, least);
    high = std::max<std::int64_t>(high, most);
  }
  if (!close_together(low, high, given.n)) return encode_sparse(given, n_threads, team);
  Marks marks(low, high);
  team.run_slices(given.n, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) marks.mark(given[row]);
  });
  EncodedIds ids;
  const Buffer<std::int32_t> ranks = marks.ranks(high, ids.values, team);
  ids.codes.resize(given.n);
  std::int32_t* const codes = ids.codes.data();
  team.run_slices(given.n, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) codes[row] = ranks[given[row] - low];
  });
  return ids;
}

}  // namespace

template <class Id>
std::vector<EncodedIds> encode_columns(std::span<const IdColumn<Id>> columns, std::int32_t n_threads) {
  const std::int64_t n = columns.empty() ? 0 : columns.front().n;
  if (n == 0) return std::vector<EncodedIds>(columns.size());
  ThreadTeam team(team_size(n_threads, (n + ThreadTeam::kSlice - 1) / ThreadTeam::kSlice));
  std::deque<CountedColumn<Id>> counted;
  for (const IdColumn<Id>& column : columns) counted.emplace_back(column, team.size());
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int thread) {
        for (CountedColumn<Id>& column : counted) column.mark(begin, end, thread);
      },
      kColumnSlice);
  for (CountedColumn<Id>& column : counted) {
    if (!column.is_far()) column.rank(team);
  }
  team.run_slices(
      n,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (CountedColumn<Id>& column : counted) {
          if (!column.is_far()) column.encode(begin, end);
        }
      },
      kColumnSlice);
  std::vector<EncodedIds> all;
  for (std::size_t at = 0; at < columns.size(); ++at) {
    all.push_back(counted[at].is_far() ? encode_any(columns[at], n_threads, team) : counted[at].take());
  }
  return all;
}
template std::vector<EncodedIds> encode_columns(std::span<const IdColumn<std::int32_t>>, std::int32_t);
template std::vector<EncodedIds> encode_columns(std::span<const IdColumn<std::int64_t>>, std::int32_t);

template <class Id>
EncodedIds encode_integers(const IdColumn<Id>& given, std::int32_t n_threads) {
  return std::move(encode_columns(std::span<const IdColumn<Id>>(&given, 1), n_threads).front());
}
template EncodedIds encode_integers(const IdColumn<std::int32_t>&, std::int32_t);
template EncodedIds encode_integers(const IdColumn<std::int64_t>&, std::int32_t);

}  // namespace warpfactor
