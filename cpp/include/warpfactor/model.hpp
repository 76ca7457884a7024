// SPDX-License-Identifier: Apache-2.0
// The fitted model: what it holds, and what it predicts, recommends and finds similar.
#pragma once

#include "warpfactor/standard.hpp"

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "warpfactor/loss.hpp"

namespace warpfactor {

/// What few ratings leave unknown of scores, borrowed from an Uncertainty.
template <class T>
struct UncertaintyView {
  std::span<const T> bias_variances{};    ///< n_items; empty: there is nothing to move scores by
  std::span<const T> factor_variances{};  ///< n_items; empty: zeros
  std::span<const T> user_lengths{};      ///< n_users + 1; empty: zeros
};

/// Borrowed parts of a model. The score of (u, i) is
///   x = global_mean + user_biases[u] + item_biases[i] + sum_f user_factors[u][f] * item_factors[i][f]
/// and the prediction what `link` makes of it. A row is unknown if its number is -1 or its count 0: it has no factors,
/// and `start_bias` for a bias. A pair with an unknown row gets `rating_mean` from a model without biases.
template <class T>
struct ModelView {
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;
  std::int32_t n_factors = 0;
  std::span<const T> user_factors{};  ///< n_users rows of n_factors, without padding
  std::span<const T> item_factors{};  ///< n_items rows
  std::span<const T> user_biases{};   ///< empty: all 0
  std::span<const T> item_biases{};
  std::span<const std::uint32_t> user_counts{};  ///< training ratings of each row; empty: all rows are known
  std::span<const std::uint32_t> item_counts{};
  double global_mean = 0;
  double rating_mean = 0;
  double start_bias = 0;
  bool biases = true;  ///< false: trained without global mean and biases
  Link link = Link::identity;
  UncertaintyView<T> uncertainty{};  ///< see Uncertainty; confidence and exploration need it
};

/// What to do about an unknown user or item.
enum class Unknown {
  mean,   ///< predict from the means and the known side's bias
  nan,    ///< predict NaN; recommend and similar_items throw std::invalid_argument
  raise,  ///< throw std::invalid_argument
};

/// Borrowed lists of items, one for each user code: user u has items[indptr[u]] .. items[indptr[u + 1] - 1].
struct RowListsView {
  std::span<const std::int64_t> indptr{};  ///< n_users + 1; empty: no lists
  std::span<const std::int32_t> items{};
};

/// What the score of a group is of the scores of its members: their mean, the lowest (least misery), the highest.
enum class GroupRule { mean, min, max };

/// How `predict`, `recommend`, `score_items` and `similar_items` work; every part is optional.
struct AnswerOptions {
  Unknown unknown = Unknown::mean;
  /// recommend: each score x is lowered (confidence) or raised (exploration) by so many of its standard deviations
  /// s_ui, at least 0, and only one of them is above 0. See Uncertainty.
  double confidence = 0, exploration = 0;
  /// With exploration z > 0: in place of the upper bound each pair has a draw from the normal distribution of mean x
  /// and deviation z s_ui (Thompson sampling). The draw depends on the seed, the user's and the item's code alone.
  std::optional<std::uint64_t> seed{};
  /// recommend: from 0 to 1; above 0 the list is chosen by maximal marginal relevance among the kPoolFactor n best: the
  /// best item first, then again and again the item of the largest (1 - d) rel(i) - d max_j cos(q_i, q_j) over the
  /// chosen j, ties by higher score. rel is the score, scaled to run from 0 to 1 over those items. See J. Carbonell and
  /// J. Goldstein, "The use of MMR, diversity-based reranking" (SIGIR 1998).
  double diversity = 0;
  static constexpr std::int32_t kPoolFactor = 10;
  /// recommend: which items may be recommended, n_items flags; empty: all.
  std::span<const bool> allowed{};
  /// recommend: for each query the items that its list is chosen from (only), and items that are left out beside the
  /// seen ones (without); -1 stands for no item. Without lists: from all, and none.
  RowListsView only{}, without{};
  /// recommend: query g is the group of users[groups[g]] .. users[groups[g + 1] - 1], at least one; empty: each user is
  /// a query. What any member has seen is left out. Unknown members are left out of a group that has known ones.
  std::span<const std::int64_t> groups{};
  GroupRule group_rule = GroupRule::mean;
  std::int32_t n_threads = 0;           ///< 0: available_threads()
  std::function<bool()> interrupted{};  ///< polled on the calling thread every 50 ms; true throws Interrupted
};

/// Lists of items, one for each user code.
struct RowLists {
  std::vector<std::int64_t> indptr;
  std::vector<std::int32_t> items;

  /// The items of a user; the code must be in range.
  [[nodiscard]] std::span<const std::int32_t> operator[](std::int32_t user) const;
  operator RowListsView() const noexcept { return {indptr, items}; }  // NOLINT: recommend takes either
};

/// The items of each user, sorted and without repeats, from COO pairs. Works on all available threads.
RowLists group_by_user(std::span<const std::int32_t> users, std::span<const std::int32_t> items, std::int32_t n_users);

/// out[n] = the prediction for (users[n], items[n]); -1 stands for an unknown row.
template <class T>
void predict(const ModelView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
             std::span<T> out, const AnswerOptions& options = {});

/// For each of `users` (-1: unknown) the n known items of the highest score, best first, ties by lower code, without
/// those in the user's list of `seen` (nothing is left out for unknown users, or if there are no lists). Row m of
/// `items` and `predictions` has n slots; those beyond the items that are left hold -1 and NaN. With a confidence z
/// above 0, items are ranked by the lower confidence bound x - z s_ui, with an exploration by the upper one or a draw,
/// and `predictions` are what the link makes of those; s_ui is that of Uncertainty. A group's score is the mean, the
/// least or the highest of its members' scores (or bounds, or draws). Candidates, exclusions, groups and diversity: see
/// AnswerOptions.
template <class T>
void recommend(const ModelView<T>& model, std::span<const std::int32_t> users, std::int32_t n, const RowListsView& seen,
               std::span<std::int32_t> items, std::span<T> predictions, const AnswerOptions& options = {});

/// What few ratings leave unknown of the scores of items. The standard deviation s_ui of the score of (u, i), given all
/// ratings, for a user who is known as far as their ratings tell:
///   s_ui^2 = B_i + L_u F_i
///   B_i = 1 / (n_i / v + 1 / t_b)             the posterior variance of b_i; 0 without biases
///   F_i = 1 / (n_i P / (k v) + 1 / t_q)       that of each factor of item i
///   L_u = |p_u|^2 + k / (n_u Q / (k v) + 1 / t_p)   the expected squared length of the user's factors
/// n_i, n_u: the item's and the user's ratings. v: the variance of a rating about its score, train_rmse^2; for labels
/// about probabilities, the reciprocal of the Fisher information of a label's score, p (1 - p) = train_rmse^2 of labels
/// 0 and 1. P, Q: the means of |p_u|^2 and |q_i|^2 over the ratings. t_b, t_q, t_p: the variances of item biases (about
/// start_bias), and of the elements of item and user factors, by empirical Bayes: a variance is the mean over the known
/// rows of a squared estimate plus its posterior variance. Correlations between factors are neglected. What is not
/// known of the user's own taste, d_u^2 |q_i|^2 with d_u^2 the second term of L_u over k, is left out: it would mark
/// down items with long factors, which are the liked ones. See L. Li et al., "A contextual-bandit approach to
/// personalized news article recommendation" (WWW 2010), for a linear model's bound, and C. Morris, "Parametric
/// empirical Bayes inference" (JASA 1983).
template <class T>
struct Uncertainty {
  std::vector<T> bias_variances;    ///< B_i, n_items
  std::vector<T> factor_variances;  ///< F_i, n_items
  std::vector<T> user_lengths;      ///< L_u, n_users + 1: the last is k t_p, that of a user who is not there
  double noise = 0;                 ///< v

  operator UncertaintyView<T>() const noexcept {  // NOLINT: a view takes either
    return {bias_variances, factor_variances, user_lengths};
  }
};

/// train_rmse: of the epoch that the model is of (EpochReport), at least 0. n_members: of a folded model, whose k is
/// that of its members in the mean. Needs both sides' counts.
template <class T>
Uncertainty<T> uncertainty(const ModelView<T>& model, double train_rmse, std::int32_t n_members = 1);

/// out[m * items.size() + j] = the prediction for (users[m], items[j]), to the bit as `recommend` has it; -1 stands for
/// an unknown row.
template <class T>
void score_items(const ModelView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
                 std::span<T> out, const AnswerOptions& options = {});

/// For each of `items`, which must be known, the n other known items whose factors point most nearly the same way, with
/// the cosines of the angles. Slots as in `recommend`.
template <class T>
void similar_items(const ModelView<T>& model, std::span<const std::int32_t> items, std::int32_t n,
                   std::span<std::int32_t> similar, std::span<T> cosines, const AnswerOptions& options = {});

/// The ids of a side's rows: integers, strings or UUIDs (as their text), sorted and distinct. A code is a position.
class Ids {
 public:
  enum class Kind { integers, strings, uuids };
  using Id = std::variant<std::int64_t, std::uint64_t, std::string_view>;

  Ids() = default;  ///< of no rows
  /// Each throws std::invalid_argument unless the ids are sorted (texts by their bytes) and distinct, and texts UTF-8;
  /// UUIDs are written as in "0e37df36-f698-11e6-8dd4-cb9ced3df976".
  explicit Ids(std::vector<std::int64_t> ids);
  explicit Ids(std::vector<std::uint64_t> ids);
  explicit Ids(std::span<const std::string> ids, Kind kind = Kind::strings);
  /// Of texts one after the other: id c is all_text[offsets[c]] .. all_text[offsets[c + 1] - 1].
  Ids(std::string all_text, std::vector<std::int64_t> offsets, Kind kind);
  static Ids numbered(std::int32_t n);  ///< 0, 1, .. n - 1

  [[nodiscard]] std::int32_t size() const noexcept;
  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  /// The code of an id, -1 if it is not there. Throws std::invalid_argument if ids are of the other kind.
  template <std::integral I>
  [[nodiscard]] std::int32_t find(I id) const {
    if constexpr (std::signed_integral<I>) {
      if (id < 0) return find_negative(id);
    }
    return find_positive(static_cast<std::uint64_t>(id));
  }
  [[nodiscard]] std::int32_t find(std::string_view id) const;
  /// The code whose to_string() is this text, of ids of any kind; -1 if there is none. For ids that people type.
  [[nodiscard]] std::int32_t find_text(std::string_view id) const;
  /// The id of a code. Throws std::out_of_range.
  [[nodiscard]] Id at(std::int32_t code) const;
  [[nodiscard]] std::string to_string(std::int32_t code) const;  ///< likewise, integers in decimal

  /// The parts as a file has them; those of the other kind are empty.
  [[nodiscard]] std::span<const std::int64_t> signed_integers() const noexcept { return signed_; }
  [[nodiscard]] std::span<const std::uint64_t> unsigned_integers() const noexcept { return unsigned_; }
  [[nodiscard]] std::span<const std::int64_t> offsets() const noexcept { return offsets_; }
  [[nodiscard]] std::string_view all_text() const noexcept { return text_; }

  bool operator==(const Ids&) const = default;

 private:
  [[nodiscard]] std::int32_t find_negative(std::int64_t id) const;
  [[nodiscard]] std::int32_t find_positive(std::uint64_t id) const;
  [[nodiscard]] std::string_view text_at(std::size_t code) const;
  template <class I>
  void require_integers(I id) const;

  Kind kind_ = Kind::integers;
  std::vector<std::int64_t> signed_;
  std::vector<std::uint64_t> unsigned_;
  std::string text_;
  std::vector<std::int64_t> offsets_;
};

/// One epoch as it ended. RMSEs are those of the predicted ratings, in the units of the ratings as given. Losses are
/// the mean of l(r, x) as `Loss` has it, in those units too (the squared loss without its half, so it is the squared
/// RMSE; huber's delta counts in standard deviations; labels count as -1 and 1).
struct EpochReport {
  std::int32_t epoch = 0;  ///< 1-based
  double seconds = 0;      ///< wall time of this epoch, its validation included
  double learning_rate = 0;
  /// Over the pass itself: each rating's error before its own update (on the CPU before the update of the first of
  /// eight), so it lags the model a little. During a warm-up of the factors that take part.
  double train_rmse = 0;
  double train_loss = 0;                                         ///< likewise
  double valid_rmse = std::numeric_limits<double>::quiet_NaN();  ///< after the epoch; NaN without validation
  double valid_loss = std::numeric_limits<double>::quiet_NaN();
};

/// What the model was trained on, and how.
struct TrainingFacts {
  std::int32_t n_epochs = 0;    ///< the epoch that the model is of: the last one, or the best
  std::int32_t n_threads = 1;   ///< threads used
  std::string instruction_set;  ///< kernels used: baseline, avx2, avx512, or as sm_90 of a device
  std::int64_t n_ratings = 0;   ///< ratings of a weight above 0
  double rating_min = 0, rating_max = 0;
  /// One unit of a score in training, in the units of the ratings: s of TrainParams. NaN in files of before it.
  double score_scale = std::numeric_limits<double>::quiet_NaN();
};

/// An array of a model file that is handed on as it is.
struct StoredArray {
  std::string type;                 ///< as safetensors names it: "F32", "F64", "I32", ...
  std::vector<std::int64_t> shape;  ///< of as many elements as `bytes` holds
  std::vector<unsigned char> bytes;

  bool operator==(const StoredArray&) const = default;
};

/// A fitted model. T is float or double. Rows without a training rating have zero factors, unless the caller gave
/// the initial ones; their biases are `start_bias`.
template <class T>
struct Model {
  std::int32_t n_users = 0;
  std::int32_t n_items = 0;
  std::int32_t n_factors = 0;
  double global_mean = 0;  ///< mu, see TrainParams; 0 without biases
  /// The (weighted) mean of the training ratings, with or without biases; 0 with squared_hinge, which predicts scores.
  double rating_mean = 0;
  std::vector<T> user_factors;  ///< n_users x n_factors
  std::vector<T> item_factors;  ///< n_items x n_factors
  std::vector<T> user_biases;   ///< n_users
  std::vector<T> item_biases;   ///< n_items
  double start_bias = 0;        ///< from where biases started, and the best guess for a row that is not there
  bool biases = true;           ///< whether it was trained with them
  Loss loss = Loss::squared;
  Link link = Link::identity;
  std::vector<std::uint32_t> user_counts, item_counts;  ///< ratings of each row, without those of weight 0
  Ids user_ids, item_ids;  ///< train() numbers the rows; put the ids in their place where there are some
  /// What each user rated, so that `recommend` can leave it out: empty after train(), which does not need it; see
  /// group_by_user.
  RowLists seen;
  TrainingFacts training;
  std::vector<EpochReport> history;
  std::string params = "{}";  ///< JSON object of the estimator's parameters by their Python names
  std::string chosen = "{}";  ///< likewise, of what training chose where the parameters leave it open
  /// Of a model that is the mean of several (an ensemble, samples of a posterior): what the file keeps of them beside
  /// the factors, for the standard deviations that Python predicts; by their names, "members.weights" and so on. `load`
  /// fills it and `save` writes it back. Predictions need none of it; to change the model's rows or factors, clear it.
  std::map<std::string, StoredArray> members;

  [[nodiscard]] ModelView<T> view() const noexcept {
    return {n_users,     n_items,     n_factors,   user_factors, item_factors, user_biases, item_biases,
            user_counts, item_counts, global_mean, rating_mean,  start_bias,   biases,      link};
  }
  /// The prediction for one pair, the same as `predict` has it; -1 stands for an unknown row. Throws
  /// std::invalid_argument for other rows that are not there.
  [[nodiscard]] T predict(std::int32_t user, std::int32_t item) const;
  /// The same as `uncertainty` has it, for `recommend` with a confidence or exploration: put it into the view. Throws
  /// std::invalid_argument if the history does not have the epoch that the model is of.
  [[nodiscard]] Uncertainty<T> uncertainty() const;
};

/// A file of a model or a checkpoint cannot be read or written; the text names the file and says what to do.
class ModelFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Writes the model to one safetensors file, which Python's `warpfactor.load` reads too. It is written under a
/// temporary name and renamed: a crash leaves an old file whole. Throws ModelFileError, or std::invalid_argument if the
/// model's parts do not fit together.
template <class T>
void save(const Model<T>& model, const std::filesystem::path& path);

/// Reads a model that `save` here or in Python has written. T must be the file's type: Python's default, float32, is
/// float. Throws ModelFileError.
template <class T>
Model<T> load(const std::filesystem::path& path);

}  // namespace warpfactor
