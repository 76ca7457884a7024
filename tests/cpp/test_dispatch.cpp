// SPDX-License-Identifier: Apache-2.0
// Which kernels run. CTest runs this with WARPFACTOR_ISA unset, and set to each instruction set that was built.
#include <algorithm>
#include <cstdlib>
#include <functional>

#include "check.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/processors.hpp"
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
}

/// All kernels of a table, of floats and doubles.
std::vector<void (*)()> kernels_of(const KernelTable& table) {
  std::vector<void (*)()> all;
  const auto add = [&](auto... kernels) { (all.push_back(reinterpret_cast<void (*)()>(kernels)), ...); };
  const auto add_all = [&](const auto& of) {
    add(of.sgd, of.predict_pairs, of.score_rows, of.score_panel, of.first_above, of.batch_gradients, of.batch_steps,
        of.sum_rows, of.draw_row, of.draw_coefficients, of.solve_ridge);
  };
  add_all(table.f32);
  add_all(table.f64);
  static_assert(sizeof(Kernels<float>) == 11 * sizeof(void (*)()), "a kernel was added: add it here");
  return all;
}

TEST(each_instruction_set_has_kernels_of_its_own_for_training_and_for_lists) {
  std::vector<void (*)()> all = kernels_of(isa_baseline::kKernels);
  std::vector<std::string> names{isa_baseline::kKernels.instruction_set};
#if defined(WARPFACTOR_HAVE_AVX2) || defined(WARPFACTOR_HAVE_AVX512)
  const auto add = [&](const KernelTable& table) {
    const std::vector<void (*)()> kernels = kernels_of(table);
    all.insert(all.end(), kernels.begin(), kernels.end());
    names.emplace_back(table.instruction_set);
  };
#endif
#if defined(WARPFACTOR_HAVE_AVX2)
  add(isa_avx2::kKernels);
#endif
#if defined(WARPFACTOR_HAVE_AVX512)
  add(isa_avx512::kKernels);
#endif
  CHECK(names == built_instruction_sets());
  CHECK(std::find(all.begin(), all.end(), nullptr) == all.end());
  std::sort(all.begin(), all.end(), std::less<>());
  CHECK(std::adjacent_find(all.begin(), all.end()) == all.end());
}

TEST(the_fastest_set_for_training_goes_by_the_kind_of_processor_and_the_rank) {
  const std::vector<std::string> all{"baseline", "avx2", "avx512"}, narrow{"baseline", "avx2"},
      wide{"baseline", "avx512"};
  const auto at_rank = [](const Processor& processor, const std::vector<std::string>& usable, std::int64_t k) {
    return std::string(fastest_for_training(processor, usable, padded_stride<float>(k) * 4));
  };
  const Processor zen4{"AuthenticAMD", 25}, zen5{"AuthenticAMD", 26}, xeon{"GenuineIntel", 6}, other;
  for (const std::int64_t k : {1, 32, 64, 112}) CHECK_EQ(at_rank(zen4, all, k), "avx2");
  for (const std::int64_t k : {113, 128, 1000}) CHECK_EQ(at_rank(zen4, all, k), "avx512");
  for (const Processor& processor : {zen5, xeon, other}) {
    for (const std::int64_t k : {1, 64, 128}) CHECK_EQ(at_rank(processor, all, k), "avx512");
  }
  CHECK_EQ(at_rank(zen4, narrow, 128), "avx2");  // Zen 3, which has no wide ones, is of the same family
  CHECK_EQ(at_rank(zen4, wide, 32), "avx512");   // this build has no other
}

TEST(training_and_answers_say_what_they_run_with) {
  const std::vector<std::string> usable = usable_instruction_sets();
  for (const bool in_double : {false, true}) {
    for (const std::int32_t k : {1, 64, 128}) {
      const std::string set = training_instruction_set(k, in_double);
      CHECK(std::find(usable.begin(), usable.end(), set) != usable.end());
      TrainParams params;
      params.n_factors = k;
      params.n_epochs = 1;
      const std::vector<std::int32_t> users{0, 0, 1}, items{0, 1, 1};
      const std::vector<float> values{1, 2, 3};
      const RatingsView ratings{users, items, values, {}, 2, 2};
      CHECK_EQ(
          in_double ? train<double>(ratings, params).instruction_set : train<float>(ratings, params).instruction_set,
          set);
    }
  }
  const char* forced = std::getenv("WARPFACTOR_ISA");
  CHECK_EQ(instruction_set_reason() == "WARPFACTOR_ISA names it", forced != nullptr && *forced != '\0');
#if defined(__x86_64__) || defined(_M_X64)
  CHECK_EQ(this_processor().vendor.size(), std::size_t{12});
  CHECK(this_processor().family > 0);
#endif
}

#if defined(__unix__) || defined(__APPLE__)
TEST(the_choice_is_made_once) {
  const std::string first = instruction_set();
  ::setenv("WARPFACTOR_ISA", "baseline", 1);
  CHECK_EQ(instruction_set(), first);
}
#endif

}  // namespace
