// SPDX-License-Identifier: Apache-2.0
// The device's kernels, written over the warp of lanes.cuh: W is DeviceWarp on the device and HostWarp in the twin. For
// a custom loss or penalty, the text that defines warpfactor::custom comes before this header.
#pragma once

#include "lanes.cuh"

#if defined(__CUDACC__)
#define WARPFACTOR_LANES_FUNCTION __device__ __forceinline__
#define WARPFACTOR_UNROLL _Pragma("unroll")
#else
#define WARPFACTOR_LANES_FUNCTION inline
#define WARPFACTOR_UNROLL
#endif

namespace warpfactor {
namespace WARPFACTOR_RULE_NAMESPACE {

#if defined(__CUDACC__)
template <class A>
WARPFACTOR_LANES_FUNCTION LossTerms<A> score_terms(A value, A score, const LossShape<A>& shape) {
#if defined(WARPFACTOR_CUSTOM_LOSS)
  return custom_terms(value, score, shape,
                      [](A r, A answer, A& loss, A& slope) { custom::loss(r, answer, loss, slope); });
#else
  const A x = shape.offset + score;
  if (shape.loss == Loss::squared) return terms_of(SquaredLoss{}, value, x, x);  // saves a jump over the others
  return loss_terms(value, x, shape);
#endif
}

/// What a penalty's strength is multiplied with in the gradient of parameter w: w itself (L2), or the custom slope.
template <class A>
WARPFACTOR_LANES_FUNCTION A pull_of(A w, const StepSizes<A>&) {
#if defined(WARPFACTOR_CUSTOM_PENALTY)
  return custom::penalty_slope(w);
#else
  return w;
#endif
}
#else
template <class A>
LossTerms<Lanes<A>> score_terms(const Lanes<A>& value, const Lanes<A>& score, const LossShape<A>& shape) {
  if (shape.loss != Loss::custom) return loss_terms(value, shape.offset + score, shape);
  constexpr int kAtOnce = 8;
  return custom_terms(value, score, shape,
                      [&](const Lanes<A>& r, const Lanes<A>& answer, Lanes<A>& loss, Lanes<A>& slope) {
                        for (int l = 0; l < kWarp; l += kAtOnce) {
                          shape.function(r.v + l, answer.v + l, loss.v + l, slope.v + l);
                        }
                      });
}

template <class A>
Lanes<A> pull_of(const Lanes<A>& w, const StepSizes<A>& sizes) {
  if (sizes.penalty == nullptr) return w;
  Lanes<A> slopes;
  sizes.penalty(w.v, slopes.v, kWarp);
  return slopes;
}
#endif

/// What the kernels share. A tile's lanes hold different quads of a row; all other numbers are the same in them.
template <class W, class S, class A, int kLanes, int kQuads>
class TileWork {
 public:
  using F = typename W::template Of<A>;
  using D = typename W::template Of<double>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  struct Row {
    F quad[kQuads][4];
  };

  WARPFACTOR_LANES_FUNCTION TileWork(const W& w, std::int64_t width, std::int64_t stride, std::int32_t active_factors)
      : w_(w), width_(width), stride_(stride), active_factors_(active_factors) {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) offset_[c] = N(4 * (c * kLanes + w_.lane() % kLanes));
    leads_ = w_.lane() % kLanes == 0;
  }

 protected:
  /// The number of each lane's tile.
  WARPFACTOR_LANES_FUNCTION N tile() const { return N(w_.number() * (kWarp / kLanes)) + N(w_.lane() / kLanes); }
  /// Calls work(at, in) for 0 .. n - 1: one after the other in each tile, the tiles of a warp side by side.
  template <class Work>
  WARPFACTOR_LANES_FUNCTION void each(std::int64_t n, const Work& work) const {
    constexpr std::int64_t kTiles = kWarp / kLanes;
    for (std::int64_t first = 0; w_.number() * kTiles + first < n; first += w_.count() * kTiles) {
      const N at = N(first) + tile();
      work(at, at < N(n));
    }
  }
  WARPFACTOR_LANES_FUNCTION static void clear(Row& row) {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) row.quad[c][j] = F(A(0));
    }
  }
  /// If a tile is not `in`, its row stays as it is. Beyond the width a row stays zero.
  template <class T>
  WARPFACTOR_LANES_FUNCTION void load_row(const T* from, const N& number, const Mask& in, Row& row) const {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      w_.load4(from, number * stride_ + offset_[c], in & (offset_[c] < N(width_)), row.quad[c]);
    }
  }
  template <class T>
  WARPFACTOR_LANES_FUNCTION void store_row(T* to, const N& number, const Row& row, const Mask& in) const {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      w_.store4(to, number * stride_ + offset_[c], row.quad[c], in & (offset_[c] < N(width_)));
    }
  }
  /// Stores a row's number, which all lanes of the tile hold.
  WARPFACTOR_LANES_FUNCTION void store_number(A* to, const N& at, const F& x, const Mask& in) const {
    w_.store(to, at, x, in & leads_);
  }
  WARPFACTOR_LANES_FUNCTION F load_bias(const TileRows<S, A>& side, const N& row, const Mask& in) const {
    return w_.load(side.biases, row * side.spacing, in);
  }
  WARPFACTOR_LANES_FUNCTION void store_bias(const TileRows<S, A>& side, const N& row, const F& x,
                                            const Mask& in) const {
    store_number(side.biases, row * side.spacing, x, in);
  }
  WARPFACTOR_LANES_FUNCTION static F dot(const Row& a, const Row& b) {
    F even(A(0)), odd(A(0));
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      even = even + a.quad[c][0] * b.quad[c][0] + a.quad[c][1] * b.quad[c][1];
      odd = odd + a.quad[c][2] * b.quad[c][2] + a.quad[c][3] * b.quad[c][3];
    }
    return W::template sum<kLanes>(even + odd);
  }
  /// Zero beyond the active factors, where a custom penalty could give a slope.
  WARPFACTOR_LANES_FUNCTION F pull(const Row& row, int c, int j, const StepSizes<A>& sizes) const {
    return W::template select<A>(offset_[c] < N(active_factors_ - j), pull_of(row.quad[c][j], sizes), F(A(0)));
  }

  /// The optimizer's state of a row as a whole.
  struct Numbers {
    F v[kTileRowNumbers];
  };
  WARPFACTOR_LANES_FUNCTION Numbers load_numbers(const TileRows<S, A>& side, const N& row, const Mask& in) const {
    Numbers numbers;
    WARPFACTOR_UNROLL
    for (int n = 0; n < kTileRowNumbers; ++n) {
      numbers.v[n] = side.row_numbers == nullptr ? F(A(0)) : w_.load(side.row_numbers, row * side.spacing + n, in);
    }
    return numbers;
  }
  WARPFACTOR_LANES_FUNCTION void store_numbers(const TileRows<S, A>& side, const N& row, const Numbers& numbers,
                                               const Mask& in) const {
    if (side.row_numbers == nullptr) return;
    WARPFACTOR_UNROLL
    for (int n = 0; n < kTileRowNumbers; ++n) {
      store_number(side.row_numbers, row * side.spacing + n, numbers.v[n], in);
    }
  }

  /// One step of a row and its bias along its gradient. `weight`: how often the penalty counts.
  WARPFACTOR_LANES_FUNCTION void step(const TileRows<S, A>& side, bool of_users, const N& number, const F& weight,
                                      const Row& gradients, const F& bias_gradient, const StepSizes<A>& sizes,
                                      const Mask& in, Row& row, F& bias, Numbers& numbers) const {
    const A l1 = of_users ? sizes.l1.user : sizes.l1.item, l1_bias = of_users ? sizes.l1_bias.user : sizes.l1_bias.item;
    with_rule(sizes.rule, [&](auto rule) {
      step_by<decltype(rule)::kRule>(side, number, weight, l1, l1_bias, gradients, bias_gradient, sizes, in, row, bias,
                                     numbers);
    });
  }

  const W w_;
  const std::int64_t width_, stride_;
  const std::int32_t active_factors_;
  N offset_[kQuads];  ///< of the lane's factors in the row
  Mask leads_;        ///< the first lane of a tile

 private:
  template <StepRule kRule>
  WARPFACTOR_LANES_FUNCTION void step_by(const TileRows<S, A>& side, const N& number, const F& weight, A l1, A l1_bias,
                                         const Row& gradients, const F& bias_gradient, const StepSizes<A>& sizes,
                                         const Mask& in, Row& row, F& bias, Numbers& numbers) const {
    constexpr bool kFirst = kRemembered<kRule>.first, kSecond = kRemembered<kRule>.second;
    const RowRate<F> rate = row_rate<kRule>(numbers.v, weight, l1, l1_bias, sizes);
    F squares(A(0));
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      const N at = number * stride_ + offset_[c];
      const Mask here = in & (offset_[c] < N(width_));
      F first[4], second[4];
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) first[j] = second[j] = F(A(0));
      if constexpr (kFirst) w_.load4(side.first, at, here, first);
      if constexpr (kSecond) w_.load4(side.second, at, here, second);
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        const F gradient = gradients.quad[c][j];
        row.quad[c][j] = stepped<kRule>(row.quad[c][j], gradient, first[j], second[j], rate, rate.l1_factors, sizes);
        if constexpr (kRule == StepRule::adagrad_row) squares = squares + gradient * gradient;
      }
      if constexpr (kFirst) w_.store4(side.first, at, first, here);
      if constexpr (kSecond) w_.store4(side.second, at, second, here);
    }
    if constexpr (kRule == StepRule::adagrad_row) squares = W::template sum<kLanes>(squares);
    if (side.biases != nullptr) {
      F first(A(0)), second(A(0));
      const N at = number * side.spacing;
      if constexpr (kFirst) first = w_.load(side.bias_first, at, in);
      if constexpr (kSecond) second = w_.load(side.bias_second, at, in);
      bias = stepped<kRule>(bias, bias_gradient, first, second, rate, rate.l1_bias, sizes);
      w_.sync();  // all lanes have read what the first lane is about to write
      if constexpr (kFirst) store_number(side.bias_first, at, first, in);
      if constexpr (kSecond) store_number(side.bias_second, at, second, in);
      squares = squares + bias_gradient * bias_gradient;
    }
    if constexpr (kRule == StepRule::adagrad_row) numbers.v[0] = adagrad_sum(numbers.v[0], squares, sizes);
  }
};

/// Steps of one rating, one at a time in each tile. kGeneral: by any rule, with any penalty; else plain SGD with L2
/// penalties.
template <class W, class S, class A, int kLanes, int kQuads, bool kGeneral>
class SgdPass : TileWork<W, S, A, kLanes, kQuads> {
  using Base = TileWork<W, S, A, kLanes, kQuads>;
  using Base::leads_;
  using Base::w_;
  using typename Base::D;
  using typename Base::F;
  using typename Base::I;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Numbers;
  using typename Base::Row;

 public:
  WARPFACTOR_LANES_FUNCTION SgdPass(const W& w, const PassArgs<S, A>& args)
      : Base(w, args.width, args.stride, args.active_factors), args_(args) {
    Base::clear(own_);
    Base::clear(other_);
    own_bias_ = other_bias_ = F(A(0));
    next_other_ = I(0);
    next_value_ = typename W::template Of<float>(0.0f);
    loss_ = square_ = F(A(0));
    loss_sum_ = square_sum_ = D(0.0);
    at_ = end_ = segment_ = segment_end_ = N(0);
    row_ = task_ = N(-1);
    done_ = this->tile() >= N(args.n_tiles);
  }

  /// Moves each tile on to its next rating and reads that rating's row of the other side. False if none is left.
  WARPFACTOR_LANES_FUNCTION bool fetch() {
    const Mask over = (!done_) & (at_ >= end_);
    if (W::any(over)) move_on(over);
    const Mask in = !done_;
    if (!W::any(in)) return false;
    value_ = F(next_value_);
    other_row_ = N(next_other_);
    this->load_row(args_.other.factors, other_row_, in, other_);
    if (args_.other.biases != nullptr) other_bias_ = this->load_bias(args_.other, other_row_, in);
    weight_ = args_.weights == nullptr ? F(A(1)) : F(w_.load(args_.weights, at_, in));
    // One entry ahead, so that the next row's read need not wait for it.
    w_.load_entry(args_.entries, at_ + N(1), in & (at_ + N(1) < end_), next_other_, next_value_);
    return true;
  }

  WARPFACTOR_LANES_FUNCTION void update() {
    const StepSizes<A>& sizes = args_.sizes;
    const Mask in = !done_;
    F score = Base::dot(own_, other_);
    if (args_.other.biases != nullptr) score = score + (own_bias_ + other_bias_);
    const LossTerms<F> terms = score_terms(value_, score, sizes.loss);
    loss_ = loss_ + W::template select<A>(in, weight_ * terms.reported, F(A(0)));
    square_ = square_ + W::template select<A>(in, weight_ * terms.square, F(A(0)));
    const F counted = at_most(weight_, sizes.max_weight), slope = capped(terms.slope, sizes);
    if constexpr (kGeneral) {
      step_both(counted * slope, counted, in);
    } else {
      const F rate = sizes.learning_rate * counted;
      const Step<F, F> step = make_step(slope, rate, sizes);
      const bool users = args_.own_is_user;
      const F keep_own = users ? step.keep_factors.user : step.keep_factors.item,
              keep_other = users ? step.keep_factors.item : step.keep_factors.user;
      WARPFACTOR_UNROLL
      for (int c = 0; c < kQuads; ++c) {
        WARPFACTOR_UNROLL
        for (int j = 0; j < 4; ++j) {
          const F own = own_.quad[c][j], other = other_.quad[c][j];
          own_.quad[c][j] = stepped_factor(own, other, step.scaled_slope, keep_own);
          other_.quad[c][j] = stepped_factor(other, own, step.scaled_slope, keep_other);
        }
      }
      if (args_.other.biases != nullptr) {
        own_bias_ = stepped_bias(own_bias_, step.scaled_slope, users ? step.keep_biases.user : step.keep_biases.item);
        other_bias_ =
            stepped_bias(other_bias_, step.scaled_slope, users ? step.keep_biases.item : step.keep_biases.user);
      }
    }
    w_.sync();  // all lanes have read what the first lane is about to write
    this->store_row(args_.other.factors, other_row_, other_, in);
    if (args_.other.biases != nullptr) this->store_bias(args_.other, other_row_, other_bias_, in);
    w_.sync();  // the row may be read again at once
    at_ = at_ + N(1);
  }

 private:
  /// By any rule. Both rows' gradients are taken before either row moves.
  WARPFACTOR_LANES_FUNCTION void step_both(const F& slope, const F& weight, const Mask& in) {
    const StepSizes<A>& sizes = args_.sizes;
    const bool users = args_.own_is_user;
    const F reg_own = weight * (users ? sizes.reg.user : sizes.reg.item),
            reg_other = weight * (users ? sizes.reg.item : sizes.reg.user);
    Row by_own, by_other;
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        by_own.quad[c][j] = gradient(this->pull(own_, c, j, sizes), other_.quad[c][j], slope, reg_own);
        by_other.quad[c][j] = gradient(this->pull(other_, c, j, sizes), own_.quad[c][j], slope, reg_other);
      }
    }
    F by_own_bias(A(0)), by_other_bias(A(0));
    if (args_.other.biases != nullptr) {
      const F reg_own_bias = weight * (users ? sizes.reg_bias.user : sizes.reg_bias.item),
              reg_other_bias = weight * (users ? sizes.reg_bias.item : sizes.reg_bias.user);
      by_own_bias = gradient(pull_of(own_bias_, sizes), F(A(1)), slope, reg_own_bias);
      by_other_bias = gradient(pull_of(other_bias_, sizes), F(A(1)), slope, reg_other_bias);
    }
    this->step(args_.own, users, row_, weight, by_own, by_own_bias, sizes, in, own_, own_bias_, own_numbers_);
    Numbers numbers = this->load_numbers(args_.other, other_row_, in);
    this->step(args_.other, !users, other_row_, weight, by_other, by_other_bias, sizes, in, other_, other_bias_,
               numbers);
    w_.sync();  // all lanes have read what the first lane is about to write
    this->store_numbers(args_.other, other_row_, numbers, in);
  }

  /// Moves on to the task's next segment, or to the next task if there is none.
  WARPFACTOR_LANES_FUNCTION void move_on(const Mask& over) {
    const Mask leaving = over & (row_ >= N(0));
    this->store_row(args_.own.factors, row_, own_, leaving);
    if (args_.own.biases != nullptr) this->store_bias(args_.own, row_, own_bias_, leaving);
    if constexpr (kGeneral) this->store_numbers(args_.own, row_, own_numbers_, leaving);
    loss_sum_ = loss_sum_ + D(W::template select<A>(over, loss_, F(A(0))));
    square_sum_ = square_sum_ + D(W::template select<A>(over, square_, F(A(0))));
    loss_ = W::template select<A>(over, F(A(0)), loss_);
    square_ = W::template select<A>(over, F(A(0)), square_);

    const Mask finished = over & (segment_ >= segment_end_);
    if (W::any(finished)) {
      const Mask reporting = finished & (task_ >= N(0)) & leads_;
      w_.store(args_.task_sums, N(2) * task_, loss_sum_, reporting);
      w_.store(args_.task_sums, N(2) * task_ + N(1), square_sum_, reporting);
      loss_sum_ = W::template select<double>(finished, D(0.0), loss_sum_);
      square_sum_ = W::template select<double>(finished, D(0.0), square_sum_);
      const N next = w_.template next<kLanes>(args_.next_task, finished);
      task_ = W::template select<std::int64_t>(finished, next, task_);
      done_ = done_ | (finished & (task_ >= N(args_.n_tasks)));
      const Mask got = finished & (!done_);
      const N begin = N(w_.load(args_.task_begin, task_, got)) - N(args_.first_segment),
              end = N(w_.load(args_.task_begin, task_ + N(1), got)) - N(args_.first_segment);
      segment_ = W::template select<std::int64_t>(got, begin, segment_);
      segment_end_ = W::template select<std::int64_t>(got, end, segment_end_);
    }

    const Mask entering = over & (!done_);
    const N row(w_.load(args_.segment_rows, segment_, entering)),
        begin = N(w_.load(args_.segment_begin, segment_, entering)) - N(args_.first_entry),
        end = N(w_.load(args_.segment_begin, segment_ + N(1), entering)) - N(args_.first_entry);
    row_ = W::template select<std::int64_t>(entering, row, row_);
    at_ = W::template select<std::int64_t>(entering, begin, at_);
    end_ = W::template select<std::int64_t>(entering, end, end_);
    segment_ = W::template select<std::int64_t>(entering, segment_ + N(1), segment_);
    I other;
    typename W::template Of<float> value;
    w_.load_entry(args_.entries, at_, entering, other, value);
    next_other_ = W::template select<std::int32_t>(entering, other, next_other_);
    next_value_ = W::template select<float>(entering, value, next_value_);
    this->load_row(args_.own.factors, row_, entering, own_);
    if (args_.own.biases != nullptr) {
      own_bias_ = W::template select<A>(entering, this->load_bias(args_.own, row_, entering), own_bias_);
    }
    if constexpr (kGeneral) {
      const Numbers numbers = this->load_numbers(args_.own, row_, entering);
      WARPFACTOR_UNROLL
      for (int n = 0; n < kTileRowNumbers; ++n) {
        own_numbers_.v[n] = W::template select<A>(entering, numbers.v[n], own_numbers_.v[n]);
      }
    }
  }

  const PassArgs<S, A>& args_;
  Row own_, other_;
  F own_bias_, other_bias_, value_, weight_;
  I next_other_;
  typename W::template Of<float> next_value_;
  Numbers own_numbers_;
  F loss_, square_;           ///< over the segment
  D loss_sum_, square_sum_;   ///< over the task
  N at_, end_;                ///< the entry, and where the segment ends
  N segment_, segment_end_;   ///< the next segment, and where the task ends
  N row_, other_row_, task_;  ///< -1 before the first
  Mask done_;
};

/// The gradients of rows over their ratings of a batch, without penalties. Each tile takes one row after the other.
template <class W, class S, class A, int kLanes, int kQuads>
class BatchGradients : TileWork<W, S, A, kLanes, kQuads> {
  using Base = TileWork<W, S, A, kLanes, kQuads>;
  using Base::leads_;
  using Base::w_;
  using typename Base::D;
  using typename Base::F;
  using typename Base::I;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Row;

 public:
  WARPFACTOR_LANES_FUNCTION BatchGradients(const W& w, const BatchArgs<S, A>& args)
      : Base(w, args.width, args.stride, args.active_factors), args_(args) {}

  WARPFACTOR_LANES_FUNCTION void run() {
    this->each(args_.n_rows, [&](const N& r, const Mask& in) { row_gradient(r, in); });
  }

 private:
  WARPFACTOR_LANES_FUNCTION void row_gradient(const N& r, const Mask& in) {
    const StepSizes<A>& sizes = args_.sizes;
    const bool biased = args_.other.biases != nullptr;
    const N row(w_.load(args_.rows, r, in));
    Row own, other, sums;
    Base::clear(own);
    Base::clear(other);
    Base::clear(sums);
    this->load_row(args_.own.factors, row, in, own);
    const F own_bias = biased ? this->load_bias(args_.own, row, in) : F(A(0));
    const N begin = w_.load_constant(args_.begin, r, in) - N(args_.first_entry),
            end = w_.load_constant(args_.begin, r + N(1), in) - N(args_.first_entry);
    N at = begin;
    F slopes(A(0)), weights(A(0)), loss(A(0)), square(A(0));
    D loss_sum(0.0), square_sum(0.0);
    for (std::int64_t n = 0;; ++n) {
      const Mask here = in & (at < end);
      if (!W::any(here)) break;
      const N number(w_.load_constant(args_.others, at, here));
      this->load_row(args_.other.factors, number, here, other);
      F score = Base::dot(own, other);
      if (biased) score = score + (own_bias + this->load_bias(args_.other, number, here));
      const LossTerms<F> terms = score_terms(w_.load_constant(args_.values, at, here), score, sizes.loss);
      const F weight = args_.weights == nullptr ? F(A(1)) : F(w_.load_constant(args_.weights, at, here));
      const F counted = at_most(weight, sizes.max_weight);
      const F slope = W::template select<A>(here, counted * capped(terms.slope, sizes), F(A(0)));
      WARPFACTOR_UNROLL
      for (int c = 0; c < kQuads; ++c) {
        WARPFACTOR_UNROLL
        for (int j = 0; j < 4; ++j) sums.quad[c][j] = sums.quad[c][j] + slope * other.quad[c][j];
      }
      slopes = slopes + slope;
      weights = weights + W::template select<A>(here, counted, F(A(0)));
      loss = loss + W::template select<A>(here, weight * terms.reported, F(A(0)));
      square = square + W::template select<A>(here, weight * terms.square, F(A(0)));
      if (n % kFlush == kFlush - 1) {
        loss_sum = loss_sum + D(loss);
        square_sum = square_sum + D(square);
        loss = square = F(A(0));
      }
      at = at + N(1);
    }
    this->store_row(args_.gradients, r, sums, in);
    this->store_number(args_.bias_gradients, r, slopes, in);
    this->store_number(args_.row_weights, r, args_.weights == nullptr ? F(end - begin) : weights, in);
    if (args_.of_users) {
      w_.store(args_.row_sums, N(2) * r, loss_sum + D(loss), in & leads_);
      w_.store(args_.row_sums, N(2) * r + N(1), square_sum + D(square), in & leads_);
    }
  }

  static constexpr std::int64_t kFlush = 256;  // losses added up in A before they go into a double
  const BatchArgs<S, A>& args_;
};

/// The steps from the gradients.
template <class W, class S, class A, int kLanes, int kQuads>
class BatchSteps : TileWork<W, S, A, kLanes, kQuads> {
  using Base = TileWork<W, S, A, kLanes, kQuads>;
  using Base::w_;
  using typename Base::F;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Numbers;
  using typename Base::Row;

 public:
  WARPFACTOR_LANES_FUNCTION BatchSteps(const W& w, const BatchArgs<S, A>& args)
      : Base(w, args.width, args.stride, args.active_factors), args_(args) {}

  WARPFACTOR_LANES_FUNCTION void run() {
    this->each(args_.n_rows, [&](const N& r, const Mask& in) { row_step(r, in); });
  }

 private:
  WARPFACTOR_LANES_FUNCTION void row_step(const N& r, const Mask& in) {
    const StepSizes<A>& sizes = args_.sizes;
    const bool users = args_.of_users, biased = args_.own.biases != nullptr;
    const N number(w_.load(args_.rows, r, in));
    Row row, gradients;
    Base::clear(row);
    Base::clear(gradients);
    this->load_row(args_.own.factors, number, in, row);
    this->load_row(args_.gradients, r, in, gradients);
    const F weight = w_.load(args_.row_weights, r, in), penalty = weight * (users ? sizes.reg.user : sizes.reg.item);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        gradients.quad[c][j] = gradients.quad[c][j] + penalty * this->pull(row, c, j, sizes);
      }
    }
    F bias(A(0)), by_bias(A(0));
    if (biased) {
      bias = this->load_bias(args_.own, number, in);
      const F reg_bias = weight * (users ? sizes.reg_bias.user : sizes.reg_bias.item);
      by_bias = gradient(pull_of(bias, sizes), F(A(1)), w_.load(args_.bias_gradients, r, in), reg_bias);
    }
    Numbers numbers = this->load_numbers(args_.own, number, in);
    this->step(args_.own, users, number, weight, gradients, by_bias, sizes, in, row, bias, numbers);
    w_.sync();  // all lanes have read what the first lane is about to write
    this->store_row(args_.own.factors, number, row, in);
    if (biased) this->store_bias(args_.own, number, bias, in);
    this->store_numbers(args_.own, number, numbers, in);
  }

  const BatchArgs<S, A>& args_;
};

/// The losses over ratings. Each tile takes one rating after the other.
template <class W, class S, class A, int kLanes, int kQuads>
class Evaluate : TileWork<W, S, A, kLanes, kQuads> {
  using Base = TileWork<W, S, A, kLanes, kQuads>;
  using Base::leads_;
  using Base::w_;
  using typename Base::D;
  using typename Base::F;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Row;

 public:
  WARPFACTOR_LANES_FUNCTION Evaluate(const W& w, const EvaluateArgs<S, A>& args)
      : Base(w, args.stride, args.stride, args.n_factors), args_(args) {}

  WARPFACTOR_LANES_FUNCTION void run() {
    Row user, item;
    Base::clear(user);
    Base::clear(item);
    D loss(0.0), square(0.0);
    this->each(args_.n_ratings, [&](const N& r, const Mask& in) {
      const N user_row(w_.load_constant(args_.user_rows, r, in)), item_row(w_.load_constant(args_.item_rows, r, in));
      this->load_row(args_.users.factors, user_row, in, user);
      this->load_row(args_.items.factors, item_row, in, item);
      F score = Base::dot(user, item);
      if (args_.users.biases != nullptr) {
        score = score + (this->load_bias(args_.users, user_row, in) + this->load_bias(args_.items, item_row, in));
      }
      const LossTerms<F> terms = score_terms(F(w_.load_constant(args_.values, r, in)), score, args_.sizes.loss);
      const F weight = args_.weights == nullptr ? F(A(1)) : F(w_.load_constant(args_.weights, r, in));
      loss = loss + W::template select<double>(in, D(weight * terms.reported), D(0.0));
      square = square + W::template select<double>(in, D(weight * terms.square), D(0.0));
    });
    w_.store(args_.tile_sums, N(2) * this->tile(), loss, leads_);
    w_.store(args_.tile_sums, N(2) * this->tile() + N(1), square, leads_);
  }

 private:
  const EvaluateArgs<S, A>& args_;
};

/// See SumArgs. The order depends on the number of warps alone.
template <class W>
WARPFACTOR_LANES_FUNCTION void sum_pairs(const W& w, const SumArgs& args) {
  using D = typename W::template Of<double>;
  using N = typename W::template Of<std::int64_t>;
  D first(0.0), second(0.0);
  for (std::int64_t from = w.number() * kWarp; from < args.n; from += w.count() * kWarp) {
    const N at = N(from) + N(w.lane());
    const typename W::Mask in = at < N(args.n);
    first = first + w.load(args.in, N(2) * at, in);
    second = second + w.load(args.in, N(2) * at + N(1), in);
  }
  first = W::template sum<kWarp>(first);
  second = W::template sum<kWarp>(second);
  const typename W::Mask leads = w.lane() == 0;
  const N at(2 * w.number());
  if (args.more) {
    first = first + w.load(args.out, at, leads);
    second = second + w.load(args.out, at + N(1), leads);
  }
  w.store(args.out, at, first, leads);
  w.store(args.out, at + N(1), second, leads);
}

/// One warp for each row. The best scores so far lie sorted in its lanes, and a score better than the last of them is
/// inserted. Few scores are, so a row costs hardly more than reading it.
template <class W, class A, int kSlots>
WARPFACTOR_LANES_FUNCTION void best_of_row(const W& w, const BestArgs<A>& args, std::int64_t row) {
  using F = typename W::template Of<A>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  const A* const scores = args.scores + row * args.row_stride;
  const A least = -A(__builtin_huge_valf());
  F best[kSlots];
  I column[kSlots];
  WARPFACTOR_UNROLL
  for (int s = 0; s < kSlots; ++s) {
    best[s] = F(least);
    column[s] = I(-1);
  }
  A worst = least;  // of the n best so far; only a better score is inserted
  for (std::int32_t from = 0; from < args.n_columns; from += kWarp) {
    const I at = I(from) + I(w.lane());
    const Mask in = at < I(args.n_columns);
    const F score = W::template select<A>(in, w.load(scores, N(at), in), F(least));
    std::uint32_t better = W::ballot(score > F(worst));
    while (better != 0) {
      const int lane = first_bit(better);
      better &= better - 1;
      const A x = W::from_lane(score, lane);
      if (!(x > worst)) continue;
      // Scores of at least x stay; the others move on by one lane.
      F last_best(least);
      I last_column(-1);
      WARPFACTOR_UNROLL
      for (int s = 0; s < kSlots; ++s) {
        const F before = w.from_previous(best[s], last_best);
        const I column_before = w.from_previous(column[s], last_column);
        last_best = F(W::from_lane(best[s], kWarp - 1));
        last_column = I(W::from_lane(column[s], kWarp - 1));
        const Mask stays = best[s] >= F(x), first = (before >= F(x)) | ((w.lane() == 0) & Mask(s == 0));
        column[s] = W::template select<std::int32_t>(
            stays, column[s], W::template select<std::int32_t>(first, I(from + lane), column_before));
        best[s] = W::template select<A>(stays, best[s], W::template select<A>(first, F(x), before));
      }
      WARPFACTOR_UNROLL
      for (int s = 0; s < kSlots; ++s) {
        if (s == (args.n - 1) / kWarp) worst = W::from_lane(best[s], (args.n - 1) % kWarp);
      }
    }
  }
  WARPFACTOR_UNROLL
  for (int s = 0; s < kSlots; ++s) {
    const I index = I(s * kWarp) + I(w.lane());
    const Mask in = index < I(args.n);
    const N at = N(row * args.n) + N(index);
    w.store(args.columns, at, column[s], in);
    w.store(args.best, at, W::template select<A>(column[s] >= I(0), best[s], F(A(__builtin_nanf("")))), in);
  }
}

}  // namespace WARPFACTOR_RULE_NAMESPACE
}  // namespace warpfactor
