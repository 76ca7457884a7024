// SPDX-License-Identifier: Apache-2.0
// Prior means from who rated what, of one side's rows.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.hpp"
#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "incidence.hpp"
#include "memory_plan.hpp"
#include "threads.hpp"

namespace warpfactor {

/// What a step works on, of one side's rows. Both sides' means may share it, since they step one after the other.
template <class T>
struct MeansWork {
  Buffer<T> rows, numbers;

  MeansWork() = default;
  MeansWork(std::int64_t n_rows, std::int64_t stride);
};

/// Fits m_u = n_u^(-1/2) sum of y_j over the others j of row u to the rows p_u, by ridge regression: the least of
///   sum_u |p_u - m_u|^2 + rho sum_j |y_j|^2,
/// for each factor and for the bias (with a rho of its own) on its own. Each step is one of conjugate gradients with
/// the inverse diagonal as preconditioner: towards the least along the preconditioned gradient z and the step before,
/// d, together. The rows move between the steps, so that d is only nearly conjugate; the least over both is exact. With
/// X the matrix of n_u^(-1/2), a step costs one product by X and one by its transpose, about two epochs' reading.
///
/// All is in internal rows. The bits do not depend on the number of threads.
template <class T>
class PriorMeans {
 public:
  /// The incidence and the working memory are of the own side's rows and of the other side's, by internal rows. They
  /// must outlive this.
  PriorMeans(const Kernels<T>& kernels, const IncidentRows& own, const IncidentRows& other, MeansWork<T>& own_work,
             MeansWork<T>& other_work, std::int64_t stride, double rho, double rho_bias, ThreadTeam& team);

  /// One step of the first `width` factors' and of the biases' means. `factors`, `biases` (nullptr: none) are the own
  /// side's rows, `means` and the bias means of `pulls` are moved.
  void step(const T* factors, const T* biases, T* means, RowPull<T>* pulls, std::int64_t width, ThreadTeam& team);

  /// What the steps remember, under names that begin with `name`; see Backend::visit_state.
  void visit_state(const std::string& name, std::span<const std::int32_t> own_position,
                   std::span<const std::int32_t> other_position, std::int64_t n_factors, const StateVisit<T>& visit);

  /// The y of the other side's rows, a stride apart, and those of the biases' means.
  [[nodiscard]] const T* coefficients() const noexcept { return other_.rows.data(); }
  [[nodiscard]] const T* bias_coefficients() const noexcept { return other_.numbers.data(); }

 private:
  struct Side {
    const IncidentRows& incident;
    MeansWork<T>& work;
    std::vector<std::int64_t> ranges;
    Buffer<T> rows, numbers;            ///< y, of the other side
    Buffer<T> step_rows, step_numbers;  ///< d, or X d
    std::vector<double> diagonal;       ///< of the other side: the sum of 1 / n_u over the row's others
    Side(const IncidentRows& of, MeansWork<T>& with);
    [[nodiscard]] std::int64_t size() const noexcept { return incident.rows(); }
  };
  /// Calls f(first, last, lists) for ranges of a side's rows.
  template <class F>
  void for_each_range(const Side& side, ThreadTeam& team, const F& f);
  void sum_others(Side& of, const Side& from, std::int64_t width, ThreadTeam& team);

  const Kernels<T>& kernels_;
  Side own_, other_;
  std::vector<IncidentLists> lists_;  ///< by thread
  std::vector<T> scale_;              ///< n_u^(-1/2) of the own rows; 0 without others
  std::int64_t stride_;
  double rho_, rho_bias_;
};

/// Tells what the lists of both sides, MeansWork and PriorMeans take. What is freed are the lists given.
template <class T>
void plan_prior_means(MemoryPlan& plan, const RatingCounts& counts, std::int64_t stride, bool of_users, bool of_items);

}  // namespace warpfactor
