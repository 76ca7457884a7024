// SPDX-License-Identifier: Apache-2.0
// The kernels that answer, on the host.
#include <limits>
#include <memory>
#include <vector>

#include "answer_device.hpp"
#include "answer_kernels.cuh"

namespace warpfactor {
namespace {

using rule::HostWarp;

/// The warps of a thread block, one after the other in each step.
template <class State>
class HostBlock {
 public:
  using Warp = HostWarp;
  template <class Step>
  void each(const Step& step) {
    for (int w = 0; w < rule::kBlockWarps; ++w)
      step(HostWarp(w, rule::kBlockWarps), states_[static_cast<std::size_t>(w)]);
  }

 private:
  std::vector<State> states_{static_cast<std::size_t>(rule::kBlockWarps)};
};

template <class A>
void predict(const PredictArgs<A>& args, std::uintptr_t) {
  rule::predict_pairs(HostWarp(0, 1), args);
}

template <class A>
void scale(const UnitRowsArgs<A>& args, std::uintptr_t) {
  rule::scale_rows(HostWarp(0, 1), args, std::numeric_limits<A>::min());
}

template <class A>
void search(const SearchArgs<A>& args, std::uintptr_t) {
  if (args.only.indptr != nullptr) {
    rule::LeftOut left_out[2];
    rule::ListedSearch<HostWarp, A> search(args, left_out);
    for (std::int64_t query = 0; query < args.n_queries; ++query) search.run(HostWarp(0, 1), query);
    return;
  }
  using Block = HostBlock<rule::SearchState<HostWarp, A>>;
  const std::int64_t n_blocks = (args.n_queries + rule::kBlockQueries - 1) / rule::kBlockQueries * args.n_splits;
  const auto shared = std::make_unique<rule::SearchShared<A>>();
  Block block;
  for (std::int64_t number = 0; number < n_blocks; ++number) {
    using rule::Moved;
    if (args.times == A(0)) {
      rule::TiledSearch<Block, A, Moved::not_at_all>(args, *shared, number).run(block);
    } else if (args.drawn) {
      rule::TiledSearch<Block, A, Moved::by_draws>(args, *shared, number).run(block);
    } else {
      rule::TiledSearch<Block, A, Moved::by_bounds>(args, *shared, number).run(block);
    }
  }
}

template <class A>
void finish(const FinishArgs<A>& args, std::uintptr_t) {
  for (std::int64_t query = 0; query < args.n_queries; ++query) rule::finish_list(HostWarp(0, 1), args, query);
}

}  // namespace

template <class A>
AnswerFunctions<A> twin_answers() {
  return {predict<A>, scale<A>, search<A>, finish<A>};
}
template AnswerFunctions<float> twin_answers<float>();
template AnswerFunctions<double> twin_answers<double>();

void twin_find_codes(const FindArgs& args, std::uintptr_t) {
  for (std::int64_t at = 0; at < args.n; ++at) rule::find_code(args, at);
}

}  // namespace warpfactor
