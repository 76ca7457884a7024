// SPDX-License-Identifier: Apache-2.0
// Columns of ids to codes and a sorted vocabulary.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/id_table.hpp"
#include "threads.hpp"

namespace warpfactor {

/// An array of codes that grows. By realloc, which moves pages instead of bytes where the system can, so that a column
/// of unknown length needs no second copy.
class Codes {
 public:
  /// Room for `size` codes in all.
  void reserve(std::int64_t size);
  void resize(std::int64_t size);
  /// Gives back what was reserved and not used.
  void shrink();
  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] std::int32_t* data() noexcept { return memory_.get(); }
  /// The memory, to be freed with std::free.
  [[nodiscard]] std::int32_t* release() noexcept { return memory_.release(); }
  std::int32_t& operator[](std::int64_t row) noexcept { return memory_.get()[row]; }

 private:
  struct Free {
    void operator()(std::int32_t* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::int32_t, Free> memory_;
  std::int64_t size_ = 0, room_ = 0;
};

/// Codes and the sorted vocabulary that they are positions in: integers, or texts one after the other in the order of
/// their bytes.
struct EncodedIds {
  Codes codes;
  bool integers = true;
  std::vector<std::int64_t> values;
  std::string text;
  std::vector<std::int64_t> offsets;  // where each text begins, and the end
};

/// A chunk of an Arrow column of texts (string: 32-bit offsets, large_string: 64-bit).
struct TextChunk {
  std::int64_t n_rows = 0;
  std::int64_t first = 0;          // the chunk's offset in its buffers, in rows
  bool wide = false;               // 64-bit offsets
  std::span<const char> validity;  // bits, 1: there; empty: all are there
  std::span<const char> offsets;   // perhaps not aligned
  std::string_view text;
};

/// How texts become ids.
struct IdOptions {
  bool integers = true;          ///< Ids are integers if every one is written as one: 0|-?[1-9][0-9]*, in int64.
  bool strip = false;            ///< Take blanks (space, tab, no-break space) off both ends first.
  bool empty_is_missing = true;  ///< Count empty texts with the nulls.
  bool streaming = false;        ///< Codes are final, by order of arrival, and taken after each chunk.
  std::int32_t n_threads = 0;    ///< 0: all available
};

/// Encodes a column of texts chunk by chunk. Missing ids are counted, and have no code. After an exception the encoder
/// cannot be used again.
///
/// While all texts are integers of 32 bits, each row keeps its number in the place of its code. The first wider integer
/// turns them into codes of a hash table of integers, the first text that is none makes that a table of texts: an
/// integer has one spelling, so its text is known.
///
/// Streaming, it begins with the table, whose codes stay what they are: codes that are taken need not fit into memory.
/// What finish() returns for codes are then the ranks of the codes 0, 1, 2, ...
class TextEncoder {
 public:
  explicit TextEncoder(const IdOptions& options);

  /// Room for so many rows in all, if that is known.
  void reserve(std::int64_t n_rows) { codes_.reserve(n_rows); }
  /// Nothing of the chunk is kept. Throws std::invalid_argument if offsets run out of the text or buffers are too
  /// short.
  void add(const TextChunk& chunk);
  /// The same for integers; only of an encoder that streams, and has met no text that is no integer.
  void add_integers(std::span<const std::int64_t> ids);
  /// The codes of all rows since the last call, -1 for missing ids; only of an encoder that streams.
  [[nodiscard]] Codes take_codes();
  /// Throws std::invalid_argument if ids are missing, unless it streams.
  [[nodiscard]] EncodedIds finish();

  [[nodiscard]] std::int64_t n_rows() const noexcept { return codes_.size(); }
  [[nodiscard]] std::int64_t n_ids() const noexcept { return table_.size(); }  ///< so far, if it streams
  [[nodiscard]] bool streams() const noexcept { return options_.streaming; }
  [[nodiscard]] bool are_integers() const noexcept { return mode_ != Mode::texts; }  ///< so far
  [[nodiscard]] std::int64_t n_bytes() const noexcept;                               ///< of what it keeps of ids
  [[nodiscard]] std::int64_t n_missing() const noexcept { return n_missing_; }
  [[nodiscard]] std::int64_t first_missing() const noexcept { return first_missing_; }  ///< a row, -1: none

 private:
  enum class Mode { numbers, integers, texts };
  enum class Found { key, missing, no_integer };
  struct SliceResult;
  struct KeyedId;
  template <class Offset>
  struct Reader;
  struct Integers;

  void begin_call();
  template <class Offset>
  void encode(const Reader<Offset>& rows, std::int64_t n_rows);
  template <class Offset>
  bool read_numbers(const Reader<Offset>& rows, std::int64_t n_rows, std::int64_t begin);
  template <class Rows>
  bool read_keys(const Rows& rows, std::int64_t n_rows, std::int64_t begin);
  template <class Rows>
  Found read_key(const Rows& rows, std::int64_t row, KeyedId& found) const;
  template <class Offset>
  Found read_text(const Reader<Offset>& rows, std::int64_t row, KeyedId& found) const;
  [[nodiscard]] ThreadTeam& team();
  /// Calls f(begin, end, thread) for slices of 0 .. n - 1.
  template <class F>
  void run_slices(std::int64_t n, std::int64_t slice, const F& f);
  template <class F>
  std::vector<SliceResult> each_slice(std::int64_t n, const F& f);
  void count_missing(const std::vector<SliceResult>& slices, std::int64_t begin);
  std::int32_t insert(const KeyedId& id);
  void begin_integers(std::int64_t n_rows);
  void begin_texts();
  [[nodiscard]] std::string_view text_of(std::int32_t code) const;
  /// Whether the text of a code is an id's, where their keys are equal.
  template <class Id>
  [[nodiscard]] auto same(const Id& id) const {
    return [this, text = id.view()](std::int32_t code) { return text.size() <= 8 || text_of(code) == text; };
  }
  [[nodiscard]] Buffer<std::int32_t> sort_texts(EncodedIds& ids);

  IdOptions options_;
  std::uint64_t seed_;
  Mode mode_;
  IdTable table_;
  Codes codes_;
  std::int32_t low_, high_;            // of the numbers
  std::vector<std::int64_t> values_;   // by code, in mode integers
  std::string texts_;                  // by code, in mode texts
  std::vector<std::int64_t> ends_{0};  // where the text before each code ends
  std::int64_t n_missing_ = 0, first_missing_ = -1;
  std::unique_ptr<ThreadTeam> team_;
  bool usable_ = true;
};

/// A column of integers, perhaps one of several that lie side by side.
template <class Id>
struct IdColumn {
  const Id* first;
  std::int64_t n;
  std::int64_t step = 1;  ///< from row to row, in Id

  [[nodiscard]] Id operator[](std::int64_t row) const noexcept { return first[row * step]; }
};

/// Encodes integers: int32 or int64.
template <class Id>
[[nodiscard]] EncodedIds encode_integers(const IdColumn<Id>& ids, std::int32_t n_threads = 0);
/// Encodes columns of equal length, each by itself, in passes over all of them: where they lie side by side, each pass
/// brings them into the cache once.
template <class Id>
[[nodiscard]] std::vector<EncodedIds> encode_columns(std::span<const IdColumn<Id>> columns, std::int32_t n_threads = 0);

}  // namespace warpfactor
