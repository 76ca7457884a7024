// SPDX-License-Identifier: Apache-2.0
// When training with validation ratings ends, and what it does before: see TrainParams::patience.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <numeric>
#include <utility>

namespace warpfactor {

/// How many epochs a falling learning rate takes with early stopping, for one that training would choose without: on
/// five sets (benchmarks/early_stopping.py) 1 was up to 0.35 % worse than the best number, 2 up to 0.10 %, 1.5 0.06 %.
inline constexpr double kStoppingEpochs = 1.5;

/// Judges the validation loss of each epoch.
class EarlyStopping {
 public:
  struct Verdict {
    bool better = true;    ///< than all before, or as good
    bool go_back = false;  ///< to the best epoch, and go on at a lower `rate_share`
    bool stop = false;
  };

  /// What it remembers from epoch to epoch.
  struct State {
    std::deque<double> recent{};
    double best = std::numeric_limits<double>::infinity(), rate_share = 1;
    std::int32_t best_epoch = 0, back_epoch = 0;
    bool went_back = false;
  };

  /// `falls`: the learning rate falls to zero in the epochs that there are.
  EarlyStopping(std::int32_t patience, bool falls) : patience_(patience), falls_(falls) {}

  Verdict judge(std::int32_t epoch, double loss) {
    state_.recent.push_back(loss);
    if (static_cast<std::int32_t>(state_.recent.size()) > patience_) state_.recent.pop_front();
    if (loss < state_.best || (falls_ && loss - state_.best <= kAsGood * std::abs(state_.best))) {
      state_.best = std::min(state_.best, loss);
      state_.best_epoch = epoch;
      state_.went_back = false;
      return {};
    }
    Verdict verdict{false};
    if (epoch - std::max(state_.best_epoch, state_.back_epoch) < patience_) return verdict;
    if (falls_) {
      const double mean =
          std::accumulate(state_.recent.begin(), state_.recent.end(), 0.0) / static_cast<double>(state_.recent.size());
      if (mean - state_.best <= kWorse * std::abs(state_.best)) return verdict;
    }
    verdict.stop = !falls_ || state_.went_back;
    verdict.go_back = !verdict.stop;
    if (verdict.go_back) {
      state_.went_back = true;
      state_.back_epoch = epoch;
      state_.rate_share *= kLowered;
    }
    return verdict;
  }

  /// What the learning rate of the schedule is multiplied by.
  [[nodiscard]] double rate_share() const { return state_.rate_share; }

  [[nodiscard]] const State& state() const { return state_; }
  void go_on_from(State state) { state_ = std::move(state); }

 private:
  /// Of losses this near to each other the later is the better one where the learning rate falls: what it is lower by
  /// is chance, and the later epoch's factors waver less. On ML-100K the lowest loss was up to eight epochs before the
  /// last, and 0.09 % worse on other ratings (benchmarks/early_stopping.py).
  static constexpr double kAsGood = 5e-4;
  /// While the learning rate is high, the loss wavers: on five sets up to 0.4 %, as a mean of three epochs by 0.8 %,
  /// where it would still fall by 2 to 7 %. Overfitting passes 1 % within five epochs.
  static constexpr double kWorse = 0.01;
  /// With penalties too weak, a third left 0.0 to 0.2 % of the error of the best number of epochs, a half 0.0 to 0.3 %.
  static constexpr double kLowered = 0.35;

  std::int32_t patience_;
  bool falls_;
  State state_;
};

}  // namespace warpfactor
