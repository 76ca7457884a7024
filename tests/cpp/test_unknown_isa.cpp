// SPDX-License-Identifier: Apache-2.0
// CTest runs this with WARPFACTOR_ISA=sse9: a name that stands for nothing is an error, not a silent default.
#include <stdexcept>

#include "check.hpp"
#include "warpfactor/runtime.hpp"
#include "warpfactor/train.hpp"

namespace {

using namespace warpfactor;

TEST(an_unknown_instruction_set_is_an_error_that_names_it_and_the_known_ones) {
  const std::vector<std::int32_t> rows{0};
  const std::vector<float> values{1};
  std::vector<float> out(1);
  for (int repeat = 0; repeat < 2; ++repeat) {  // the first failure must not leave a choice behind
    CHECK_THROWS(std::invalid_argument, "WARPFACTOR_ISA is sse9; it must be", instruction_set());
    CHECK_THROWS(std::invalid_argument, "baseline", instruction_set());
    CHECK_THROWS(std::invalid_argument, "sse9", train<float>({rows, rows, values, {}, 1, 1}, {}));
    CHECK_THROWS(std::invalid_argument, "sse9", predict<float>({1, 1, 1, values, values}, rows, rows, out));
  }
  CHECK_EQ(built_instruction_sets().front(), "baseline");  // still answers
}

}  // namespace
