// SPDX-License-Identifier: Apache-2.0
// The rule of a step of the prior means, for one column: a factor, or the bias. See PriorMeans.
#pragma once

#include <algorithm>
#include <utility>

#include "cpu/tuning.hpp"

namespace warpfactor {

/// Sums over rows: of the products of z and d with each other and with the gradient g.
struct ColumnSums {
  double gz = 0, gd = 0, zz = 0, zd = 0, dd = 0;

  void add(double z, double d, double weight) {
    zz += weight * z * z;
    zd += weight * z * d;
    dd += weight * d * d;
  }
  void add(const ColumnSums& other) {
    gz += other.gz;
    gd += other.gd;
    zz += other.zz;
    zd += other.zd;
    dd += other.dd;
  }
};

/// The gradient g by a coefficient y, from what its rows leave, which is in `work`; puts z there. `diagonal`: of the
/// coefficient, without rho.
template <class T>
void precondition(double rho, double diagonal, T& work, T y, T step, ColumnSums& sums) {
  const double g = static_cast<double>(work) - rho * static_cast<double>(y), z = g / (diagonal + rho),
               d = static_cast<double>(step);
  sums.gz += g * z;
  sums.gd += g * d;
  sums.add(z, d, rho);
  work = static_cast<T>(z);
}

/// How far to go along z and along d: to the least along both.
template <class T>
std::pair<T, T> least_along(const ColumnSums& s) {
  const double determinant = s.zz * s.dd - s.zd * s.zd;
  if (determinant > kIndependent * s.zz * s.dd) {
    return {static_cast<T>((s.gz * s.dd - s.gd * s.zd) / determinant),
            static_cast<T>((s.gd * s.zz - s.gz * s.zd) / determinant)};
  }
  return {static_cast<T>(s.zz > 0 ? s.gz / s.zz : 0), T(0)};
}

}  // namespace warpfactor
