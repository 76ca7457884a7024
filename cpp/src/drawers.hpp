// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "require.hpp"
#include "scratch.hpp"
#include "threads.hpp"

namespace warpfactor {

/// Records sorted into drawers, which lie one after the other in a scratch file and keep the order in which records
/// were added: the first of two sorts of what memory does not hold.
template <class Record>
class Drawers {
 public:
  /// `begin`: the first record of each drawer, and the number of records.
  Drawers(const std::string& folder, std::vector<std::int64_t> begin)
      : file_(folder), begin_(std::move(begin)), next_(begin_.begin(), begin_.end() - 1) {}

  [[nodiscard]] std::int64_t size() const noexcept { return static_cast<std::int64_t>(next_.size()); }
  [[nodiscard]] std::int64_t begin(std::int64_t drawer) const noexcept {
    return begin_[static_cast<std::size_t>(drawer)];
  }
  [[nodiscard]] std::int64_t records(std::int64_t drawer) const noexcept { return begin(drawer + 1) - begin(drawer); }

  /// Adds the records of 0 .. n - 1. `drawer_of(r)` is below 0 for one that is left out; `record_of(r)` makes it.
  template <class DrawerOf, class RecordOf>
  void add(std::int64_t n, const DrawerOf& drawer_of, const RecordOf& record_of, ThreadTeam& team) {
    if (sorted_.size() < n) sorted_ = Buffer<Record>(n);
    const std::int64_t n_tasks = std::clamp<std::int64_t>(n / ThreadTeam::kSlice, 1, team.size());
    std::vector<std::vector<std::int64_t>> to(static_cast<std::size_t>(n_tasks));
    team.run(n_tasks, [&](std::int64_t task, int) {
      std::vector<std::int64_t>& counts = to[static_cast<std::size_t>(task)];
      counts.assign(next_.size(), 0);
      for (std::int64_t r = n * task / n_tasks; r < n * (task + 1) / n_tasks; ++r) {
        const std::int64_t drawer = drawer_of(static_cast<std::size_t>(r));
        if (drawer >= 0) ++counts[static_cast<std::size_t>(drawer)];
      }
    });
    std::vector<std::int64_t> first(next_.size() + 1, 0);
    std::int64_t total = 0;
    for (std::size_t drawer = 0; drawer < next_.size(); ++drawer) {
      first[drawer] = total;
      for (auto& counts : to) total += std::exchange(counts[drawer], total);
    }
    first.back() = total;
    team.run(n_tasks, [&](std::int64_t task, int) {
      std::int64_t* const at = to[static_cast<std::size_t>(task)].data();
      for (std::int64_t r = n * task / n_tasks; r < n * (task + 1) / n_tasks; ++r) {
        const std::int64_t drawer = drawer_of(static_cast<std::size_t>(r));
        if (drawer >= 0) sorted_[at[drawer]++] = record_of(static_cast<std::size_t>(r));
      }
    });
    team.run(size(), [&](std::int64_t drawer, int) {
      const auto d = static_cast<std::size_t>(drawer);
      const std::int64_t of_drawer = first[d + 1] - first[d];
      file_.write(next_[d] * kBytes, sorted_.data() + first[d], of_drawer * kBytes);
      next_[d] += of_drawer;
    });
  }

  /// How many drawers the threads may sort at once, with `bytes` of the buffer for each record. Throws
  /// std::invalid_argument if the largest alone does not fit.
  [[nodiscard]] std::int64_t at_once(const ThreadTeam& team, std::int64_t bytes, const ScratchFolder& scratch) const {
    std::int64_t largest = 1;
    for (std::int64_t drawer = 0; drawer < size(); ++drawer) largest = std::max(largest, records(drawer));
    if (largest * bytes > scratch.buffer_bytes) {
      reject("buffer_bytes", scratch.buffer_bytes,
             "at least " + text(largest * bytes) + ", since " + text(largest) +
                 " ratings have to be sorted at once: those of a row, or of a few rows of both sides");
    }
    return std::min<std::int64_t>(team.size(), scratch.buffer_bytes / (largest * bytes));
  }

  /// Frees what only add() needs.
  void close() { sorted_ = {}; }

  /// Takes the records out of a drawer, once.
  void take(std::int64_t drawer, Record* to) const {
    file_.read(begin(drawer) * kBytes, to, records(drawer) * kBytes);
    file_.free(begin(drawer) * kBytes, records(drawer) * kBytes);
  }

 private:
  static constexpr std::int64_t kBytes = sizeof(Record);
  ScratchFile file_;
  std::vector<std::int64_t> begin_, next_;
  Buffer<Record> sorted_;
};

/// Cuts what lies at begin[0] .. begin[n] into runs of whole neighbours with at most `most` each, or of one alone.
/// Returns the first of each run, and n.
inline std::vector<std::int64_t> runs_of(const std::vector<std::int64_t>& begin, std::int64_t most) {
  std::vector<std::int64_t> cuts{0};
  const auto n = static_cast<std::int64_t>(begin.size()) - 1;
  for (std::int64_t at = 1; at <= n; ++at) {
    const std::int64_t first = begin[static_cast<std::size_t>(cuts.back())];
    if (at == n || begin[static_cast<std::size_t>(at) + 1] - first > most) cuts.push_back(at);
  }
  return cuts;
}

}  // namespace warpfactor
