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
  /// A row as it is stored: one that is on its way need not be looked at.
  struct RawRow {
    typename W::template Raw<S> quad[kQuads];
  };

  WARPFACTOR_LANES_FUNCTION TileWork(const W& w, std::int64_t width, std::int64_t stride, std::int32_t active_factors)
      : w_(w),
        width_(static_cast<std::int32_t>(width)),
        active_factors_(active_factors),
        stride_(static_cast<std::int32_t>(stride)),
        first_(4 * (w_.lane() % kLanes)),
        leads_(w_.lane() % kLanes == 0) {}

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
  WARPFACTOR_LANES_FUNCTION static void clear(RawRow& row) {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) row.quad[c] = {};
  }
  /// Of the lane's factors of quad c in the row.
  WARPFACTOR_LANES_FUNCTION I offset(int c) const { return first_ + I(4 * kLanes * c); }
  WARPFACTOR_LANES_FUNCTION Mask inside(int c) const { return offset(c) < I(width_); }
  WARPFACTOR_LANES_FUNCTION N place(const N& row, int c) const {
    return row * std::int64_t{stride_} + N(first_) + N(4 * kLanes * c);
  }
  /// If a tile is not `in`, its row stays as it is. Beyond the width a row stays zero. kConstant: see load_constant.
  template <bool kConstant = false, class T, class Number>
  WARPFACTOR_LANES_FUNCTION void load_row(const T* from, const Number& number, const Mask& in, Row& row) const {
    typename W::template Raw<T> raw[kQuads]{};
    const auto place = w_.place(from, I(number), stride_, first_);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      const Mask here = in & inside(c);
      w_.template load_raw<kConstant>(place + 4 * kLanes * c, here, raw[c]);
      w_.unpack(raw[c], here, row.quad[c]);
    }
  }
  WARPFACTOR_LANES_FUNCTION void load_raw_row(const S* from, const I& number, const Mask& in, RawRow& row) const {
    const auto place = w_.place(from, number, stride_, first_);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) w_.load_raw(place + 4 * kLanes * c, in & inside(c), row.quad[c]);
  }
  template <bool kConstant = false, class T>
  WARPFACTOR_LANES_FUNCTION void load_quad(const T* from, const I& number, int c, const Mask& in, Row& row) const {
    typename W::template Raw<T> raw{};
    const Mask here = in & inside(c);
    w_.template load_raw<kConstant>(w_.place(from, number, stride_, first_) + 4 * kLanes * c, here, raw);
    w_.unpack(raw, here, row.quad[c]);
  }
  template <class T>
  WARPFACTOR_LANES_FUNCTION void store_quad(T* to, const I& number, int c, const Row& row, const Mask& in) const {
    w_.store4(w_.place(to, number, stride_, first_) + 4 * kLanes * c, row.quad[c], in & inside(c));
  }
  WARPFACTOR_LANES_FUNCTION void unpack_row(const RawRow& raw, const Mask& in, Row& row) const {
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) w_.unpack(raw.quad[c], in, row.quad[c]);
  }
  template <class T, class Number>
  WARPFACTOR_LANES_FUNCTION void store_row(T* to, const Number& number, const Row& row, const Mask& in) const {
    const auto place = w_.place(to, I(number), stride_, first_);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) w_.store4(place + 4 * kLanes * c, row.quad[c], in & inside(c));
  }
  /// Stores a row's number, which all lanes of the tile hold.
  WARPFACTOR_LANES_FUNCTION void store_number(A* to, const N& at, const F& x, const Mask& in) const {
    w_.store(to, at, x, in & leads_);
  }
  template <class Number>
  WARPFACTOR_LANES_FUNCTION F load_bias(const TileRows<S, A>& side, const Number& row, const Mask& in) const {
    return w_.load_at(w_.place(side.biases, I(row), side.spacing, I(0)), in);
  }
  template <class Number>
  WARPFACTOR_LANES_FUNCTION void store_bias(const TileRows<S, A>& side, const Number& row, const F& x,
                                            const Mask& in) const {
    w_.store_at(w_.place(side.biases, I(row), side.spacing, I(0)), x, in & leads_);
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
  /// How strongly a row is pulled, and where to its bias. If a tile is not `in`, it stays as it is.
  struct Pull {
    F v[4];

    WARPFACTOR_LANES_FUNCTION const F& factors() const { return v[0]; }
    WARPFACTOR_LANES_FUNCTION const F& bias() const { return v[1]; }
    WARPFACTOR_LANES_FUNCTION const F& bias_mean() const { return v[2]; }
  };
  WARPFACTOR_LANES_FUNCTION void load_pull(const TileRows<S, A>& side, const N& row, const Mask& in, Pull& pull) const {
    w_.template load4<true>(side.pulls, N(4) * row, in, pull.v);
  }
  /// What the penalty of a step adds to its gradients: a strength, times what is pulled at.
  struct Penalty {
    F factors, bias;
    Row at;
    F at_bias;
  };
  /// `weight`: how often it counts.
  WARPFACTOR_LANES_FUNCTION Penalty penalty_of(const TileRows<S, A>& side, bool of_users, const N& number,
                                               const F& weight, const Row& row, const F& bias,
                                               const StepSizes<A>& sizes, const Mask& in) const {
    Penalty penalty;
    if (side.pulls == nullptr) {
      penalty.factors = weight * (of_users ? sizes.reg.user : sizes.reg.item);
      penalty.bias = weight * (of_users ? sizes.reg_bias.user : sizes.reg_bias.item);
      penalty.at_bias = pull_of(bias, sizes);
    } else {
      Pull pull;
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) pull.v[j] = F(A(0));
      load_pull(side, number, in, pull);
      penalty.factors = limited_pull(weight * pull.factors(), sizes);
      penalty.bias = limited_pull(weight * pull.bias(), sizes);
      penalty.at_bias = bias - pull.bias_mean();
    }
    clear(penalty.at);
    if (side.means != nullptr) load_row<true>(side.means, number, in, penalty.at);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        // Zero beyond the active factors, where a custom penalty could give a slope.
        const F at = side.means != nullptr ? row.quad[c][j] - penalty.at.quad[c][j] : pull_of(row.quad[c][j], sizes);
        penalty.at.quad[c][j] = W::template select<A>(offset(c) < I(active_factors_ - j), at, F(A(0)));
      }
    }
    return penalty;
  }

  /// The optimizer's state of a row as a whole.
  struct Numbers {
    F v[kTileRowNumbers];
  };
  WARPFACTOR_LANES_FUNCTION Numbers load_numbers(const TileRows<S, A>& side, const N& row, const Mask& in) const {
    Numbers numbers;
    WARPFACTOR_UNROLL
    for (int n = 0; n < kTileRowNumbers; ++n) {
      numbers.v[n] =
          side.row_numbers == nullptr ? F(A(0)) : w_.load(side.row_numbers, row * std::int64_t{side.spacing} + n, in);
    }
    return numbers;
  }
  WARPFACTOR_LANES_FUNCTION void store_numbers(const TileRows<S, A>& side, const N& row, const Numbers& numbers,
                                               const Mask& in) const {
    if (side.row_numbers == nullptr) return;
    WARPFACTOR_UNROLL
    for (int n = 0; n < kTileRowNumbers; ++n) {
      store_number(side.row_numbers, row * std::int64_t{side.spacing} + n, numbers.v[n], in);
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
  const std::int32_t width_, active_factors_, stride_;
  const I first_;     ///< of the lane's factors in the row
  const Mask leads_;  ///< the first lane of a tile

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
      const N at = place(number, c);
      const Mask here = in & inside(c);
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
      const N at = number * std::int64_t{side.spacing};
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

/// Steps of one rating, one at a time in each tile. What the next step needs is on its way before this one begins: the
/// entries by the tileful, the own row and number of the next segment, and, where rows are short enough for it
/// (kAhead), the other side's next row. If that is the row of this step, it is read again.
template <class W, class S, class A, int kLanes, int kQuads, PassKind kKind>
class SgdPass : TileWork<W, S, A, kLanes, kQuads> {
  static constexpr bool kPulled = kKind == PassKind::pulled, kGeneral = !kPulled && kKind != PassKind::plain,
                        kFirst = kRemembered<kRuleOf<kKind>>.first, kSecond = kRemembered<kRuleOf<kKind>>.second,
                        kNumbers = kRemembered<kRuleOf<kKind>>.row_numbers,
                        kAhead = 4 * kQuads * static_cast<int>(sizeof(S)) <= kAheadBytes;
  using Base = TileWork<W, S, A, kLanes, kQuads>;
  using Base::leads_;
  using Base::w_;
  using typename Base::D;
  using typename Base::F;
  using typename Base::I;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Numbers;
  using typename Base::Pull;
  using typename Base::RawRow;
  using typename Base::Row;
  using U = typename W::template Of<std::uint32_t>;
  using Value = typename W::template Of<float>;

 public:
  WARPFACTOR_LANES_FUNCTION SgdPass(const W& w, const PassArgs<S, A>& args)
      : Base(w, args.width, args.stride, args.active_factors),
        args_(args),
        biased_(args.other.biases != nullptr),
        weighted_(args.weights != nullptr) {
    Base::clear(own_);
    Base::clear(other_);
    if constexpr (kAhead) {
      Base::clear(next_own_);
      Base::clear(next_other_);
    }
    clear(own_state_);
    clear(other_state_);
    own_bias_ = other_bias_ = next_own_bias_ = next_other_bias_ = value_ = F(A(0));
    weight_ = F(A(1));
    loss_ = square_ = loss_sum_ = square_sum_ = F(A(0));
    at_ = end_ = task_end_ = batch_ = segment_ = segment_end_ = next_end_ = task_ = shift_ = U(0);
    row_ = next_row_ = row_after_ = other_row_ = next_other_row_ = batch_row_ = later_row_ = I(-1);
    next_value_ = batch_value_ = later_value_ = Value(0.0f);
    done_ = this->tile() >= N(args.n_tiles);
    working_ = waiting_ = Mask(false);
    next_task_ = U(w_.template next<kLanes>(args_.next_task, !done_));
  }

  /// Moves each tile on to its next rating and has the row of the one after it read. False if none is left.
  WARPFACTOR_LANES_FUNCTION bool fetch() {
    const Mask over = at_ == end_;  // of a tile that is done at_ is beyond end_
    if (W::any(over)) {
      move_on(over);
      if (!W::any(at_ < end_)) {
        w_.pause();  // the warp's tiles are done, or wait for other tiles' tasks
        return W::any(!done_);
      }
    }
    const Mask in = at_ < end_;
    if constexpr (kAhead) {
      const U next = at_ + U(1);
      const Mask again = in & (next_other_row_ == other_row_), more = in & (next < task_end_),
                 beyond = more & (next - batch_ >= U(kLanes));
      other_row_ = next_other_row_;
      this->unpack_row(next_other_, in, other_);
      other_bias_ = next_other_bias_;
      value_ = F(next_value_);
      if (W::any(again | beyond)) {
        this->load_row(args_.other.factors, other_row_, again, other_);
        if (biased_) other_bias_ = loaded_bias(args_.other, other_row_, again, other_bias_);
        w_.sync();  // all lanes have read what the first lane is about to write
        next_batch(beyond);
      }
      load_state(args_.other, other_row_, in, other_state_);
      read_ahead<false>(next, more);
    } else {
      Value value;
      const Mask beyond = in & (at_ - batch_ >= U(kLanes));
      if (W::any(beyond)) next_batch(beyond);
      entry_at(at_, other_row_, value);
      value_ = F(value);
      this->load_row(args_.other.factors, other_row_, in, other_);
      if (biased_) other_bias_ = this->load_bias(args_.other, other_row_, in);
      load_state(args_.other, other_row_, in, other_state_);
    }
    if (weighted_) weight_ = F(w_.load(args_.weights, N(at_), in));
    return true;
  }

  WARPFACTOR_LANES_FUNCTION void update() {
    const StepSizes<A>& sizes = args_.sizes;
    const Mask in = at_ < end_;
    F score = Base::dot(own_, other_);
    if (biased_) score = score + (own_bias_ + other_bias_);
    const LossTerms<F> terms = score_terms(value_, score, sizes.loss);
    loss_ = loss_ + W::template select<A>(in, weight_ * terms.reported, F(A(0)));
    square_ = square_ + W::template select<A>(in, weight_ * terms.square, F(A(0)));
    const F counted = at_most(weight_, sizes.max_weight), slope = capped(terms.slope, sizes);
    if constexpr (kGeneral) {
      step_both(counted * slope, counted, in);
    } else if constexpr (kPulled) {
      step_pulled(sizes.learning_rate * counted * slope, counted);
    } else {
      const F rate = sizes.learning_rate * counted;
      const Step<F, F> step = make_step(slope, rate, sizes);
      const F keep_own = step.keep_factors.user, keep_other = step.keep_factors.item;
      WARPFACTOR_UNROLL
      for (int c = 0; c < kQuads; ++c) {
        WARPFACTOR_UNROLL
        for (int j = 0; j < 4; ++j) {
          const F own = own_.quad[c][j], other = other_.quad[c][j];
          own_.quad[c][j] = stepped_factor(own, other, step.scaled_slope, keep_own);
          other_.quad[c][j] = stepped_factor(other, own, step.scaled_slope, keep_other);
        }
      }
      if (biased_) {
        own_bias_ = stepped_bias(own_bias_, step.scaled_slope, step.keep_biases.user);
        other_bias_ = stepped_bias(other_bias_, step.scaled_slope, step.keep_biases.item);
      }
    }
    // With kAhead all lanes have read the bias, but not what is read within the step.
    if constexpr (kGeneral || !kAhead) w_.sync();
    this->store_row(args_.other.factors, other_row_, other_, in);
    if (biased_) this->store_bias(args_.other, other_row_, other_bias_, in);
    store_state(args_.other, other_row_, other_state_, in);
    w_.sync();  // the row may be read again at once
    at_ = W::template select<std::uint32_t>(in, at_ + U(1), at_);
  }

 private:
  /// What a step needs of a row beside its factors and bias, by kind of pass.
  struct State {
    Pull pull;
    Row means;
    Row first, second;  ///< the optimizer's, and the next ones
    F bias_first, bias_second;
    Numbers numbers;
  };

  WARPFACTOR_LANES_FUNCTION F loaded_bias(const TileRows<S, A>& side, const I& row, const Mask& in,
                                          const F& otherwise) const {
    return W::template select<A>(in, this->load_bias(side, row, in), otherwise);
  }
  WARPFACTOR_LANES_FUNCTION static void clear(State& state) {
    WARPFACTOR_UNROLL
    for (int j = 0; j < 4; ++j) state.pull.v[j] = F(A(0));
    Base::clear(state.means);
    Base::clear(state.first);
    Base::clear(state.second);
    state.bias_first = state.bias_second = F(A(0));
    WARPFACTOR_UNROLL
    for (int n = 0; n < kTileRowNumbers; ++n) state.numbers.v[n] = F(A(0));
  }
  /// If a tile is not `in`, its state stays as it is.
  WARPFACTOR_LANES_FUNCTION void load_state(const TileRows<S, A>& side, const I& row, const Mask& in,
                                            State& state) const {
    if constexpr (kPulled || kGeneral) {
      if (kPulled || side.pulls != nullptr) this->load_pull(side, N(row), in, state.pull);
      if ((kPulled || kAhead) && side.means != nullptr) {
        this->template load_row<true>(side.means, row, in, state.means);
      }
    }
    if constexpr (kFirst && kAhead) this->load_row(side.first, row, in, state.first);
    if constexpr (kSecond && kAhead) this->load_row(side.second, row, in, state.second);
    const auto load = [&](const A* from, std::int64_t plus, F& to) {
      to = W::template select<A>(in, w_.load(from, N(row) * side.spacing + plus, in), to);
    };
    if constexpr (kFirst) {
      if (biased_) load(side.bias_first, 0, state.bias_first);
    }
    if constexpr (kSecond) {
      if (biased_) load(side.bias_second, 0, state.bias_second);
    }
    if constexpr (kNumbers) {
      WARPFACTOR_UNROLL
      for (int n = 0; n < kTileRowNumbers; ++n) load(side.row_numbers, n, state.numbers.v[n]);
    }
  }
  /// Long rows' state, which would not fit into the registers as a whole, by the quad.
  WARPFACTOR_LANES_FUNCTION void load_state(const TileRows<S, A>& side, const I& row, int c, const Mask& in,
                                            State& state) const {
    if (side.means != nullptr) this->template load_quad<true>(side.means, row, c, in, state.means);
    if constexpr (kFirst) this->load_quad(side.first, row, c, in, state.first);
    if constexpr (kSecond) this->load_quad(side.second, row, c, in, state.second);
  }
  WARPFACTOR_LANES_FUNCTION void store_state(const TileRows<S, A>& side, const I& row, int c, const State& state,
                                             const Mask& in) const {
    if constexpr (kFirst) this->store_quad(side.first, row, c, state.first, in);
    if constexpr (kSecond) this->store_quad(side.second, row, c, state.second, in);
  }
  WARPFACTOR_LANES_FUNCTION void store_state(const TileRows<S, A>& side, const I& row, const State& state,
                                             const Mask& in) const {
    const N number(row);
    if constexpr (kFirst) {
      if constexpr (kAhead) this->store_row(side.first, number, state.first, in);
      if (biased_) this->store_number(side.bias_first, number * std::int64_t{side.spacing}, state.bias_first, in);
    }
    if constexpr (kSecond) {
      if constexpr (kAhead) this->store_row(side.second, number, state.second, in);
      if (biased_) this->store_number(side.bias_second, number * std::int64_t{side.spacing}, state.bias_second, in);
    }
    if constexpr (kNumbers) this->store_numbers(side, number, state.numbers, in);
  }

  /// Plain SGD with pulls of the rows' own. `scaled_slope`: times eta and the weight.
  WARPFACTOR_LANES_FUNCTION void step_pulled(const F& scaled_slope, const F& weight) {
    const StepSizes<A>& sizes = args_.sizes;
    const auto share = [&](const F& strength) -> F {
      return sizes.learning_rate * limited_pull(weight * strength, sizes);
    };
    const Pull &of_own = own_state_.pull, &of_other = other_state_.pull;
    const F pull_own = share(of_own.factors()), pull_other = share(of_other.factors());
    const F keep_own = A(1) - pull_own, keep_other = A(1) - pull_other;
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        const F own = own_.quad[c][j], other = other_.quad[c][j];
        own_.quad[c][j] = stepped_factor(own, other, scaled_slope, keep_own) + pull_own * own_state_.means.quad[c][j];
        other_.quad[c][j] =
            stepped_factor(other, own, scaled_slope, keep_other) + pull_other * other_state_.means.quad[c][j];
      }
    }
    if (biased_) {
      own_bias_ = own_bias_ + (share(of_own.bias()) * (of_own.bias_mean() - own_bias_) - scaled_slope);
      other_bias_ = other_bias_ + (share(of_other.bias()) * (of_other.bias_mean() - other_bias_) - scaled_slope);
    }
  }

  /// A side's part of a step by any rule.
  struct Part {
    F factors, bias;  ///< strengths of the penalty
    RowRate<F> rate;
    F squares;  ///< of the gradient; adagrad_row
  };
  WARPFACTOR_LANES_FUNCTION Part part_of(const TileRows<S, A>& side, bool is_own, const F& weight, State& state) const {
    const StepSizes<A>& sizes = args_.sizes;
    Part part;
    if (side.pulls == nullptr) {
      part.factors = weight * (is_own ? sizes.reg.user : sizes.reg.item);
      part.bias = weight * (is_own ? sizes.reg_bias.user : sizes.reg_bias.item);
    } else {
      part.factors = limited_pull(weight * state.pull.factors(), sizes);
      part.bias = limited_pull(weight * state.pull.bias(), sizes);
    }
    part.rate = row_rate<kRuleOf<kKind>>(state.numbers.v, weight, is_own ? sizes.l1.user : sizes.l1.item,
                                         is_own ? sizes.l1_bias.user : sizes.l1_bias.item, sizes);
    part.squares = F(A(0));
    return part;
  }
  /// A factor after its step. `active`: zero beyond the active factors, where a custom penalty could give a slope.
  WARPFACTOR_LANES_FUNCTION F stepped_by(const TileRows<S, A>& side, const F& own, const F& other, const F& slope,
                                         const Mask& active, int c, int j, State& state, Part& part) const {
    const StepSizes<A>& sizes = args_.sizes;
    const F pulled = side.means != nullptr ? own - state.means.quad[c][j] : pull_of(own, sizes);
    const F by = gradient(W::template select<A>(active, pulled, F(A(0))), other, slope, part.factors);
    if constexpr (kRuleOf<kKind> == StepRule::adagrad_row) part.squares = part.squares + by * by;
    return stepped<kRuleOf<kKind>>(own, by, state.first.quad[c][j], state.second.quad[c][j], part.rate,
                                   part.rate.l1_factors, sizes);
  }
  WARPFACTOR_LANES_FUNCTION void end_step(const TileRows<S, A>& side, const F& slope, State& state, Part& part,
                                          F& bias) const {
    const StepSizes<A>& sizes = args_.sizes;
    if constexpr (kRuleOf<kKind> == StepRule::adagrad_row) part.squares = W::template sum<kLanes>(part.squares);
    if (biased_) {
      const F pulled = side.pulls == nullptr ? pull_of(bias, sizes) : F(bias - state.pull.bias_mean());
      const F by = gradient(pulled, F(A(1)), slope, part.bias);
      bias =
          stepped<kRuleOf<kKind>>(bias, by, state.bias_first, state.bias_second, part.rate, part.rate.l1_bias, sizes);
      part.squares = part.squares + by * by;
    }
    if constexpr (kRuleOf<kKind> == StepRule::adagrad_row) {
      state.numbers.v[0] = adagrad_sum(state.numbers.v[0], part.squares, sizes);
    }
  }
  /// By any rule. Both rows' gradients are those of the rows before either moves.
  WARPFACTOR_LANES_FUNCTION void step_both(const F& slope, const F& weight, const Mask& in) {
    Part of_own = part_of(args_.own, true, weight, own_state_),
         of_other = part_of(args_.other, false, weight, other_state_);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      if constexpr (!kAhead) {
        load_state(args_.own, row_, c, in, own_state_);
        load_state(args_.other, other_row_, c, in, other_state_);
      }
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        const F own = own_.quad[c][j], other = other_.quad[c][j];
        const Mask active = this->offset(c) < I(this->active_factors_ - j);
        own_.quad[c][j] = stepped_by(args_.own, own, other, slope, active, c, j, own_state_, of_own);
        other_.quad[c][j] = stepped_by(args_.other, other, own, slope, active, c, j, other_state_, of_other);
      }
      if constexpr (!kAhead) {
        store_state(args_.own, row_, c, own_state_, in);
        store_state(args_.other, other_row_, c, other_state_, in);
      }
    }
    end_step(args_.own, slope, own_state_, of_own, own_bias_);
    end_step(args_.other, slope, other_state_, of_other, other_bias_);
  }

  /// The entry at a place, which must be among those that the lanes hold. A lane keeps one of kLanes neighbours, and
  /// one of the next kLanes, which are on their way meanwhile.
  WARPFACTOR_LANES_FUNCTION void entry_at(const U& at, I& row, Value& value) const {
    const I lane(at - batch_);
    row = W::template of_tile<kLanes>(batch_row_, lane);
    value = W::template of_tile<kLanes>(batch_value_, lane);
  }
  WARPFACTOR_LANES_FUNCTION void next_batch(const Mask& in) {
    batch_ = W::template select<std::uint32_t>(in, batch_ + U(kLanes), batch_);
    batch_row_ = W::template select<std::int32_t>(in, later_row_, batch_row_);
    batch_value_ = W::template select<float>(in, later_value_, batch_value_);
    read_entries(batch_ + U(kLanes), in, later_row_, later_value_);
  }
  /// Into each lane its entry of the task's kLanes from `first` on.
  WARPFACTOR_LANES_FUNCTION void read_entries(const U& first, const Mask& in, I& row, Value& value) const {
    const U mine = first + U(w_.lane() % kLanes);
    I row_there;
    Value value_there;
    w_.load_entry(args_.entries, N(mine), in & (mine >= at_) & (mine < task_end_), row_there, value_there);
    row = W::template select<std::int32_t>(in, row_there, row);
    value = W::template select<float>(in, value_there, value);
  }
  /// Begins to read the row of the entry at a place. kSome: other tiles than these have one on its way.
  template <bool kSome>
  WARPFACTOR_LANES_FUNCTION void read_ahead(const U& at, const Mask& in) {
    I row;
    Value value;
    entry_at(at, row, value);
    next_other_row_ = kSome ? W::template select<std::int32_t>(in, row, next_other_row_) : row;
    next_value_ = kSome ? W::template select<float>(in, value, next_value_) : value;
    if (biased_) {
      const F bias = this->load_bias(args_.other, row, in);
      next_other_bias_ = kSome ? W::template select<A>(in, bias, next_other_bias_) : bias;
    }
    this->load_raw_row(args_.other.factors, row, in, next_other_);
  }

  /// Moves on to the task's next segment, or to the next task if there is none.
  WARPFACTOR_LANES_FUNCTION void move_on(const Mask& over) {
    const Mask leaving = over & (row_ >= I(0));
    this->store_row(args_.own.factors, row_, own_, leaving);
    if (biased_) this->store_bias(args_.own, row_, own_bias_, leaving);
    store_state(args_.own, row_, own_state_, leaving);
    row_ = W::template select<std::int32_t>(over, I(-1), row_);
    loss_sum_ = loss_sum_ + W::template select<A>(over, loss_, F(A(0)));
    square_sum_ = square_sum_ + W::template select<A>(over, square_, F(A(0)));
    loss_ = W::template select<A>(over, F(A(0)), loss_);
    square_ = W::template select<A>(over, F(A(0)), square_);

    const Mask finished = over & (segment_ >= segment_end_);
    if (W::any(finished)) next_task(finished);
    enter_segment(over & (segment_ < segment_end_));
  }

  /// Reports the task that is done, if there was one, and begins the next one, if it need not wait.
  WARPFACTOR_LANES_FUNCTION void next_task(const Mask& finished) {
    const Mask ended = finished & working_;
    Place place = place_of(task_, ended);
    w_.store(args_.task_sums, N(2) * N(place.task), D(loss_sum_), ended & leads_);
    w_.store(args_.task_sums, N(2) * N(place.task) + N(1), D(square_sum_), ended & leads_);
    loss_sum_ = W::template select<A>(finished, F(A(0)), loss_sum_);
    square_sum_ = W::template select<A>(finished, F(A(0)), square_sum_);
    if (args_.waves != nullptr) {
      w_.sync();  // after all lanes' writes
      w_.release(args_.done, N(place.stripe), place.position + U(1), ended & leads_);
    }

    // The number of the task after the next one is on its way while the next one is worked on.
    const Mask claims = finished & (!waiting_) & (!done_);
    task_ = W::template select<std::uint32_t>(claims, next_task_, task_);
    done_ = done_ | (claims & (N(task_) >= N(args_.n_tasks)));
    const U number(w_.template next<kLanes>(args_.next_task, claims & (!done_)));
    next_task_ = W::template select<std::uint32_t>(claims, number, next_task_);

    Mask starts = finished & (!done_);
    place = place_of(task_, starts);
    if (args_.waves != nullptr) {
      waiting_ = waiting_ & (!finished);
      const Mask ready = may_start(place, starts);
      waiting_ = waiting_ | (starts & (!ready));
      starts = starts & ready;
    }
    working_ = (working_ & (!finished)) | starts;
    shift_ = W::template select<std::uint32_t>(starts, place.entry_shift, shift_);
    const U begin = U(w_.load_constant(args_.task_begin, N(place.task), starts)) + place.segment_shift,
            end = U(w_.load_constant(args_.task_begin, N(place.task) + N(1), starts)) + place.segment_shift;
    segment_ =
        W::template select<std::uint32_t>(finished, W::template select<std::uint32_t>(starts, begin, U(0)), segment_);
    segment_end_ =
        W::template select<std::uint32_t>(finished, W::template select<std::uint32_t>(starts, end, U(0)), segment_end_);
    at_ = W::template select<std::uint32_t>(finished, W::template select<std::uint32_t>(done_, U(1), U(0)), at_);
    end_ = W::template select<std::uint32_t>(finished, U(0), end_);
    begin_task(starts & (begin < end));
  }

  /// Where a task is in the arrays and, with waves, in the epoch.
  struct Place {
    U task, entry_shift, segment_shift;
    U position, stripe, number, number_before;  ///< of waves; 0 where there are none
  };
  WARPFACTOR_LANES_FUNCTION Place place_of(const U& task, const Mask& in) const {
    Place place{task, U(args_.entry_shift), U(args_.segment_shift), U(0), U(0), U(0), U(0)};
    if (args_.waves == nullptr) return place;
    place.position = task / U(args_.n_stripes);
    place.stripe = task - place.position * U(args_.n_stripes);
    constexpr int kNumbers4 = static_cast<int>(sizeof(PassWave) / sizeof(std::uint32_t));
    const std::uint32_t* const waves = &args_.waves->number;
    const N at = N(kNumbers4) * N(place.position);
    place.number = w_.load_constant(waves, at, in);
    place.entry_shift = w_.load_constant(waves, at + N(1), in);
    place.segment_shift = w_.load_constant(waves, at + N(2), in);
    place.task = U(w_.load_constant(waves, at + N(3), in)) + place.stripe;
    place.number_before = w_.load_constant(waves, at - N(kNumbers4), in & (place.position > U(0)));
    return place;
  }
  /// Whether the wave before is done with the task's two stripes.
  WARPFACTOR_LANES_FUNCTION Mask may_start(const Place& place, const Mask& in) const {
    const Mask asks = in & (place.position > U(0));
    const U n(args_.n_stripes), that = (place.stripe + (place.number + n - place.number_before)) % n;
    // One lane asks for its tile: others could see another number, and a tile starts as a whole.
    const Mask leader = asks & leads_;
    const Mask free = (w_.acquire(args_.done, N(place.stripe), leader) >= place.position) &
                      (w_.acquire(args_.done, N(that), leader) >= place.position);
    const U answer = W::template of_tile<kLanes>(W::template select<std::uint32_t>(free, U(1), U(0)), I(0));
    w_.sync();  // the reads of all lanes come after it
    return (answer == U(1)) | (place.position == U(0));
  }

  /// Has read what the task's first segments and ratings need.
  WARPFACTOR_LANES_FUNCTION void begin_task(const Mask& in) {
    if (!W::any(in)) return;
    const U begin = U(w_.load_constant(args_.segment_begin, N(segment_), in)) + shift_,
            end = U(w_.load_constant(args_.segment_begin, N(segment_end_), in)) + shift_,
            first_end = U(w_.load_constant(args_.segment_begin, N(segment_) + N(1), in)) + shift_;
    const I row(w_.load_constant(args_.segment_rows, N(segment_), in));
    row_after_ = W::template select<std::int32_t>(
        in, w_.load_constant(args_.segment_rows, N(segment_) + N(1), in & (segment_ + U(1) < segment_end_)),
        row_after_);
    next_row_ = W::template select<std::int32_t>(in, row, next_row_);
    next_end_ = W::template select<std::uint32_t>(in, first_end, next_end_);
    at_ = W::template select<std::uint32_t>(in, begin, at_);
    end_ = W::template select<std::uint32_t>(in, begin, end_);
    task_end_ = W::template select<std::uint32_t>(in, end, task_end_);
    batch_ = W::template select<std::uint32_t>(in, begin & U(~static_cast<std::uint32_t>(kLanes - 1)), batch_);
    read_entries(batch_, in, batch_row_, batch_value_);
    read_entries(batch_ + U(kLanes), in, later_row_, later_value_);
    read_own(in);
    if constexpr (kAhead) {
      other_row_ = W::template select<std::int32_t>(in, I(-1), other_row_);
      read_ahead<true>(at_, in);
    }
  }

  /// Begins to read the own row of the next segment.
  WARPFACTOR_LANES_FUNCTION void read_own(const Mask& in) {
    if constexpr (kAhead) {
      this->load_raw_row(args_.own.factors, next_row_, in, next_own_);
      if (biased_) next_own_bias_ = loaded_bias(args_.own, next_row_, in, next_own_bias_);
    }
  }

  WARPFACTOR_LANES_FUNCTION void enter_segment(const Mask& in) {
    row_ = W::template select<std::int32_t>(in, next_row_, row_);
    end_ = W::template select<std::uint32_t>(in, next_end_, end_);
    if constexpr (kAhead) {
      this->unpack_row(next_own_, in, own_);
      own_bias_ = W::template select<A>(in, next_own_bias_, own_bias_);
    } else {
      this->load_row(args_.own.factors, row_, in, own_);
      if (biased_) own_bias_ = loaded_bias(args_.own, row_, in, own_bias_);
    }
    load_state(args_.own, row_, in, own_state_);
    segment_ = W::template select<std::uint32_t>(in, segment_ + U(1), segment_);
    const Mask more = in & (segment_ < segment_end_);
    const U after = segment_ + U(1);
    next_row_ = W::template select<std::int32_t>(more, row_after_, next_row_);
    next_end_ = W::template select<std::uint32_t>(
        more, U(w_.load_constant(args_.segment_begin, N(after), more)) + shift_, next_end_);
    row_after_ = W::template select<std::int32_t>(
        more, w_.load_constant(args_.segment_rows, N(after), more & (after < segment_end_)), row_after_);
    read_own(more);
  }

  const PassArgs<S, A>& args_;
  const bool biased_, weighted_;
  Row own_, other_;
  RawRow next_own_, next_other_;  ///< kAhead: on their way
  State own_state_, other_state_;
  F own_bias_, other_bias_, next_own_bias_, next_other_bias_, value_, weight_;
  F loss_, square_;          ///< over the segment
  F loss_sum_, square_sum_;  ///< over the task's segments before
  U at_, end_, task_end_;    ///< the entry, and where its segment and its task end
  U batch_;                  ///< the first entry of those that the lanes hold
  I batch_row_, later_row_;
  Value batch_value_, later_value_, next_value_;
  U segment_, segment_end_, next_end_;  ///< the next segment, the end of the task's, and where the next one ends
  I row_, next_row_, row_after_;        ///< of this segment, the next one and the one after it; row_: -1 between them
  I other_row_, next_other_row_;
  U task_, next_task_, shift_;
  Mask done_, working_, waiting_;  ///< no task is left; has a task; has one that must wait
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
  using typename Base::Penalty;
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
    const F weight = w_.load(args_.row_weights, r, in),
            bias_before = biased ? this->load_bias(args_.own, number, in) : F(A(0));
    const Penalty penalty = this->penalty_of(args_.own, users, number, weight, row, bias_before, sizes, in);
    WARPFACTOR_UNROLL
    for (int c = 0; c < kQuads; ++c) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        gradients.quad[c][j] = gradients.quad[c][j] + penalty.factors * penalty.at.quad[c][j];
      }
    }
    F bias = bias_before, by_bias(A(0));
    if (biased) by_bias = gradient(penalty.at_bias, F(A(1)), w_.load(args_.bias_gradients, r, in), penalty.bias);
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

/// What a step of prior means is made of. Its rows are long arrays of columns, for which a lane takes a quad at a time:
/// no lane needs another's numbers, so tiles would only leave lanes idle.
template <class W, class A>
class QuadWork {
 public:
  using F = typename W::template Of<A>;
  using D = typename W::template Of<double>;
  using I = typename W::template Of<std::int32_t>;
  using N = typename W::template Of<std::int64_t>;
  using Mask = typename W::Mask;
  struct Quad {
    F v[4];
  };

  WARPFACTOR_LANES_FUNCTION QuadWork(const W& w, std::int64_t stride, std::int64_t quads)
      : w_(w), stride_(stride), quads_(quads) {}

 protected:
  /// Calls work(unit, in) for 0 .. n - 1, each in one lane.
  template <class Work>
  WARPFACTOR_LANES_FUNCTION void each(std::int64_t n, const Work& work) const {
    for (std::int64_t first = w_.number() * kWarp; first < n; first += w_.count() * kWarp) {
      const N at = N(first) + N(w_.lane());
      work(at, at < N(n));
    }
  }
  WARPFACTOR_LANES_FUNCTION Mask is_bias(const N& quad) const { return quad == N(quads_ - 1); }
  /// Where a quad of a row lies in the arrays of the step: the bias's after all factors.
  WARPFACTOR_LANES_FUNCTION N place(const N& row, const N& quad) const {
    return row * (stride_ + 4) + W::template select<std::int64_t>(is_bias(quad), N(stride_), N(4) * quad);
  }
  template <bool kConstant = false>
  WARPFACTOR_LANES_FUNCTION Quad load(const A* from, const N& at, const Mask& in) const {
    Quad quad;
    WARPFACTOR_UNROLL
    for (int j = 0; j < 4; ++j) quad.v[j] = F(A(0));
    w_.template load4<kConstant>(from, at, in, quad.v);
    return quad;
  }

  const W w_;
  const std::int64_t stride_, quads_;
};

/// See SumRowsArgs. The order of a sum is that of the list.
template <class W, class A>
class SumRows : QuadWork<W, A> {
  using Base = QuadWork<W, A>;
  using Base::quads_;
  using Base::w_;
  using typename Base::F;
  using typename Base::I;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Quad;

 public:
  WARPFACTOR_LANES_FUNCTION SumRows(const W& w, const SumRowsArgs<A>& args)
      : Base(w, args.stride, args.quads), args_(args) {}

  WARPFACTOR_LANES_FUNCTION void run() {
    this->each(args_.n_parts * quads_, [&](const N& unit, const Mask& in) {
      const N part = unit / N(quads_), quad = unit % N(quads_);
      const N begin = w_.load_constant(args_.begin, part, in), end = w_.load_constant(args_.begin, part + N(1), in);
      Quad sum;
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) sum.v[j] = F(A(0));
      for (N at = begin;; at = at + N(kAtOnce)) {
        if (!W::any(in & (at < end))) break;
        // Some rows at once, so that their reads do not wait for each other.
        Quad rows[kAtOnce];
        WARPFACTOR_UNROLL
        for (int n = 0; n < kAtOnce; ++n) {
          const Mask here = in & (at + N(n) < end);
          N row = at + N(n);
          if (args_.others != nullptr) {
            row = N(w_.load_constant(args_.others, row - N(args_.first_other), here));
          }
          rows[n] = this->template load<true>(args_.rows, this->place(row, quad), here);
        }
        WARPFACTOR_UNROLL
        for (int n = 0; n < kAtOnce; ++n) {
          WARPFACTOR_UNROLL
          for (int j = 0; j < 4; ++j) sum.v[j] = sum.v[j] + rows[n].v[j];
        }
      }
      const I to = w_.load_constant(args_.to, part, in);
      const Mask whole = to >= I(0);
      w_.store4(args_.out, this->place(N(to), quad), sum.v, in & whole);
      w_.store4(args_.partial, this->place(N(-1) - N(to), quad), sum.v, in & !whole);
    });
  }

 private:
  static constexpr int kAtOnce = 4;  // not measured
  const SumRowsArgs<A>& args_;
};

/// See MeansArgs and PriorMeans.
template <class W, class S, class A>
class MeansStep : QuadWork<W, A> {
  using Base = QuadWork<W, A>;
  using Base::quads_;
  using Base::stride_;
  using Base::w_;
  using typename Base::D;
  using typename Base::F;
  using typename Base::Mask;
  using typename Base::N;
  using typename Base::Quad;

 public:
  WARPFACTOR_LANES_FUNCTION MeansStep(const W& w, const MeansArgs<S, A>& args)
      : Base(w, args.stride, args.quads), args_(args) {}

  /// x_u times what the means leave of the rows.
  WARPFACTOR_LANES_FUNCTION void residual() {
    this->each(args_.n_own * quads_, [&](const N& unit, const Mask& in) {
      const N row = unit / N(quads_), quad = unit % N(quads_);
      const Mask bias = in & this->is_bias(quad), factors = in & !this->is_bias(quad);
      const N at = row * stride_ + N(4) * quad;
      Quad rest;
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) rest.v[j] = F(A(0));
      w_.load4(args_.own.factors, at, factors, rest.v);
      const Quad means = Base::load(args_.own.means, at, factors);
      const F x = w_.load_constant(args_.scale, row, in);
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) rest.v[j] = x * (rest.v[j] - means.v[j]);
      if (args_.own.biases != nullptr) {
        const F own_bias = w_.load(args_.own.biases, row * args_.own.spacing, bias),
                mean = w_.load(args_.own.pulls, N(4) * row + N(kBiasMean), bias);
        rest.v[0] = W::template select<A>(bias, x * (own_bias - mean), rest.v[0]);
      }
      w_.store4(args_.own_work, this->place(row, quad), rest.v, in);
    });
  }

  /// From the sums of what the means leave: the gradient g, then z in its place.
  WARPFACTOR_LANES_FUNCTION void gradient() {
    of_slices(args_.other_slices, args_.n_other,
              [&](const N& slice, const N& quad, const Mask& in, const N& from, const N& to) {
                const D rho = W::template select<double>(this->is_bias(quad), D(args_.rho_bias), D(args_.rho));
                D sums[kMeansSums][4];
                clear(sums);
                for (N row = from;; row = row + N(1)) {
                  const Mask here = in & (row < to);
                  if (!W::any(here)) break;
                  const N at = this->place(row, quad);
                  Quad work = Base::load(args_.other_work, at, here);
                  const Quad y = Base::load(args_.other_rows, at, here), step = Base::load(args_.other_step, at, here);
                  const D down = D(1.0) / (w_.load_constant(args_.diagonal, row, here) + rho);
                  WARPFACTOR_UNROLL
                  for (int j = 0; j < 4; ++j) {
                    const D g = D(work.v[j]) - rho * D(y.v[j]), z = g * down, d = D(step.v[j]);
                    sums[0][j] = sums[0][j] + g * z;
                    sums[1][j] = sums[1][j] + g * d;
                    sums[2][j] = sums[2][j] + rho * z * z;
                    sums[3][j] = sums[3][j] + rho * z * d;
                    sums[4][j] = sums[4][j] + rho * d * d;
                    work.v[j] = F(z);
                  }
                  w_.store4(args_.other_work, at, work.v, here);
                }
                store(args_.other_sums, args_.other_slices, slice, quad, sums, in);
              });
  }

  /// From the sums of z: X z.
  WARPFACTOR_LANES_FUNCTION void products() {
    of_slices(args_.own_slices, args_.n_own,
              [&](const N& slice, const N& quad, const Mask& in, const N& from, const N& to) {
                D sums[kOwnMeansSums][4];
                clear(sums);
                for (N row = from;; row = row + N(1)) {
                  const Mask here = in & (row < to);
                  if (!W::any(here)) break;
                  const N at = this->place(row, quad);
                  Quad work = Base::load(args_.own_work, at, here);
                  const Quad step = Base::load(args_.own_step, at, here);
                  const F x = w_.load_constant(args_.scale, row, here);
                  WARPFACTOR_UNROLL
                  for (int j = 0; j < 4; ++j) {
                    work.v[j] = x * work.v[j];
                    const D z(work.v[j]), d(step.v[j]);
                    sums[0][j] = sums[0][j] + z * z;
                    sums[1][j] = sums[1][j] + z * d;
                    sums[2][j] = sums[2][j] + d * d;
                  }
                  w_.store4(args_.own_work, at, work.v, here);
                }
                store(args_.own_sums, args_.own_slices, slice, quad, sums, in);
              });
  }

  /// The least along z and d together, of each column. A warp takes a column.
  WARPFACTOR_LANES_FUNCTION void solve() {
    const std::int64_t columns = 4 * quads_;
    for (std::int64_t column = w_.number(); column < columns; column += w_.count()) {
      D sums[kMeansSums];
      for (int kind = 0; kind < kMeansSums; ++kind) {
        sums[kind] = total(args_.other_sums, args_.other_slices, kind * columns + column);
        const int own = kind - (kMeansSums - kOwnMeansSums);
        if (own >= 0) sums[kind] = sums[kind] + total(args_.own_sums, args_.own_slices, own * columns + column);
      }
      const D gz = sums[0], gd = sums[1], zz = sums[2], zd = sums[3], dd = sums[4], determinant = zz * dd - zd * zd;
      const Mask apart = determinant > kIndependent * (zz * dd);
      const D along_z = W::template select<double>(apart, (gz * dd - gd * zd) / determinant,
                                                   W::template select<double>(zz > D(0.0), gz / zz, D(0.0))),
              along_d = W::template select<double>(apart, (gd * zz - gz * zd) / determinant, D(0.0));
      const Mask leads = w_.lane() == 0;
      w_.store(args_.along, N(column), F(along_z), leads);
      w_.store(args_.along, N(columns + column), F(along_d), leads);
    }
  }

  WARPFACTOR_LANES_FUNCTION void move() {
    this->each(args_.n_other * quads_, [&](const N& unit, const Mask& in) {
      const N row = unit / N(quads_), quad = unit % N(quads_), at = this->place(row, quad);
      const Quad step = stepped(args_.other_work, args_.other_step, at, quad, in);
      add(args_.other_rows, at, step, in);
    });
    this->each(args_.n_own * quads_, [&](const N& unit, const Mask& in) {
      const N row = unit / N(quads_), quad = unit % N(quads_);
      const Quad step = stepped(args_.own_work, args_.own_step, this->place(row, quad), quad, in);
      const Mask bias = in & this->is_bias(quad);
      add(args_.own.means, row * stride_ + N(4) * quad, step, in & !this->is_bias(quad));
      const N mean = N(4) * row + N(kBiasMean);
      w_.store(args_.own.pulls, mean, w_.load(args_.own.pulls, mean, bias) + step.v[0], bias);
    });
  }

 private:
  static constexpr std::int64_t kBiasMean = 2;  // of RowPull

  /// Calls work(slice, quad, in, first row, end) for each slice and quad.
  template <class Work>
  WARPFACTOR_LANES_FUNCTION void of_slices(std::int64_t n_slices, std::int64_t n_rows, const Work& work) const {
    const std::int64_t rows = (n_rows + n_slices - 1) / n_slices;
    this->each(n_slices * quads_, [&](const N& unit, const Mask& in) {
      const N slice = unit / N(quads_), quad = unit % N(quads_), from = slice * rows, to = from + N(rows);
      work(slice, quad, in, from, W::template select<std::int64_t>(to < N(n_rows), to, N(n_rows)));
    });
  }
  template <int kKinds>
  WARPFACTOR_LANES_FUNCTION static void clear(D (&sums)[kKinds][4]) {
    WARPFACTOR_UNROLL
    for (int kind = 0; kind < kKinds; ++kind) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) sums[kind][j] = D(0.0);
    }
  }
  template <int kKinds>
  WARPFACTOR_LANES_FUNCTION void store(double* to, std::int64_t n_slices, const N& slice, const N& quad,
                                       const D (&sums)[kKinds][4], const Mask& in) const {
    WARPFACTOR_UNROLL
    for (int kind = 0; kind < kKinds; ++kind) {
      WARPFACTOR_UNROLL
      for (int j = 0; j < 4; ++j) {
        w_.store(to, (N(kind * 4 * quads_ + j) + N(4) * quad) * n_slices + slice, sums[kind][j], in);
      }
    }
  }
  WARPFACTOR_LANES_FUNCTION D total(const double* sums, std::int64_t n_slices, std::int64_t number) const {
    D sum(0.0);
    for (std::int64_t from = 0; from < n_slices; from += kWarp) {
      const N at = N(from) + N(w_.lane());
      sum = sum + w_.load(sums, N(number * n_slices) + at, at < N(n_slices));
    }
    return W::template sum<kWarp>(sum);
  }
  /// The step, which is kept for the next.
  WARPFACTOR_LANES_FUNCTION Quad stepped(const A* work, A* steps, const N& at, const N& quad, const Mask& in) const {
    const Quad z = Base::load(work, at, in), along_z = Base::load(args_.along, N(4) * quad, in),
               along_d = Base::load(args_.along, N(4) * (quad + N(quads_)), in);
    Quad step = Base::load(steps, at, in);
    WARPFACTOR_UNROLL
    for (int j = 0; j < 4; ++j) step.v[j] = along_z.v[j] * z.v[j] + along_d.v[j] * step.v[j];
    w_.store4(steps, at, step.v, in);
    return step;
  }
  WARPFACTOR_LANES_FUNCTION void add(A* to, const N& at, const Quad& step, const Mask& in) const {
    Quad sum = Base::load(to, at, in);
    WARPFACTOR_UNROLL
    for (int j = 0; j < 4; ++j) sum.v[j] = sum.v[j] + step.v[j];
    w_.store4(to, at, sum.v, in);
  }

  const MeansArgs<S, A>& args_;
};

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
