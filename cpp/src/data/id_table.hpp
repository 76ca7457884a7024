// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "buffer.hpp"
#include "prefetch.hpp"
#include "random.hpp"
#include "require.hpp"

namespace warpfactor {

/// What a table compares: 64 bits of an id, or of its hash, and the length of a text.
struct IdKey {
  std::uint64_t bits = 0;
  std::uint32_t length = 0;
};

/// A hash table from ids to codes 0, 1, 2, ... in the order of their arrival. The texts themselves lie elsewhere:
/// `same` compares them where equal keys do not prove equal ids.
class IdTable {
 public:
  /// Whoever does not know the seed cannot choose ids that meet in one place.
  explicit IdTable(std::uint64_t seed) : seed_(seed) { resize(1024); }

  [[nodiscard]] std::int64_t size() const noexcept { return size_; }
  [[nodiscard]] std::int64_t n_bytes() const noexcept {
    return slots_.size() * static_cast<std::int64_t>(sizeof(Slot));
  }

  [[nodiscard]] std::uint64_t hash(IdKey key) const noexcept {
    return SplitMix64(seed_ ^ (key.bits + 0xd6e8feb86659fd93u * key.length)).next();
  }

  void prefetch_place(std::uint64_t hash) const noexcept { prefetch(&slots_[place(hash)]); }

  /// The code, or -1.
  template <class Same>
  [[nodiscard]] std::int32_t find(IdKey key, std::uint64_t hash, const Same& same) const {
    return slots_[probe(key, hash, same)].code;
  }

  /// The code; the table's old size if the id is new.
  template <class Same>
  std::int32_t find_or_insert(IdKey key, std::uint64_t hash, const Same& same) {
    std::int64_t at = probe(key, hash, same);
    if (slots_[at].code >= 0) return slots_[at].code;
    if (size_ == std::numeric_limits<std::int32_t>::max()) reject("there are 2^31 distinct ids or more");
    if (size_ >= slots_.size() / 8 * 5) {  // not measured
      resize(2 * slots_.size());
      at = probe(key, hash, [](std::int32_t) { return false; });
    }
    slots_[at] = {key.bits, key.length, static_cast<std::int32_t>(size_)};
    return static_cast<std::int32_t>(size_++);
  }

 private:
  struct Slot {
    std::uint64_t bits;
    std::uint32_t length;
    std::int32_t code;  // -1: empty
  };

  [[nodiscard]] std::int64_t place(std::uint64_t hash) const noexcept {
    return static_cast<std::int64_t>(hash & static_cast<std::uint64_t>(slots_.size() - 1));
  }

  /// Where the id is, or the empty slot where it would be.
  template <class Same>
  [[nodiscard]] std::int64_t probe(IdKey key, std::uint64_t hash, const Same& same) const {
    for (std::int64_t at = place(hash);; at = (at + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[at];
      if (slot.code < 0 || (slot.bits == key.bits && slot.length == key.length && same(slot.code))) return at;
    }
  }

  void resize(std::int64_t n_slots) {
    const Buffer<Slot> old = std::exchange(slots_, Buffer<Slot>(n_slots));
    std::fill_n(slots_.data(), n_slots, Slot{0, 0, -1});
    for (std::int64_t at = 0; at < old.size(); ++at) {
      const Slot& slot = old[at];
      if (slot.code < 0) continue;
      const IdKey key{slot.bits, slot.length};
      slots_[probe(key, hash(key), [](std::int32_t) { return false; })] = slot;
    }
  }

  std::uint64_t seed_;
  Buffer<Slot> slots_;  // a power of two of them
  std::int64_t size_ = 0;
};

}  // namespace warpfactor
