// SPDX-License-Identifier: Apache-2.0
// The kernels of the Gibbs sampler, which sgd_kernel.cpp puts into the table. Included by the kernels only, inside one
// namespace per instruction set.
#pragma once

#include "cpu/kernel_table.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

float draw_row(const RowDraw<float>& row);
double draw_row(const RowDraw<double>& row);
void draw_coefficients(const CoefficientDraw<float>& draw);
void draw_coefficients(const CoefficientDraw<double>& draw);

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
