// SPDX-License-Identifier: Apache-2.0
// Runs the tests of one executable: all, or those whose name contains one of the arguments.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "check.hpp"
#include "warpfactor/runtime.hpp"

namespace {

constexpr int kSkipped = 77;  // as CMakeLists.txt tells CTest

/// WARPFACTOR_ISA asks for kernels that were built and that this processor cannot run.
bool lacks_forced_instruction_set() {
  const char* forced = std::getenv("WARPFACTOR_ISA");
  if (forced == nullptr) return false;
  const std::vector<std::string> built = warpfactor::built_instruction_sets();
  if (std::find(built.begin(), built.end(), forced) == built.end()) return false;
  try {
    warpfactor::instruction_set();
  } catch (const std::invalid_argument&) {
    std::printf("skipped: this processor cannot run the %s kernels\n", forced);
    return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (lacks_forced_instruction_set()) return kSkipped;
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  int ran = 0, failed = 0;
  std::int64_t met = 0, taken = 0;
  for (const check::Test& test : check::tests()) {
    const std::string name = test.name;
    const bool is_wanted = std::any_of(wanted.begin(), wanted.end(),
                                       [&](const std::string& part) { return name.find(part) != std::string::npos; });
    if (!wanted.empty() && !is_wanted) continue;
    check::failures = 0;
    check::context.clear();
    check::met_cases = check::taken_cases = 0;
    const auto start = std::chrono::steady_clock::now();
    try {
      test.body();
    } catch (const std::exception& error) {
      check::fail(test.name, 0, check::in_context(std::string("threw: ") + error.what()));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s %s (%.2f s)\n", check::failures == 0 ? "ok    " : "FAILED", test.name, seconds);
    std::fflush(stdout);
    ++ran;
    failed += check::failures > 0 ? 1 : 0;
    met += check::met_cases;
    taken += check::taken_cases;
  }
  if (taken < met) {
    std::printf("WARPFACTOR_TEST_EVERY=%d: %lld of %lld cases\n", check::one_case_of(), static_cast<long long>(taken),
                static_cast<long long>(met));
  }
  std::printf("%d of %d tests passed\n", ran - failed, ran);
  return failed > 0 || ran == 0 ? 1 : 0;
}
