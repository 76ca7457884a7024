// SPDX-License-Identifier: Apache-2.0
// Ids to codes, against a sorted set of the same texts.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "check.hpp"
#include "data/id_encoder.hpp"
#include "random.hpp"

namespace {

using namespace warpfactor;
using Bad = std::invalid_argument;
using Texts = std::vector<std::optional<std::string>>;

/// The buffers of an Arrow array, which begins `first` rows after them.
template <class Offset>
struct Buffers {
  std::string text, offsets, validity;
  TextChunk chunk;

  explicit Buffers(const Texts& texts, std::int64_t first = 0, bool with_bits = true) {
    std::vector<Offset> ends(static_cast<std::size_t>(first) + 1, 0);
    if (with_bits) validity.assign((texts.size() + static_cast<std::size_t>(first)) / 8 + 1, '\0');
    for (std::size_t row = 0; row < texts.size(); ++row) {
      text += texts[row].value_or("");
      ends.push_back(static_cast<Offset>(text.size()));
      const std::size_t at = row + static_cast<std::size_t>(first);
      if (texts[row] && with_bits) validity[at / 8] = static_cast<char>(validity[at / 8] | 1 << at % 8);
    }
    offsets.assign(reinterpret_cast<const char*>(ends.data()), ends.size() * sizeof(Offset));
    chunk = {static_cast<std::int64_t>(texts.size()), first, sizeof(Offset) == 8, validity, offsets, text};
  }
};

EncodedIds encoded(const Texts& texts, const IdOptions& options = {}, std::size_t n_chunk = 1 << 30) {
  TextEncoder encoder(options);
  for (std::size_t begin = 0; begin < texts.size(); begin += n_chunk) {
    const auto from = texts.begin() + static_cast<std::ptrdiff_t>(begin);
    const Texts part(from, from + static_cast<std::ptrdiff_t>(std::min(n_chunk, texts.size() - begin)));
    if (begin % 2 == 0) {
      const Buffers<std::int32_t> buffers(part, static_cast<std::int64_t>(begin % 11));
      encoder.add(buffers.chunk);
    } else {
      const Buffers<std::int64_t> buffers(part, 3, false);
      encoder.add(buffers.chunk);
    }
  }
  return encoder.finish();
}

std::vector<std::string> vocabulary(const EncodedIds& ids) {
  std::vector<std::string> all;
  if (ids.integers) {
    for (const std::int64_t value : ids.values) all.push_back(std::to_string(value));
  } else {
    for (std::size_t rank = 0; rank + 1 < ids.offsets.size(); ++rank) {
      const auto start = static_cast<std::size_t>(ids.offsets[rank]);
      all.push_back(ids.text.substr(start, static_cast<std::size_t>(ids.offsets[rank + 1]) - start));
    }
  }
  return all;
}

/// The codes give the texts back, and the ids are those of the texts, in their order.
void check_encoded(const Texts& texts, EncodedIds ids, bool integers) {
  CHECK_EQ(ids.integers, integers);
  const std::vector<std::string> found = vocabulary(ids);
  std::set<std::string> distinct;
  for (const auto& text : texts) distinct.insert(*text);
  CHECK_EQ(found.size(), distinct.size());
  if (integers) {
    CHECK(std::is_sorted(ids.values.begin(), ids.values.end()));
  } else {
    CHECK(std::is_sorted(found.begin(), found.end()));
  }
  CHECK_EQ(ids.codes.size(), static_cast<std::int64_t>(texts.size()));
  for (std::size_t row = 0; row < texts.size(); ++row) {
    const std::int32_t code = ids.codes[static_cast<std::int64_t>(row)];
    CHECK(code >= 0 && static_cast<std::size_t>(code) < found.size() &&
          found[static_cast<std::size_t>(code)] == *texts[row]);
  }
}

Texts random_integers(SplitMix64& random, std::size_t n, std::uint64_t range, std::int64_t low) {
  Texts texts;
  for (std::size_t row = 0; row < n; ++row) {
    texts.emplace_back(std::to_string(low + static_cast<std::int64_t>(random.below(range))));
  }
  return texts;
}

TEST(codes_of_integers_give_their_texts_back) {
  SplitMix64 random(1);
  struct Case {
    std::size_t n;
    std::uint64_t range;
    std::int64_t low;
  };
  for (const Case& c : {Case{1, 1, 0}, Case{20'000, 500, 1}, Case{20'000, 500, -250}, Case{3000, 4'000'000'000u, -7},
                        Case{3000, 1'000'000'000'000u, 76'561'198'000'000'000}, Case{40'000, 1u << 31, -(1 << 30)}}) {
    const Texts texts = random_integers(random, c.n, c.range, c.low);
    for (const int n_threads : {1, 3}) {
      for (const std::size_t chunk : {7, 1000, 1 << 30}) {
        if (check::takes_case()) check_encoded(texts, encoded(texts, {.n_threads = n_threads}, chunk), true);
      }
    }
  }
}

TEST(the_first_wide_or_other_id_changes_nothing_before_it) {
  SplitMix64 random(2);
  const Texts small = random_integers(random, 5000, 3000, -100);
  for (const std::string late : {"3000000000", "-9223372036854775808", "9223372036854775807"}) {
    Texts texts = small;
    texts.emplace_back(late);
    for (const std::size_t chunk : {100, 1 << 30}) check_encoded(texts, encoded(texts, {}, chunk), true);
    texts.emplace_back("u1");  // and then they are texts
    texts.emplace_back("2");
    for (const std::size_t chunk : {100, 1 << 30}) check_encoded(texts, encoded(texts, {}, chunk), false);
  }
}

TEST(only_the_canonical_spelling_of_an_integer_is_one) {
  for (const std::string text : {"007",
                                 "00",
                                 "-0",
                                 "-",
                                 "+7",
                                 " 7",
                                 "7 ",
                                 "7.0",
                                 "1e3",
                                 "1,000",
                                 "-07",
                                 "9223372036854775808",
                                 "12345678901234567a",
                                 "1_0",
                                 "0x1",
                                 "--1",
                                 "1-",
                                 "/1",
                                 ":1",
                                 "1234567/",
                                 "123456789012345678901",
                                 "-9223372036854775809",
                                 "\xd9\xa1",
                                 "1.",
                                 ",,",
                                 "..",
                                 "--",
                                 "**",
                                 "1\x01",
                                 "a",
                                 "7\xc2\xa0"}) {
    check::context = text;
    const Texts texts{"1", text, "1", text};
    check_encoded(texts, encoded(texts), false);
    const Texts padded{"1", text, "12345678"};  // with room behind it, and the other loop
    check_encoded(padded, encoded(padded), false);
  }
  for (const std::string text : {"0", "7", "-7", "12345678", "123456789", "1234567890123456", "12345678901234567",
                                 "999999999999999999", "1000000000000000000", "-1", "-12345678", "10", "100000000"}) {
    check::context = text;
    const Texts texts{text, "12345678", text};
    check_encoded(texts, encoded(texts), true);
    check_encoded({text}, encoded({text}), true);
  }
}

TEST(texts_are_told_apart_by_every_byte_and_by_their_length) {
  Texts texts;
  for (std::size_t n : {0, 1, 7, 8, 9, 15, 16, 17, 36, 300}) {
    texts.emplace_back(std::string(n, 'x'));
    texts.emplace_back(std::string(n, '\0'));
    for (std::size_t at = 0; at < n; ++at) {
      std::string text(n, 'x');
      text[at] = '\xc3';
      texts.emplace_back(text);
    }
  }
  const IdOptions options{.integers = false, .empty_is_missing = false};
  for (const std::size_t chunk : {5, 1 << 30}) check_encoded(texts, encoded(texts, options, chunk), false);
  SplitMix64 random(3);
  Texts many = random_integers(random, 200'000, 50'000, 0);
  for (auto& text : many) *text = (random.below(2) ? "u" : "a user of some length ") + *text;
  for (const int n_threads : {1, 4}) check_encoded(many, encoded(many, {.n_threads = n_threads}, 30'000), false);
}

TEST(codes_of_a_stream_stay_and_are_ranked_in_the_end) {
  SplitMix64 random(5);
  for (const bool wide : {false, true}) {
    for (const int n_texts : {0, 1}) {
      Texts texts = random_integers(random, 30'000, wide ? 1'000'000 : 900, 0);
      if (wide) texts[7] = "4000000000000";
      if (n_texts > 0) texts[20'000] = "a text";
      TextEncoder encoder({.streaming = true});
      std::vector<std::int32_t> codes;
      for (std::size_t begin = 0; begin < texts.size(); begin += 7000) {
        const Texts part(texts.begin() + static_cast<std::ptrdiff_t>(begin),
                         texts.begin() + static_cast<std::ptrdiff_t>(std::min(begin + 7000, texts.size())));
        const Buffers<std::int32_t> buffers(part, 0);
        encoder.add(buffers.chunk);
        Codes taken = encoder.take_codes();
        codes.insert(codes.end(), taken.data(), taken.data() + taken.size());
      }
      CHECK(encoder.are_integers() == (n_texts == 0) && encoder.n_bytes() > 8 * encoder.n_ids());
      EncodedIds ids = encoder.finish();
      for (std::int32_t& code : codes) code = ids.codes[code];
      EncodedIds whole = encoded(texts);
      CHECK(vocabulary(ids) == vocabulary(whole));
      CHECK(std::equal(codes.begin(), codes.end(), whole.codes.data()));
    }
  }
}

TEST(integers_stream_and_are_refused_where_texts_are) {
  const std::vector<std::int64_t> given{5, -3, std::int64_t{1} << 60, 5};
  TextEncoder encoder({.streaming = true});
  encoder.add_integers(std::span<const std::int64_t>());
  CHECK(encoder.take_codes().size() == 0);
  encoder.add_integers(given);
  {
    TextEncoder untaken({.streaming = true});
    untaken.add_integers(given);
    CHECK_THROWS(Bad, "codes were not taken", (void)untaken.finish());
  }
  Codes codes = encoder.take_codes();
  CHECK(std::vector<std::int32_t>(codes.data(), codes.data() + 4) == (std::vector<std::int32_t>{0, 1, 2, 0}));
  EncodedIds ids = encoder.finish();
  CHECK(ids.values == (std::vector<std::int64_t>{-3, 5, std::int64_t{1} << 60}));
  CHECK(std::vector<std::int32_t>(ids.codes.data(), ids.codes.data() + 3) == (std::vector<std::int32_t>{1, 0, 2}));
  CHECK_THROWS(Bad, "ids that stream", TextEncoder({}).add_integers(given));
  CHECK_THROWS(Bad, "ids that stream", (void)TextEncoder({}).take_codes());
  CHECK_THROWS(Bad, "ids that stream", TextEncoder({.integers = false, .streaming = true}).add_integers(given));
}

TEST(missing_ids_are_counted_and_the_first_is_named) {
  for (const Texts& texts :
       {Texts{"1", "2", {}, "", "3"}, Texts{"a", "b", {}, "", "c"}, Texts{"3000000000", "1", "", {}, "c"},
        Texts{"1", "3000000000", " ", "\t\xc2\xa0 ", "7"}}) {
    for (const std::size_t chunk : {1, 2, 100}) {
      TextEncoder encoder({.strip = true});
      for (std::size_t begin = 0; begin < texts.size(); begin += chunk) {
        const auto from = texts.begin() + static_cast<std::ptrdiff_t>(begin);
        const Buffers<std::int32_t> buffers({from, from + static_cast<std::ptrdiff_t>(std::min(chunk, 5 - begin))}, 2);
        encoder.add(buffers.chunk);
      }
      CHECK_EQ(encoder.n_missing(), 2);
      CHECK_EQ(encoder.first_missing(), 2);
      CHECK_EQ(encoder.n_rows(), 5);
      CHECK_THROWS(Bad, "2 ids are missing, the first in row 2", encoder.finish());
    }
  }
}

TEST(blanks_around_ids_are_taken_off_on_demand) {
  const Texts texts{" 7", "7\t", "\xc2\xa0 7 \xc2\xa0", "7", "1 2", "\xc2", "\xa0"};
  const EncodedIds kept = encoded(texts);
  CHECK_EQ(vocabulary(kept).size(), 7u);
  check_encoded({"7", "7", "7", "7", "1 2", "\xc2", "\xa0"}, encoded(texts, {.strip = true}), false);
  check_encoded({"7", "8"}, encoded({" 7", "8\t"}, {.strip = true}), true);
}

TEST(no_rows_have_no_ids) {
  TextEncoder encoder({});
  encoder.add({});
  const EncodedIds ids = encoder.finish();
  CHECK(ids.integers && ids.values.empty() && ids.codes.size() == 0);
}

TEST(damaged_buffers_are_refused) {
  const auto added = [](TextChunk chunk) { TextEncoder({}).add(chunk); };
  const Buffers<std::int32_t> good({"a", "b", "c"});
  TextChunk chunk = good.chunk;
  added(chunk);
  chunk.text = chunk.text.substr(0, 2);
  CHECK_THROWS(Bad, "damaged at row 2", added(chunk));
  chunk = good.chunk;
  chunk.n_rows = 4;
  CHECK_THROWS(Bad, "which its buffers do not hold", added(chunk));
  chunk = good.chunk;
  chunk.first = -1;
  CHECK_THROWS(Bad, "which its buffers do not hold", added(chunk));
  chunk = good.chunk;
  chunk.wide = true;
  CHECK_THROWS(Bad, "which its buffers do not hold", added(chunk));
  const std::vector<std::int32_t> falling{0, 2, 1, -1};
  chunk = good.chunk;
  chunk.offsets = {reinterpret_cast<const char*>(falling.data()), 16};
  CHECK_THROWS(Bad, "damaged at row 1", added(chunk));
  TextEncoder failed({});
  CHECK_THROWS(Bad, "damaged", failed.add(chunk));
  CHECK_THROWS(Bad, "make another", failed.finish());
  TextEncoder finished({});
  (void)finished.finish();
  CHECK_THROWS(Bad, "make another", finished.add(good.chunk));
  CHECK_THROWS(Bad, "n_threads is -1", TextEncoder({.n_threads = -1}));
}

TEST(codes_of_numbers_give_them_back) {
  SplitMix64 random(4);
  for (const std::uint64_t range : {std::uint64_t{300}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    std::vector<std::int64_t> numbers{std::numeric_limits<std::int64_t>::max()};
    if (range == 300) numbers.clear();
    for (int n = 0; n < 200'000; ++n) numbers.push_back(static_cast<std::int64_t>(random.below(range)) - 100);
    const auto n_rows = static_cast<std::int64_t>(numbers.size());
    for (const int n_threads : {1, 3}) {
      EncodedIds ids = encode_integers(IdColumn<std::int64_t>{numbers.data(), n_rows}, n_threads);
      CHECK(std::is_sorted(ids.values.begin(), ids.values.end()));
      CHECK_EQ(ids.values.size(), std::set<std::int64_t>(numbers.begin(), numbers.end()).size());
      for (std::size_t row = 0; row < numbers.size(); ++row) {
        CHECK(ids.values[static_cast<std::size_t>(ids.codes[static_cast<std::int64_t>(row)])] == numbers[row]);
      }
    }
  }
  CHECK_EQ(encode_integers(IdColumn<std::int64_t>{nullptr, 0}).codes.size(), 0);
}

TEST(columns_numbered_together_have_the_ranks_of_their_own_ids) {
  SplitMix64 random(6);
  constexpr std::int64_t kRows = 100'000;
  const auto places = static_cast<std::int64_t>(kRows + 1024);  // up to here numbers are counted by themselves
  struct Range {
    std::int64_t low, high;
  };
  const Range ranges[] = {
      {0, 300}, {places - 300, places - 1}, {places - 300, places}, {-1, 300}, {1LL << 40, (1LL << 40) + 50}};
  for (std::size_t at = 0; at < std::size(ranges); ++at) {
    for (const std::size_t apart : {0, 2}) {
      const Range &one = ranges[at], &other = ranges[(at + apart) % std::size(ranges)];
      std::vector<std::int64_t> columns[2];
      for (std::int64_t row = 0; row < kRows; ++row) {
        for (int c = 0; c < 2; ++c) {
          const Range& range = c == 0 ? one : other;
          columns[c].push_back(range.low + static_cast<std::int64_t>(
                                               random.below(static_cast<std::uint64_t>(range.high - range.low + 1))));
        }
      }
      columns[0].back() = one.high;  // the one that may be beyond the places comes last
      columns[1].front() = other.low;
      const IdColumn<std::int64_t> given[] = {{columns[0].data(), kRows}, {columns[1].data(), kRows}};
      for (const int n_threads : {1, 3}) {
        std::vector<EncodedIds> found = encode_columns(std::span<const IdColumn<std::int64_t>>(given), n_threads);
        for (int c = 0; c < 2; ++c) {
          const std::set<std::int64_t> sorted(columns[c].begin(), columns[c].end());
          EncodedIds& ids = found[static_cast<std::size_t>(c)];
          CHECK(std::equal(sorted.begin(), sorted.end(), ids.values.begin(), ids.values.end()));
          const std::int32_t* const codes = ids.codes.data();
          for (std::size_t row = 0; row < columns[c].size(); ++row) {
            CHECK(ids.values[static_cast<std::size_t>(codes[row])] == columns[c][row]);
          }
        }
      }
    }
  }
}

TEST(columns_that_lie_side_by_side_are_numbered_like_columns_of_their_own) {
  SplitMix64 random(5);
  for (const std::uint64_t range : {std::uint64_t{200'000}, std::uint64_t{1} << 32}) {
    constexpr std::int64_t kRows = 150'000;
    std::vector<std::int32_t> pairs(2 * kRows);
    for (std::int32_t& id : pairs) id = static_cast<std::int32_t>(static_cast<std::uint32_t>(random.below(range)));
    for (const std::int64_t column : {0, 1}) {
      std::vector<std::int64_t> alone(kRows);
      for (std::int64_t row = 0; row < kRows; ++row) {
        alone[static_cast<std::size_t>(row)] = pairs[static_cast<std::size_t>(2 * row + column)];
      }
      EncodedIds expected = encode_integers(IdColumn<std::int64_t>{alone.data(), kRows}, 1);
      for (const bool backwards : {false, true}) {
        const std::int32_t* const first = pairs.data() + column;
        EncodedIds ids = backwards ? encode_integers(IdColumn<std::int32_t>{first + 2 * (kRows - 1), kRows, -2}, 2)
                                   : encode_integers(IdColumn<std::int32_t>{first, kRows, 2}, 2);
        CHECK(ids.values == expected.values);
        for (std::int64_t row = 0; row < kRows; ++row) {
          CHECK(ids.codes[backwards ? kRows - 1 - row : row] == expected.codes[row]);
        }
      }
    }
  }
}

}  // namespace
