// SPDX-License-Identifier: Apache-2.0
// The kernel of fold-in, which sgd_kernel.cpp puts into the table. Included by the kernels only, inside one namespace
// per instruction set.
#pragma once

#include "cpu/kernel_table.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

void solve_ridge(const RidgeRow<float>& row);
void solve_ridge(const RidgeRow<double>& row);

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
