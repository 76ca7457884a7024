// SPDX-License-Identifier: Apache-2.0
// The kernels of predictions and lists, which sgd_kernel.cpp puts into the table. Included by the kernels only, inside
// one namespace per instruction set.
#pragma once

#include "cpu/kernel_table.hpp"

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

void predict_pairs(const PairBatch<float>& batch);
void score_rows(const RowScores<float>& scores);
void score_panel(const PanelScores<float>& scores);
std::int64_t first_above(const float* values, std::int64_t from, std::int64_t n, float limit);
void predict_pairs(const PairBatch<double>& batch);
void score_rows(const RowScores<double>& scores);
void score_panel(const PanelScores<double>& scores);
std::int64_t first_above(const double* values, std::int64_t from, std::int64_t n, double limit);

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
