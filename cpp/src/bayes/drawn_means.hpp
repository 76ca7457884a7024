// SPDX-License-Identifier: Apache-2.0
// Who rated what: the prior means of one side's rows, from coefficients of the other side's rows.
#pragma once

#include <cstdint>
#include <vector>

#include "bayes/rows.hpp"
#include "incidence.hpp"

namespace warpfactor {

/// m_u = m + n_u^(-1/2) sum of y_j over the n_u others j that u met, and the bias's likewise. An update draws y_j given
/// all other coefficients, one row j after the other. The columns do not depend on each other: a tile of them is a
/// task.
template <class T>
class DrawnMeans {
 public:
  /// Of `rows`, which met `others`: `rated` and `met` list who met whom, by row of the one and of the other side. All
  /// but `rated` must outlive it.
  DrawnMeans(Rows<T>& rows, const IncidentRows& rated, const Rows<T>& others, const IncidentRows& met,
             RandomPurpose purpose, ThreadTeam& team);

  /// An update is begin(), all tasks in any order or at once, end().
  void begin(ThreadTeam& team);
  [[nodiscard]] std::int64_t n_tasks() const { return n_tiles_ + 1; }
  void run(std::int64_t task, int thread, const Streams& streams, ThreadTeam& team);
  void end(Draws& draws, ThreadTeam& team);

 private:
  static constexpr std::int64_t kTile = padded_stride<T>(1);  ///< columns of a tile: a cache line
  [[nodiscard]] std::int64_t width(std::int64_t tile) const { return tile < n_tiles_ ? kTile : 1; }
  /// Where the tile of a table of n rows begins; the bias's is the last.
  [[nodiscard]] static std::int64_t start(std::int64_t tile, std::int64_t n) { return tile * n * kTile; }

  const Kernels<T>& kernels_;
  Rows<T>& rows_;
  const Rows<T>& others_;
  const IncidentRows& met_;
  RandomPurpose purpose_;
  std::int64_t n_rows_, n_others_, n_tiles_;
  std::vector<T> roots_, squares_;        ///< n_u^-1/2 and n_u^-1 of each row
  std::vector<T> square_sums_;            ///< by row of the other side
  Buffer<T> residuals_, coefficients_;    ///< tile by tile
  std::vector<double> own_precisions_;    ///< rho of each column, the bias's last
  std::vector<double> coefficient_sums_;  ///< of the squares of each column's coefficients
};

/// Tells what the DrawnMeans of `n_rows` rows take, which met `n_others`.
template <class T>
void plan_drawn_means(MemoryPlan& plan, std::int64_t n_rows, std::int64_t n_others, std::int32_t n_factors);

}  // namespace warpfactor
