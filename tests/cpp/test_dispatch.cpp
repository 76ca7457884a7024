// SPDX-License-Identifier: Apache-2.0
// Which kernels run. CTest runs this with WARPFACTOR_ISA unset, and set to each instruction set that was built.
#include <algorithm>
#include <cstdlib>

#include "check.hpp"
#include "cpu/kernel_table.hpp"
#include "warpfactor/runtime.hpp"
#include "warpfactor/train.hpp"

namespace {

using namespace warpfactor;

TEST(the_forced_instruction_set_is_the_one_that_runs) {
  const std::vector<std::string> built = built_instruction_sets();
  CHECK_EQ(built.front(), "baseline");
  CHECK(std::find(built.begin(), built.end(), instruction_set()) != built.end());
  const char* forced = std::getenv("WARPFACTOR_ISA");
  if (forced != nullptr) CHECK_EQ(instruction_set(), std::string(forced));
  CHECK_EQ(std::string(kernel_table().instruction_set), instruction_set());

  const int expected = instruction_set() == "avx512" ? 64 : instruction_set() == "avx2" ? 32 : 16;
  CHECK_EQ(kernel_table().vector_bytes, expected);

  const std::vector<std::int32_t> users{0, 0, 1}, items{0, 1, 1};
  const std::vector<float> values{1, 2, 3};
  CHECK_EQ(train<float>({users, items, values, {}, 2, 2}, {}).instruction_set, instruction_set());
  CHECK_EQ(train<double>({users, items, values, {}, 2, 2}, {}).instruction_set, instruction_set());
}

#if defined(__unix__) || defined(__APPLE__)
TEST(the_choice_is_made_once) {
  const std::string first = instruction_set();
  ::setenv("WARPFACTOR_ISA", "baseline", 1);
  CHECK_EQ(instruction_set(), first);
}
#endif

}  // namespace
