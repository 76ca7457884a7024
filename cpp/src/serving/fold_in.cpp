// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/fold_in.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "buffer.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/prior_means.hpp"
#include "incidence.hpp"
#include "require.hpp"
#include "row_pulls.hpp"
#include "serving/json.hpp"
#include "threads.hpp"
#include "warpfactor/params.hpp"

namespace warpfactor {
namespace {

/// Ratings of a task, about. Not measured.
constexpr std::int64_t kTaskOfFoldIn = 2048;

std::size_t at(std::int64_t n) { return static_cast<std::size_t>(n); }

/// The rows that are folded in, or those that stay as they are.
template <class T>
struct SideView {
  std::int32_t n = 0;
  std::span<const T> factors, biases;
  std::span<const std::uint32_t> counts;

  [[nodiscard]] bool knows(std::int32_t row) const { return counts.empty() || counts[at(row)] > 0; }
  [[nodiscard]] T bias(std::int32_t row) const { return biases.empty() ? T(0) : biases[at(row)]; }
};

template <class T>
SideView<T> side_of(const ModelView<T>& model, bool users) {
  if (users) return {model.n_users, model.user_factors, model.user_biases, model.user_counts};
  return {model.n_items, model.item_factors, model.item_biases, model.item_counts};
}

template <class T>
void validate(const SideView<T>& side, std::int64_t n_factors, const char* factors, const char* biases,
              const char* counts) {
  require_size(side.factors.size(), side.n * n_factors, factors);
  if (!side.biases.empty()) require_size(side.biases.size(), side.n, biases);
  if (!side.counts.empty()) require_size(side.counts.size(), side.n, counts);
}

template <class T>
void validate(const ModelView<T>& model) {
  require(model.n_factors >= 1, "n_factors", model.n_factors, "at least 1");
  validate(side_of(model, true), model.n_factors, "user_factors", "user_biases", "user_counts");
  validate(side_of(model, false), model.n_factors, "item_factors", "item_biases", "item_counts");
}

void validate(const RowListsView& lists, const char* name, std::int64_t n_rows, std::int64_t n_others) {
  require_size(lists.indptr.size(), n_rows + 1, name);
  const bool fit = lists.indptr.front() == 0 && lists.indptr.back() == static_cast<std::int64_t>(lists.items.size()) &&
                   std::is_sorted(lists.indptr.begin(), lists.indptr.end()) &&
                   std::all_of(lists.items.begin(), lists.items.end(),
                               [=](std::int32_t other) { return other >= 0 && other < n_others; });
  if (!fit) {
    reject(std::string(name) + " must rise from 0 to the number of others, which must be from 0 to " +
           text(n_others - 1));
  }
}

/// The ratings of each row, in the order given, without those that count for nothing.
struct RowRatings {
  std::vector<std::int64_t> begin;
  std::vector<std::int32_t> others;
  std::vector<float> values, weights;  // weights: empty if all are 1
};

template <class T>
RowRatings ratings_by_row(const RatingsView& ratings, bool users, const SideView<T>& other) {
  const auto& rows = users ? ratings.users : ratings.items;
  const auto& others = users ? ratings.items : ratings.users;
  const std::int32_t n_rows = users ? ratings.n_users : ratings.n_items;
  require_size(rows.size(), ratings.size(), users ? "ratings.users" : "ratings.items");
  require_size(others.size(), ratings.size(), users ? "ratings.items" : "ratings.users");
  if (!ratings.weights.empty()) require_size(ratings.weights.size(), ratings.size(), "ratings.weights");
  RowRatings sorted;
  sorted.begin.assign(at(n_rows) + 1, 0);
  const auto counts = [&](std::size_t r) {
    return other.knows(others[r]) && (ratings.weights.empty() || ratings.weights[r] > 0);
  };
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const auto number = static_cast<std::int64_t>(r);
    if (rows[r] < 0 || rows[r] >= n_rows) {
      reject(element(users ? "ratings.users" : "ratings.items", number), rows[r], "from 0 to " + text(n_rows - 1));
    }
    if (others[r] < 0 || others[r] >= other.n) {
      reject(element(users ? "ratings.items" : "ratings.users", number), others[r], "from 0 to " + text(other.n - 1));
    }
    if (!std::isfinite(ratings.values[r])) reject(element("ratings.values", number), ratings.values[r], "finite");
    if (!ratings.weights.empty() && !(ratings.weights[r] >= 0 && std::isfinite(ratings.weights[r]))) {
      reject(element("ratings.weights", number), ratings.weights[r], "finite and at least 0");
    }
    if (counts(r)) ++sorted.begin[at(rows[r]) + 1];
  }
  for (std::size_t row = 0; row + 1 < sorted.begin.size(); ++row) sorted.begin[row + 1] += sorted.begin[row];
  std::vector<std::int64_t> next(sorted.begin.begin(), sorted.begin.end() - 1);
  const std::size_t n = at(sorted.begin.back());
  sorted.others.resize(n);
  sorted.values.resize(n);
  if (!ratings.weights.empty()) sorted.weights.resize(n);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (!counts(r)) continue;
    const std::size_t to = at(next[at(rows[r])]++);
    sorted.others[to] = others[r];
    sorted.values[to] = ratings.values[r];
    if (!ratings.weights.empty()) sorted.weights[to] = ratings.weights[r];
  }
  return sorted;
}

/// What a thread works in.
template <class T>
struct Scratch {
  Buffer<T> others, values, weights, numbers, factors, means;
  std::vector<std::int32_t> distinct;

  static T* room(Buffer<T>& buffer, std::int64_t size) {
    if (buffer.size() < size) buffer = Buffer<T>(size + size / 4);
    return buffer.data();
  }
};

template <class T>
class FoldIn {
 public:
  FoldIn(const ModelView<T>& model, bool users, const RowRatings& ratings, const FoldInStrengths& strengths,
         const PriorCoefficientsView<T>& coefficients, const EarlierRows<T>& earlier, FoldedRows<T>& out)
      : kernels_(kernel_table().kernels<T>()),
        other_(side_of(model, !users)),
        ratings_(ratings),
        strengths_(strengths),
        coefficients_(coefficients),
        earlier_(earlier),
        out_(out),
        k_(model.n_factors),
        stride_(padded_stride<T>(model.n_factors)),
        mean_(model.global_mean),
        start_bias_(model.start_bias),
        biases_(model.biases) {}

  void row(std::int64_t row, Scratch<T>& scratch) const {
    const std::int64_t begin = ratings_.begin[at(row)], n_now = ratings_.begin[at(row) + 1] - begin;
    const std::span<const std::int32_t> now(ratings_.others.data() + begin, at(n_now)), before = others_before(row);
    const std::int64_t n = n_now + static_cast<std::int64_t>(before.size());
    T* const to = out_.factors.data() + row * k_;
    if (n == 0) {
      out_.biases[at(row)] = static_cast<T>(start_bias_);
      return;  // zeros
    }
    T* const means = Scratch<T>::room(scratch.means, 2 * stride_);
    T* const means_before = means + stride_;
    double weight = before.empty() ? 0 : static_cast<double>(earlier_.counts[at(row)]);
    const double factors_before = strength(strengths_.reg, strengths_.reg_row, weight),
                 bias_before = strength(strengths_.reg_bias, strengths_.reg_bias_row, weight);
    for (std::int64_t r = begin; r < begin + n_now; ++r) {
      weight += ratings_.weights.empty() ? 1.0 : static_cast<double>(ratings_.weights[at(r)]);
    }
    const double of_factors = strength(strengths_.reg, strengths_.reg_row, weight),
                 of_bias = strength(strengths_.reg_bias, strengths_.reg_bias_row, weight);
    T bias_mean = prior(before, now, means, scratch.distinct);
    const T* const factors = earlier_.factors.data() + row * k_;
    const T bias = before.empty() ? T(0) : earlier_.biases[at(row)];
    if (!before.empty()) {
      // What the earlier ratings left of the row beyond its prior mean, as far as its penalty goes.
      const T bias_mean_before = prior(before, {}, means_before, scratch.distinct);
      const T share = static_cast<T>(factors_before / of_factors);
      for (std::int64_t f = 0; f < k_; ++f) means[f] += share * (factors[f] - means_before[f]);
      bias_mean += static_cast<T>(bias_before / of_bias) * (bias - bias_mean_before);
    }

    const std::int64_t groups = (n + kGroup - 1) / kGroup * kGroup;
    const RidgeSize<T> size(n, k_);
    T* const others = Scratch<T>::room(scratch.others, groups * stride_);
    T* const values = Scratch<T>::room(scratch.values, groups);
    T* const weights = Scratch<T>::room(scratch.weights, groups);
    std::int64_t r = 0;
    for (const std::int32_t other : now) {
      gather(other, others + r * stride_);
      const std::size_t from = at(begin + r);
      values[r] = static_cast<T>(static_cast<double>(ratings_.values[from]) - mean_) - other_.bias(other);
      weights[r] = ratings_.weights.empty() ? T(1) : static_cast<T>(ratings_.weights[from]);
      ++r;
    }
    for (const std::int32_t other : before) {
      T* const own = others + r * stride_;
      gather(other, own);
      values[r] = bias;
      for (std::int64_t f = 0; f < k_; ++f) values[r] += factors[f] * own[f];
      weights[r++] = T(1);
    }
    std::fill(others + n * stride_, others + groups * stride_, T(0));

    RidgeRow<T> ridge{};
    ridge.others = others;
    ridge.n_factors = k_;
    ridge.stride = stride_;
    ridge.n_ratings = n;
    ridge.values = values;
    ridge.weights = ratings_.weights.empty() ? nullptr : weights;
    ridge.means = means;
    ridge.bias_mean = bias_mean;
    ridge.has_bias = biases_;
    // In the units of the ratings: factors are as long as there, times the root of the scale.
    ridge.strength = static_cast<T>(of_factors * strengths_.score_scale);
    ridge.bias_strength = static_cast<T>(of_bias);
    ridge.scratch = Scratch<T>::room(scratch.numbers, size.scratch);
    ridge.factors = Scratch<T>::room(scratch.factors, stride_);
    ridge.bias = &out_.biases[at(row)];
    kernels_.solve_ridge(ridge);
    std::copy_n(ridge.factors, k_, to);
  }

 private:
  static double strength(double per_rating, double per_row, double n) {
    return std::max(per_rating * n + per_row, FoldInStrengths::kLeast);
  }

  [[nodiscard]] std::span<const std::int32_t> others_before(std::int64_t row) const {
    if (earlier_.others.indptr.empty() || earlier_.counts[at(row)] == 0) return {};
    const std::int64_t begin = earlier_.others.indptr[at(row)];
    return earlier_.others.items.subspan(at(begin), at(earlier_.others.indptr[at(row) + 1] - begin));
  }

  void gather(std::int32_t other, T* to) const {
    std::copy_n(other_.factors.data() + other * k_, k_, to);
    std::fill(to + k_, to + stride_, T(0));
  }

  /// The prior mean of a row with ratings of these, each of which counts once; returns that of its bias.
  T prior(std::span<const std::int32_t> before, std::span<const std::int32_t> now, T* means,
          std::vector<std::int32_t>& distinct) const {
    std::fill_n(means, stride_, T(0));
    if (coefficients_.factors.empty()) return T(0);
    distinct.assign(before.begin(), before.end());
    distinct.insert(distinct.end(), now.begin(), now.end());
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    T bias = 0;
    for (const std::int32_t other : distinct) {
      const T* const y = coefficients_.factors.data() + other * k_;
      for (std::int64_t f = 0; f < k_; ++f) means[f] += y[f];
      bias += coefficients_.biases[at(other)];
    }
    const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(distinct.size())));
    for (std::int64_t f = 0; f < k_; ++f) means[f] *= scale;
    return biases_ ? bias * scale : T(0);
  }

  const Kernels<T>& kernels_;
  SideView<T> other_;
  const RowRatings& ratings_;
  const FoldInStrengths& strengths_;
  const PriorCoefficientsView<T>& coefficients_;
  const EarlierRows<T>& earlier_;
  FoldedRows<T>& out_;
  std::int64_t k_, stride_;
  double mean_, start_bias_;
  bool biases_;
};

void validate(const FoldInStrengths& strengths) {
  const std::pair<const char*, double> all[] = {{"strengths.reg", strengths.reg},
                                                {"strengths.reg_bias", strengths.reg_bias},
                                                {"strengths.reg_row", strengths.reg_row},
                                                {"strengths.reg_bias_row", strengths.reg_bias_row},
                                                {"strengths.reg_implicit", strengths.reg_implicit}};
  for (const auto& [name, value] : all) {
    require(value >= 0 && std::isfinite(value), name, value, "finite and at least 0");
  }
  require(strengths.score_scale > 0 && std::isfinite(strengths.score_scale), "strengths.score_scale",
          strengths.score_scale, "finite and above 0");
}

/// What a model was trained with, from the parameters and what training chose.
class Told {
 public:
  Told(const std::string& params, const std::string& chosen)
      : params_(json::parse(params)), chosen_(json::parse(chosen)) {}

  /// nullptr if it is told nowhere, or left open.
  [[nodiscard]] const json::Value* find(std::string_view name) const {
    for (const json::Value* all : {&chosen_, &params_}) {
      for (const auto& [key, value] : all->object()) {
        if (key == name && !value.is_null()) return &value;
      }
    }
    return nullptr;
  }
  [[nodiscard]] double strength(const char* name, bool users) const {
    const json::Value* const value = find(name);
    try {
      if (value != nullptr && !value->is_array()) return value->number();
      if (value != nullptr && value->array().size() == 2) return value->array()[users ? 0 : 1].number();
    } catch (const json::Error&) {  // a word, which leaves it open
    }
    reject(std::string("the model does not tell the ") + name +
           " that it was trained with, as models of train() do: train one to fold rows in");
  }

 private:
  json::Value params_, chosen_;
};

}  // namespace

FoldInStrengths fold_in_strengths(const ToldTraining& training, Side side) {
  const Told told(training.params, training.chosen);
  const bool users = side == Side::users;
  const auto refuse = [](const std::string& what, const std::string& wanted) {
    reject("the model was trained with " + what + ", where the row of a user or item has no closed form: fold rows " +
           "into a model with " + wanted + ", or train one on all ratings");
  };
  if (training.has_members) {
    reject(
        "the model is the mean of several members, whose rows are not of one training: fold rows into a model of one "
        "training, or train one on all ratings");
  }
  if (training.loss != Loss::squared) refuse(std::string("the loss ") + name_of(training.loss), "the squared loss");
  if (const auto* const share = told.find("l1_ratio"); share != nullptr && share->number() > 0) {
    refuse("an L1 part (l1_ratio)", "l1_ratio 0");
  }
  if (const auto* const kept = told.find("nonnegative"); kept != nullptr && kept->boolean()) {
    refuse("nonnegative factors", "factors of any sign");
  }
  if (told.find("penalty") != nullptr) refuse("a penalty of your own", "L2 penalties");
  FoldInStrengths strengths;
  strengths.score_scale = training.score_scale;
  if (!std::isfinite(strengths.score_scale)) {
    reject("the model's file does not tell its score_scale, which files of before it lack: train the model again");
  }
  strengths.reg = told.strength("reg", users);
  strengths.reg_bias = told.strength("reg_bias", users);
  strengths.reg_row = told.strength("reg_row", users);
  strengths.reg_bias_row = told.strength("reg_bias_row", users);
  const json::Value* const implicit = told.find("implicit_feedback");
  const std::string means = implicit == nullptr ? "none" : implicit->string();
  if (means == name_of(ImplicitFeedback::both) ||
      means == name_of(users ? ImplicitFeedback::users : ImplicitFeedback::items)) {
    strengths.reg_implicit = told.strength("reg_implicit", users);
  }
  return strengths;
}

template <class T>
FoldInStrengths fold_in_strengths(const Model<T>& model, Side side) {
  return fold_in_strengths({model.params, model.chosen, model.loss, model.training.score_scale, !model.members.empty()},
                           side);
}

template <class T>
PriorCoefficients<T> prior_coefficients(const ModelView<T>& model, Side side, const RowListsView& seen,
                                        double reg_implicit, const AnswerOptions& options) {
  validate(model);
  require(reg_implicit > 0 && std::isfinite(reg_implicit), "reg_implicit", reg_implicit, "finite and above 0");
  validate(seen, "seen.indptr", model.n_users, model.n_items);
  const bool users = side == Side::users;
  const SideView<T> own = side_of(model, users), other = side_of(model, !users);
  const std::int64_t k = model.n_factors, stride = padded_stride<T>(k);
  const auto n_pairs = static_cast<std::int64_t>(seen.items.size());

  std::vector<std::int32_t> pair_users(seen.items.size());
  for (std::int64_t user = 0; user < model.n_users; ++user) {
    std::fill(pair_users.begin() + seen.indptr[at(user)], pair_users.begin() + seen.indptr[at(user) + 1],
              static_cast<std::int32_t>(user));
  }
  const RowLists by_item = group_by_user(seen.items, pair_users, model.n_items);
  const auto rows_of = [n_pairs](const RowListsView& lists) {
    IncidentRows rows;
    rows.begin.assign(lists.indptr.begin(), lists.indptr.end());
    rows.others = Buffer<std::int32_t>(n_pairs);
    std::copy(lists.items.begin(), lists.items.end(), rows.others.data());
    return rows;
  };
  const IncidentRows of_users = rows_of(seen), of_items = rows_of(by_item);

  ThreadTeam team(team_size(options.n_threads, n_pairs * stride / ThreadTeam::kSlice + 1), options.interrupted);
  MeansWork<T> user_work(model.n_users, stride), item_work(model.n_items, stride);
  PriorMeans<T> fit(kernel_table().kernels<T>(), users ? of_users : of_items, users ? of_items : of_users,
                    users ? user_work : item_work, users ? item_work : user_work, stride, reg_implicit,
                    kBiasRho * reg_implicit, team);
  Buffer<T> factors(own.n * stride), means(own.n * stride);
  std::fill_n(factors.data(), factors.size(), T(0));
  std::fill_n(means.data(), means.size(), T(0));
  for (std::int64_t row = 0; row < own.n; ++row) {
    std::copy_n(own.factors.data() + row * k, k, factors.data() + row * stride);
  }
  std::vector<RowPull<T>> pulls(at(own.n));
  const bool biases = model.biases && !own.biases.empty();
  for (int step = 0; step < kMeansSteps; ++step) {
    fit.step(factors.data(), biases ? own.biases.data() : nullptr, means.data(), pulls.data(), stride, team);
  }
  PriorCoefficients<T> y;
  y.factors.resize(at(other.n * k));
  for (std::int64_t row = 0; row < other.n; ++row) {
    std::copy_n(fit.coefficients() + row * stride, k, y.factors.data() + row * k);
  }
  y.biases.assign(fit.bias_coefficients(), fit.bias_coefficients() + other.n);
  return y;
}

template <class T>
FoldedRows<T> fold_in(const ModelView<T>& model, Side side, const RatingsView& ratings,
                      const FoldInStrengths& strengths,
                      const std::type_identity_t<PriorCoefficientsView<T>>& coefficients, const EarlierRows<T>& earlier,
                      const AnswerOptions& options) {
  validate(model);
  validate(strengths);
  const bool users = side == Side::users;
  const SideView<T> other = side_of(model, !users);
  const std::int64_t n_rows = users ? ratings.n_users : ratings.n_items;
  if (!coefficients.factors.empty()) {
    require_size(coefficients.factors.size(), std::int64_t{other.n} * model.n_factors, "coefficients.factors");
    require_size(coefficients.biases.size(), other.n, "coefficients.biases");
  }
  if (!earlier.others.indptr.empty()) {
    validate(earlier.others, "earlier.others.indptr", n_rows, other.n);
    require_size(earlier.factors.size(), n_rows * model.n_factors, "earlier.factors");
    require_size(earlier.biases.size(), n_rows, "earlier.biases");
    require_size(earlier.counts.size(), n_rows, "earlier.counts");
  }
  const RowRatings sorted = ratings_by_row(ratings, users, other);
  FoldedRows<T> out;
  out.factors.assign(at(n_rows * model.n_factors), T(0));
  out.biases.assign(at(n_rows), T(0));
  std::vector<std::int64_t> begin = sorted.begin;
  for (std::size_t row = 0; row < begin.size() && !earlier.others.indptr.empty(); ++row) {
    begin[row] += earlier.others.indptr[row];
  }
  const std::vector<std::int64_t> tasks = ranges_of(begin, kTaskOfFoldIn);
  const FoldIn<T> fold(model, users, sorted, strengths, coefficients, earlier, out);
  const auto n_tasks = static_cast<std::int64_t>(tasks.size()) - 1;
  ThreadTeam team(team_size(options.n_threads, n_tasks), options.interrupted);
  std::vector<Scratch<T>> scratches(static_cast<std::size_t>(team.size()));
  team.run(n_tasks, [&](std::int64_t task, int thread) {
    for (std::int64_t row = tasks[at(task)]; row < tasks[at(task) + 1]; ++row) {
      if (team.poll(thread)) return;
      fold.row(row, scratches[static_cast<std::size_t>(thread)]);
    }
  });
  return out;
}

template <class T>
FoldedRows<T> fold_in(const Model<T>& model, Side side, const RatingsView& ratings, const AnswerOptions& options) {
  const FoldInStrengths strengths = fold_in_strengths(model, side);
  PriorCoefficients<T> coefficients;
  if (strengths.reg_implicit > 0) {
    if (model.seen.indptr.empty()) {
      reject(
          "seen is empty; it must be what each user rated, of which the prior means are made: "
          "model.seen = group_by_user(users, items, n_users)");
    }
    coefficients = prior_coefficients<T>(model.view(), side, model.seen, strengths.reg_implicit, options);
  }
  return fold_in<T>(model.view(), side, ratings, strengths, coefficients, {}, options);
}

#define WARPFACTOR_DEFINE_FOR(T)                                                                                \
  template FoldInStrengths fold_in_strengths(const Model<T>&, Side);                                            \
  template PriorCoefficients<T> prior_coefficients(const ModelView<T>&, Side, const RowListsView&, double,      \
                                                   const AnswerOptions&);                                       \
  template FoldedRows<T> fold_in(const ModelView<T>&, Side, const RatingsView&, const FoldInStrengths&,         \
                                 const PriorCoefficientsView<T>&, const EarlierRows<T>&, const AnswerOptions&); \
  template FoldedRows<T> fold_in(const Model<T>&, Side, const RatingsView&, const AnswerOptions&);
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
