// SPDX-License-Identifier: Apache-2.0
// The parameters of training: the struct, and one table of what checks, the Python binding and the command line need to
// know of each.
#pragma once

#include "warpfactor/standard.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "warpfactor/loss.hpp"

namespace warpfactor {

/// How the learning rate falls from epoch to epoch (t = 0 .. n_epochs - 1).
enum class Schedule {
  constant,      ///< eta
  inverse_time,  ///< eta / (1 + t / 10)
  linear,        ///< eta * (1 - t / n_epochs)
  cosine,        ///< eta * (1 + cos(pi t / n_epochs)) / 2
};

/// How a gradient becomes a step. A step is taken for each rating, or for `batch_size` of them together; g is the sum
/// over the step's ratings n of the row, w_n * (dl/dz^ * q_i + reg * p_u) (likewise for items, and for the row's bias;
/// reg here is the L2 part of the penalty), all of it before any row moves. Of ratings that each make a step the CPU
/// takes the slopes dl/dz^ eight at a time, before the first of their steps. A row without a rating in the step stays
/// as it is, and so does what is remembered of it: t, v, m and G count the steps of the row, not those of the model.
enum class Optimizer {
  /// p_u <- p_u - eta * v with v <- momentum * v + g, which is p_u - eta * g without momentum (Polyak 1964).
  sgd,
  /// p_u <- p_u - eta / sqrt(1 + G) * g, then G grows: a number for the row, by the mean of g^2 over the row's factors
  /// and bias (Chin, Zhuang, Juan, Lin 2015), or a number for each element, by its g^2 (Duchi, Hazan, Singer 2011).
  adagrad,
  /// m <- beta_1 * m + (1 - beta_1) * g, s <- beta_2 * s + (1 - beta_2) * g^2, each by element, then
  /// p_u <- p_u - eta * m / (1 - beta_1^t) / (sqrt(s / (1 - beta_2^t)) + epsilon) (Kingma and Ba 2015). With t the
  /// row's own, a row that is rare gets the same correction in its first steps as one that is not.
  adam,
  gd,  ///< as sgd, but one step an epoch, of all ratings together
};

/// What adagrad keeps a sum of squares of.
enum class AdagradPer { row, element };

/// How threads, or the tiles of a CUDA device, share the work of an epoch.
enum class Parallel {
  automatic,  ///< blocked on the CPU, where it costs nothing; hogwild on a CUDA device, which it keeps busier
  blocked,    ///< no two ever touch the same row at once: the same bits for any number of threads
  hogwild,    ///< lock-free; rows may be raced for (Niu et al. 2011; on a device those of one side), results vary
};

enum class Device { cpu, cuda };

/// Which rows have prior means from who rated what (see TrainParams): the users' from the items that they rated, the
/// items' from the users who rated them.
enum class ImplicitFeedback { automatic, none, users, items, both };

/// A penalty's strength for the users' parameters and for the items'; one number means both.
struct PerSide {
  double users, items;
  constexpr PerSide(double both) noexcept : users(both), items(both) {}  // NOLINT: params.reg = 0.1
  constexpr PerSide(double of_users, double of_items) noexcept : users(of_users), items(of_items) {}
};

/// Everything a user may set. The defaults here are the only ones; Python reads them through the binding.
///
/// Training minimizes, over the ratings z and their scores z^ = b_u + b_i + p_u . q_i,
///   sum_n w_n * [ l(z, z^) + reg.users * h(p_u - m_u) + reg.items * h(q_i - m_i)
///                          + reg_bias.users * h(b_u - a_u) + reg_bias.items * h(b_i - a_i) ]
///   + sum_u 1/2 * [ reg_row.users * |p_u - m_u|_2^2 + reg_bias_row.users * (b_u - a_u)^2 ] + the same of the items,
/// with l of `loss` and the penalty h(v) = l1_ratio * |v|_1 + (1 - l1_ratio) / 2 * |v|_2^2. The first penalties count
/// once per rating seen, the others once per row. The prior means m and a are zero without `implicit_feedback`. With it
///   m_u = n_u^(-1/2) * sum of y_j over the items j that u rated,
/// n_u of them, and a_u is the same sum of one number per item; likewise m_i and a_i by the users who rated i. So the
/// set of the items that a user rated says where the user's factors are expected, as in SVD++ (Koren 2008); but the
/// score has no term of its own for it, and the factors contain the prior means when training ends. The y_j are not
/// stepped with the ratings. After every second epoch, but not after the last, a step of conjugate gradients moves them
/// towards the least of sum_u |p_u - m_u|^2 + reg_implicit * sum_j |y_j|^2 (five times reg_implicit for the a_u).
///
/// What z is, and the score, depends on the loss:
/// - squared, absolute, huber: z = (r - mu) / s, where mu is the mean rating (0 without biases) and s the ratings'
///   standard deviation, but at least a fifth of the root mean square of r - mu (s = 1 without `normalize`).
/// - logistic: z = y, the label -1 or 1, and z^ = mu + .., where mu is the log-odds of the upper label's share of the
///   (weighted) ratings, 0 without biases. squared_hinge: likewise with mu = 0.
/// - poisson: z = r / s, where s is the mean rating (1 without `normalize`); mu = 0.
/// So learning rate and penalties mean the same on any rating scale. With `nonnegative`, and always with poisson, no
/// factor or bias is below 0; then mu = 0, and biases start from half of the mean rating each instead of 0 (without
/// biases poisson's factors start around the number of which k squares make the mean).
///
/// The gradient of l and of the L2 part makes a step (see Optimizer); then each number w that it moved becomes
/// sign(w) * max(0, |w| - rate * l1), the proximal step of the L1 part, with the step's own rate (with adam no more
/// than eta in all), and at least 0 with `nonnegative`. A penalty per row makes its steps with the row's ratings, to
/// each of them its share of the row's weight. Steps are limited: where there are penalties per row, no rating's step
/// takes more than half of the way to the prior mean; eta * w_n counts up to max(eta, 1/4), and the slope dl/dz^ up to
/// - five standard deviations of the ratings, or twice their root mean square about mu if that is more (squared, huber;
///   absolute needs no limit), the same multiple of its root mean square at the start (custom); not where the caller
///   gives the initial factors;
/// - 5 (squared_hinge; not where the caller gives the initial factors); logistic needs no limit;
/// - five times the ratings' standard deviation over their mean, at least 5 (poisson).
struct TrainParams {
  std::int32_t n_factors = 64;  ///< the rank, 1 .. kMostFactors
  /// >= 0 (0 returns the initial model). None: 40 up to 100,000 ratings, 20 from 400,000 on, in between by the root of
  /// the number: small sets hardly start in 20.
  std::optional<std::int32_t> n_epochs{};
  /// eta > 0 of the first epoch. None: 0.08 * (1 - momentum) with sgd, half of it without penalties per row; 0.1 with
  /// adagrad by row, 0.05 by element; 0.003 with adam; with gd 1 / n, where n is what the ratings of the busiest user
  /// weigh plus those of the busiest item (weights have a mean of 1). In batches sgd and adagrad take no more than 1 /
  /// n for a batch's average share of n.
  std::optional<double> learning_rate{};
  /// The strengths of the penalties: of the factors and of the biases per rating, of the factors and of the biases per
  /// row, all >= 0, and of the prior means' y, rho > 0. None: training chooses.
  ///
  /// Penalties per row, and prior means, are there by default where a pull of whole rows makes sense: with biases, L2,
  /// and factors of any sign. There reg_bias is 0, and reg_bias_row is noise over signal, sigma^2 / tau^2, with the
  /// variances of the noise and of the side's biases that the ratings show (see bias_variances.hpp); a quarter of it
  /// with logistic. reg, reg_row, reg_implicit and init_scale are 0.04, 8, 2 and 0.05; or, where all of
  /// them are left open and each rating makes a step of plain SGD, what does best of some values on ratings that are
  /// held out, of up to about 100,000 of those given (see strengths.hpp). If the biases alone do best there, init_scale
  /// becomes 0, and the factors stay zero.
  ///
  /// Without biases, with an L1 part, a custom penalty or factors that are kept >= 0: reg is 0.04, reg_bias 0.05, those
  /// per row are 0.
  std::optional<PerSide> reg{}, reg_bias{}, reg_row{}, reg_bias_row{};
  std::optional<double> reg_implicit{};
  /// Automatic: both where penalties per row are there by default, else none.
  ImplicitFeedback implicit_feedback = ImplicitFeedback::automatic;
  double l1_ratio = 0;       ///< 0 .. 1: the share of L1 in the penalties; the rest is L2
  bool nonnegative = false;  ///< all factors and biases are kept >= 0; not with the losses that have labels
  bool biases = true;        ///< the score is mu + b_u + b_i + p.q; false: p.q
  Loss loss = Loss::squared;
  double huber_delta = 1;  ///< > 0, in units of the standardized ratings
  bool normalize = true;   ///< train on ratings divided by their standard deviation, or by their mean (poisson)
  /// Standard deviation of the uniform random start of P and Q; if they are kept >= 0, their RMS. None: 0.05, or with
  /// reg; 0 leaves factors at zero.
  std::optional<double> init_scale{};
  /// So many epochs, fewer than n_epochs, train the first `warmup_factors` factors alone (in whole sixteens), which
  /// takes less time; then the others join in, from their random start. Not with adam, which corrects its
  /// averages for a row as a whole, nor where factors start from more than small random numbers (initial factors of the
  /// caller's; poisson or a custom loss with `nonnegative`, without biases). Early stopping begins after them.
  std::int32_t warmup_epochs = 0;
  std::int32_t warmup_factors = 16;  ///< >= 1
  Optimizer optimizer = Optimizer::sgd;
  /// Ratings of a step, drawn together; 0: each rating makes a step of its own. Which ratings are together is drawn
  /// once from the seed, in which order the batches come in every epoch. Not with gd.
  std::int64_t batch_size = 0;
  double momentum = 0;  ///< sgd and gd; 0 .. 1, 1 not included
  AdagradPer adagrad_per = AdagradPer::row;
  double beta_1 = 0.9, beta_2 = 0.999;  ///< adam; 0 .. 1, 1 not included
  double epsilon = 1e-8;                ///< adam; > 0
  Schedule schedule = Schedule::linear;
  Parallel parallel = Parallel::automatic;
  Device device = Device::cpu;
  std::int32_t device_index = 0;
  /// Bytes of the device's memory to use at most; 0: what is free. Ratings that do not fit beside the factors go to the
  /// device in chunks, each epoch anew.
  std::int64_t device_memory = 0;
  /// Whether a device stores the factors in half precision; all arithmetic is in float. Not with T = double.
  bool half = false;
  std::int32_t n_threads = 0;  ///< 0: available_threads()
  std::uint64_t seed = 0;
  /// With validation ratings: the epoch with the lowest validation loss is handed back, or with a rate that falls
  /// to zero the last one whose loss is within 0.05 % of it; 0: the last one, after all
  /// epochs. A rate that stays (constant, inverse_time), or full batches: training stops after so many epochs without a
  /// lower loss. A rate that falls to zero: it falls in one and a half times as many epochs as training would choose
  /// (more where learning_rate is lower than what it would choose, and three times as many with adagrad, up to
  /// n_epochs), or in n_epochs if they are fewer; with n_epochs open in one and a half times. So n_epochs is only a
  /// bound. If so many epochs have no lower loss, and their mean is 1 % above the lowest, training goes back to the
  /// best epoch, and on at 0.35 times the rate; it stops if that has not helped the next time.
  std::int32_t patience = 3;
};

/// A value of an enum and what it is called outside of C++.
template <class E>
struct Named {
  E value;
  const char* name;
};
template <class E>
Named(E, const char*) -> Named<E>;  // for Clang before 17

constexpr auto names(Loss) {
  std::array<Named<Loss>, kLossCount> all{};
  for (std::size_t n = 0; n < all.size(); ++n) all[n] = {kLosses[n].loss, kLosses[n].name};
  return all;
}
constexpr auto names(Link) {
  return std::array{Named{Link::identity, "identity"}, Named{Link::probability, "probability"},
                    Named{Link::signed_probability, "signed_probability"}};
}
constexpr auto names(Optimizer) {
  return std::array{Named{Optimizer::sgd, "sgd"}, Named{Optimizer::adagrad, "adagrad"}, Named{Optimizer::adam, "adam"},
                    Named{Optimizer::gd, "gd"}};
}
constexpr auto names(AdagradPer) {
  return std::array{Named{AdagradPer::row, "row"}, Named{AdagradPer::element, "element"}};
}
constexpr auto names(Schedule) {
  return std::array{Named{Schedule::constant, "constant"}, Named{Schedule::inverse_time, "inverse_time"},
                    Named{Schedule::linear, "linear"}, Named{Schedule::cosine, "cosine"}};
}
constexpr auto names(Parallel) {
  return std::array{Named{Parallel::automatic, "auto"}, Named{Parallel::blocked, "blocked"},
                    Named{Parallel::hogwild, "hogwild"}};
}
constexpr auto names(ImplicitFeedback) {
  return std::array{Named{ImplicitFeedback::automatic, "auto"}, Named{ImplicitFeedback::none, "none"},
                    Named{ImplicitFeedback::users, "users"}, Named{ImplicitFeedback::items, "items"},
                    Named{ImplicitFeedback::both, "both"}};
}
constexpr auto names(Device) { return std::array{Named{Device::cpu, "cpu"}, Named{Device::cuda, "cuda"}}; }

/// What a value is called; nullptr for a number that the enum does not have.
template <class E>
constexpr const char* name_of(E value) {
  for (const Named<E>& each : names(E{})) {
    if (each.value == value) return each.name;
  }
  return nullptr;
}
/// The value of this name, if there is one.
template <class E>
constexpr std::optional<E> value_of(std::string_view name) {
  for (const Named<E>& each : names(E{})) {
    if (each.name == name) return each.value;
  }
  return std::nullopt;
}

/// The numbers that a parameter may have. Infinity is never one of them.
struct Range {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  ///< whether the end itself is not allowed
};
inline constexpr Range kAtLeastZero{0}, kAtLeastOne{1}, kAboveZero{.low = 0, .low_open = true}, kShare{0, 1},
    kBelowOne{.low = 0, .high = 1, .high_open = true}, kAny{};

/// A parameter: a member of TrainParams, of one of the types that they have.
struct Param {
  using Member =
      std::variant<bool TrainParams::*, std::int32_t TrainParams::*, std::int64_t TrainParams::*,
                   std::uint64_t TrainParams::*, double TrainParams::*, std::optional<double> TrainParams::*,
                   std::optional<std::int32_t> TrainParams::*, std::optional<PerSide> TrainParams::*,
                   Loss TrainParams::*, Optimizer TrainParams::*, AdagradPer TrainParams::*, Schedule TrainParams::*,
                   Parallel TrainParams::*, Device TrainParams::*, ImplicitFeedback TrainParams::*>;
  const char* name;
  Member member;
  Range range;
  const char* help;       ///< a line for the command line
  const char* note = "";  ///< what a value at the end of the range means, for errors
};

/// A row for each member of TrainParams, in its order. A new parameter is a member above and a row here.
inline constexpr Param kParams[] = {
    {"n_factors", &TrainParams::n_factors, {1, kMostFactors}, "Factors of each user and item."},
    {"n_epochs", &TrainParams::n_epochs, kAtLeastZero, "Passes over the ratings; chosen if not given."},
    {"learning_rate", &TrainParams::learning_rate, kAboveZero,
     "Step size at the start; chosen by the optimizer if not given."},
    {"reg", &TrainParams::reg, kAtLeastZero,
     "Penalty of the factors, per rating: of both sides, or of users,items; chosen if not given."},
    {"reg_bias", &TrainParams::reg_bias, kAtLeastZero,
     "Penalty of the biases, per rating: of both sides, or of users,items; chosen if not given."},
    {"reg_row", &TrainParams::reg_row, kAtLeastZero,
     "Penalty of the factors, per row; chosen if not given. Both sides, or users,items."},
    {"reg_bias_row", &TrainParams::reg_bias_row, kAtLeastZero,
     "Penalty of the biases, per row; chosen by the ratings if not given."},
    {"implicit_feedback", &TrainParams::implicit_feedback, kAny, "Which rows have prior means from who rated what."},
    {"reg_implicit", &TrainParams::reg_implicit, kAboveZero,
     "How strongly the prior means are pulled to zero; chosen if not given."},
    {"l1_ratio", &TrainParams::l1_ratio, kShare, "Share of L1 in the penalties, from 0 (all L2) to 1 (all L1).",
     "0: all L2, 1: all L1"},
    {"nonnegative", &TrainParams::nonnegative, kAny, "Whether factors and biases are kept at 0 or above."},
    {"biases", &TrainParams::biases, kAny, "Whether the model has a mean and biases."},
    {"loss", &TrainParams::loss, kAny, "The error term."},
    {"huber_delta", &TrainParams::huber_delta, kAboveZero,
     "Where the Huber loss turns linear, in standard deviations."},
    {"normalize", &TrainParams::normalize, kAny, "Whether to train on ratings divided by their deviation or mean."},
    {"init_scale", &TrainParams::init_scale, kAtLeastZero,
     "Standard deviation of the random start; chosen if not given."},
    {"warmup_epochs", &TrainParams::warmup_epochs, kAtLeastZero,
     "Epochs that train the first --warmup-factors factors alone.", "0: all epochs train all factors"},
    {"warmup_factors", &TrainParams::warmup_factors, kAtLeastOne,
     "How many factors the warm-up trains, in whole sixteens."},
    {"optimizer", &TrainParams::optimizer, kAny, "How a gradient becomes a step."},
    {"batch_size", &TrainParams::batch_size, kAtLeastZero,
     "Ratings that make a step together; each makes its own if not given.", "0: each rating makes a step of its own"},
    {"momentum", &TrainParams::momentum, kBelowOne, "Share of the previous step that is repeated, with sgd and gd."},
    {"adagrad_per", &TrainParams::adagrad_per, kAny, "What adagrad keeps a sum of squares of."},
    {"beta_1", &TrainParams::beta_1, kBelowOne, "How slowly adam forgets gradients."},
    {"beta_2", &TrainParams::beta_2, kBelowOne, "How slowly adam forgets their squares."},
    {"epsilon", &TrainParams::epsilon, kAboveZero, "What adam adds to the root of the squares."},
    {"schedule", &TrainParams::schedule, kAny, "How the learning rate falls."},
    {"parallel", &TrainParams::parallel, kAny, "How threads share the work."},
    {"device", &TrainParams::device, kAny, "Where to train and test."},
    {"device_index", &TrainParams::device_index, kAtLeastZero, "Number of the CUDA device."},
    {"device_memory", &TrainParams::device_memory, kAtLeastZero,
     "Bytes of the device's memory to use at most; what is free if not given.", "0: what is free"},
    {"half", &TrainParams::half, kAny, "Whether a device stores the factors in half precision."},
    {"n_threads", &TrainParams::n_threads, kAtLeastZero, "Threads; all processors allowed if not given.",
     "0: all available"},
    {"seed", &TrainParams::seed, kAtLeastZero, "Seed of start, order and split."},
    {"patience", &TrainParams::patience, kAtLeastZero,
     "Epochs without a lower validation loss before training stops; 0 never stops.", "0: run all epochs"},
};

/// What errors say after "it must be ", such as "from 1 to 1024".
std::string allowed_text(const Param& param);

/// Throws std::invalid_argument for the first parameter out of its range.
void require_in_range(const TrainParams& params);

}  // namespace warpfactor
