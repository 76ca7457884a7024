// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "random.hpp"
#include "require.hpp"
#include "serving/answering.hpp"
#include "serving/top_n.hpp"
#include "threads.hpp"
#include "warpfactor/model.hpp"

namespace warpfactor {
namespace {

/// Copies of the rows of some items.
template <class T>
struct GatheredItems {
  std::vector<std::int32_t> items;
  std::vector<T> rows, biases;

  /// Copies the rows of `items`; -1 stands for a row of zeros.
  void gather(const T* from, const T* from_biases, std::int64_t n_factors) {
    rows.assign(items.size() * static_cast<std::size_t>(n_factors), 0);
    biases.assign(items.size(), 0);
    for (std::size_t at = 0; at < items.size(); ++at) {
      if (items[at] < 0) continue;
      std::copy_n(from + items[at] * n_factors, n_factors, rows.begin() + static_cast<std::ptrdiff_t>(at) * n_factors);
      if (from_biases != nullptr) biases[at] = from_biases[items[at]];
    }
  }
  [[nodiscard]] ItemRows<T> view() const {
    return {rows.data(), biases.data(), items.data(), static_cast<std::int32_t>(items.size())};
  }
};

/// The sum of squares in the order of numpy.add.reduce, so that cosines have the bits they have always had.
template <class T>
T sum_of_squares(const T* values, std::int64_t n) {
  if (n < 8) {
    T sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += values[i] * values[i];
    return sum;
  }
  if (n > 128) {
    const std::int64_t half = n / 2 / 8 * 8;
    return sum_of_squares(values, half) + sum_of_squares(values + half, n - half);
  }
  T sums[8];
  for (std::int64_t i = 0; i < 8; ++i) sums[i] = values[i] * values[i];
  std::int64_t from = 8;
  for (; from + 8 <= n; from += 8) {
    for (std::int64_t i = 0; i < 8; ++i) sums[i] += values[from + i] * values[from + i];
  }
  T sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (; from < n; ++from) sum += values[from] * values[from];
  return sum;
}

/// Writes a row scaled to length 1; a row of zeros stays one.
template <class T>
void write_unit(const T* row, std::int64_t n, T* out) {
  // The smallest normal number keeps a row of zeros zero instead of NaN.
  const T length = std::max(std::sqrt(sum_of_squares(row, n)), std::numeric_limits<T>::min());
  std::transform(row, row + n, out, [length](T value) { return value / length; });
}

/// Reorders the best items by maximal marginal relevance and cuts them to n; see AnswerOptions::diversity.
template <class T>
class Diversifier {
 public:
  Diversifier(double diversity, std::int64_t n_factors) : diversity_(static_cast<T>(diversity)), k_(n_factors) {}

  void choose(const ItemRows<T>& from, std::int32_t n, std::vector<Scored<T>>& best) {
    while (!best.empty() && !std::isfinite(best.back().score)) best.pop_back();
    if (best.size() < 2) return;
    const std::size_t n_pool = best.size();
    units_.resize(n_pool * static_cast<std::size_t>(k_));
    for (std::size_t at = 0; at < n_pool; ++at) {
      write_unit(from.rows + best[at].at * k_, k_, units_.data() + static_cast<std::int64_t>(at) * k_);
    }
    const T top = best.front().score, span = top - best.back().score;
    taken_.assign(n_pool, false);
    nearest_.assign(n_pool, -1);
    cosines_.resize(n_pool);
    chosen_.clear();
    std::size_t next = 0;
    for (;;) {
      taken_[next] = true;
      chosen_.push_back(best[next]);
      if (chosen_.size() == std::min(n_pool, static_cast<std::size_t>(n))) break;
      kernel_table().kernels<T>().score_rows({units_.data() + static_cast<std::int64_t>(next) * k_, units_.data(),
                                              nullptr, 0, k_, static_cast<std::int64_t>(n_pool), cosines_.data()});
      T highest = -std::numeric_limits<T>::infinity();
      for (std::size_t at = 0; at < n_pool; ++at) {
        if (taken_[at]) continue;
        nearest_[at] = std::max(nearest_[at], cosines_[at]);
        const T relevance = span > 0 ? 1 - (top - best[at].score) / span : 0;
        const T worth = (1 - diversity_) * relevance - diversity_ * nearest_[at];
        if (worth > highest) {
          highest = worth;
          next = at;
        }
      }
    }
    best = chosen_;
  }

 private:
  T diversity_;
  std::int64_t k_;
  std::vector<T> units_, nearest_, cosines_;
  std::vector<bool> taken_;
  std::vector<Scored<T>> chosen_;
};

/// What the lists of a search are chosen from, and how.
template <class T>
struct SearchSpace {
  const T* rows;  ///< of all items
  const T* biases;
  std::int32_t n_items, n_factors;
  std::vector<bool> shut;  ///< by item: in no list
  RowListsView only;       ///< by query; see AnswerOptions
  double diversity = 0;

  /// The items that are not shut, gathered where that is worth it: at half of them the copy costs as much as the scores
  /// of a few queries. Not measured.
  [[nodiscard]] ItemRows<T> open(GatheredItems<T>& gathered) const {
    const ItemRows<T> all{rows, biases, nullptr, n_items};
    if (!only.indptr.empty() || std::count(shut.begin(), shut.end(), false) > n_items / 2) return all;
    for (std::int32_t item = 0; item < n_items; ++item) {
      if (!shut[static_cast<std::size_t>(item)]) gathered.items.push_back(item);
    }
    gathered.gather(rows, biases, n_factors);
    return gathered.view();
  }
};

/// Queries of a task of those that are scored one by one.
constexpr std::int64_t kOneByOneSlice = 16;

/// The row of a list.
std::span<const std::int32_t> row_of(const RowListsView& lists, std::int64_t row) {
  const auto at = static_cast<std::size_t>(row);
  return lists.items.subspan(static_cast<std::size_t>(lists.indptr[at]),
                             static_cast<std::size_t>(lists.indptr[at + 1] - lists.indptr[at]));
}

/// How a search scores its queries.
template <class Score, class Query>
struct Scoring {
  Score score;  ///< score(q, items, out) scores items
  Query query;  ///< query(q, row) writes a row, and returns an offset, such that score() is offset + bias + row . items
  bool products;  ///< whether query() can be called
};
template <class Score, class Query>  // Clang 14 finds none for an aggregate
Scoring(Score, Query, bool) -> Scoring<Score, Query>;

/// The n best items of each query. left_out(q, take) calls take(list) for each list of items to leave out; finish(q,
/// score) makes of a score what is put out.
template <class T, class LeaveOut, class Score, class Query, class Finish>
void search(const SearchSpace<T>& space, std::int64_t n_queries, std::int32_t n, std::span<std::int32_t> items,
            std::span<T> out, ThreadTeam& team, const LeaveOut& left_out, const Scoring<Score, Query>& scoring,
            const Finish& finish) {
  const Kernels<T>& kernels = kernel_table().kernels<T>();
  GatheredItems<T> shared;
  const ItemRows<T> open = space.open(shared);
  std::vector<std::int32_t> shut;  // positions in `open`
  for (std::int32_t at = 0; at < open.n; ++at) {
    if (space.shut[static_cast<std::size_t>(open.item(at))]) shut.push_back(at);
  }
  const std::int64_t most = space.diversity > 0 ? std::int64_t{n} * AnswerOptions::kPoolFactor : n;
  const auto n_selected = static_cast<std::int32_t>(std::min<std::int64_t>(most, space.n_items));
  const auto put_out = [&](std::int64_t q, const ItemRows<T>& from, const std::vector<Scored<T>>& best) {
    for (std::size_t slot = 0; slot < static_cast<std::size_t>(n); ++slot) {
      const std::size_t at = static_cast<std::size_t>(q) * static_cast<std::size_t>(n) + slot;
      const bool filled = slot < best.size() && std::isfinite(best[slot].score);
      items[at] = filled ? from.item(best[slot].at) : -1;
      out[at] = filled ? finish(q, best[slot].score) : std::numeric_limits<T>::quiet_NaN();
    }
  };
  const auto one_by_one = [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<T> scores(static_cast<std::size_t>(open.n));
    LeftOut left;
    TopN<T> best;
    GatheredItems<T> own;
    Diversifier<T> diversifier(space.diversity, space.n_factors);
    const bool listed_only = !space.only.indptr.empty();
    for (std::int64_t q = begin; q < end; ++q) {
      left.begin();
      left_out(q, [&](std::span<const std::int32_t> list) { left.add(list, open); });
      left.sort();
      ItemRows<T> from = open;
      if (listed_only) {  // `open` is all items
        const std::span<const std::int32_t> listed = row_of(space.only, q);
        own.items.clear();
        std::copy_if(listed.begin(), listed.end(), std::back_inserter(own.items), [&](std::int32_t item) {
          return item >= 0 && !space.shut[static_cast<std::size_t>(item)] && !left.has(item);
        });
        std::sort(own.items.begin(), own.items.end());
        own.items.erase(std::unique(own.items.begin(), own.items.end()), own.items.end());
        own.gather(space.rows, space.biases, space.n_factors);
        from = own.view();
      }
      scoring.score(q, from, scores.data());
      if (!listed_only) {
        for (const std::int32_t at : shut) scores[static_cast<std::size_t>(at)] = -std::numeric_limits<T>::infinity();
        left.mark(scores.data(), 0, open.n);
      }
      best.begin(n_selected);
      best.offer(kernels, scores.data(), 0, from.n);
      std::vector<Scored<T>>& sorted = best.sorted();
      if (space.diversity > 0) diversifier.choose(from, n, sorted);
      put_out(q, from, sorted);
    }
  };
  const std::int64_t at_once = scoring.products && space.only.indptr.empty()
                                   ? PanelSearch<T>::queries_at_once(n_queries, team.size(), n_selected)
                                   : 0;
  if (at_once == 0) return team.run_slices(n_queries, one_by_one, kOneByOneSlice);
  std::vector<std::unique_ptr<PanelSearch<T>>> searches(static_cast<std::size_t>(team.size()));
  team.run_slices(
      n_queries,
      [&](std::int64_t begin, std::int64_t end, int thread) {
        std::unique_ptr<PanelSearch<T>>& own = searches[static_cast<std::size_t>(thread)];
        if (!own) own = std::make_unique<PanelSearch<T>>(kernels, open, space.shut, space.n_factors, n_selected);
        Diversifier<T> diversifier(space.diversity, space.n_factors);
        own->run(
            begin, end, scoring.query, left_out, [&] { return team.poll(thread); },
            [&](std::int64_t q, std::vector<Scored<T>>& best) {
              if (space.diversity > 0) diversifier.choose(open, n, best);
              put_out(q, open, best);
            });
      },
      at_once);
}

template <class T>
std::vector<bool> unknown_items(const ModelView<T>& model) {
  std::vector<bool> unknown(static_cast<std::size_t>(model.n_items), false);
  for (std::size_t item = 0; item < model.item_counts.size(); ++item) unknown[item] = model.item_counts[item] == 0;
  return unknown;
}

/// Moves scores by a multiple of their deviations, down or up, or by a draw.
template <class T>
class ScoreMoves {
 public:
  ScoreMoves(const ModelView<T>& model, const AnswerOptions& options)
      : model_(&model), times_(static_cast<T>(options.exploration - options.confidence)), seed_(options.seed) {
    if (times_ == 0) return;
    const UncertaintyView<T>& unknown = model.uncertainty;
    if (unknown.bias_variances.empty() && model.n_items > 0) {
      const bool lower = options.confidence > 0;
      reject(std::string(lower ? "options.confidence is " : "options.exploration is ") +
             text(lower ? options.confidence : options.exploration) +
             ", which needs the model's uncertainty: put what uncertainty() returns into the view");
    }
    require_size(unknown.bias_variances.size(), model.n_items, "uncertainty.bias_variances");
    if (unknown.factor_variances.empty()) return;
    require_size(unknown.factor_variances.size(), model.n_items, "uncertainty.factor_variances");
    require_size(unknown.user_lengths.size(), static_cast<std::int64_t>(model.n_users) + 1, "uncertainty.user_lengths");
  }

  [[nodiscard]] bool any() const { return times_ != 0; }

  void apply(std::int32_t user, const ItemRows<T>& items, T* scores) const {
    if (times_ == 0) return;
    const auto row = static_cast<std::size_t>(user < 0 ? model_->n_users : user);
    const UncertaintyView<T>& unknown = model_->uncertainty;
    const bool has_factors = !unknown.factor_variances.empty();
    const T length = has_factors ? unknown.user_lengths[row] : 0;
    for (std::int32_t at = 0; at < items.n; ++at) {
      const auto item = static_cast<std::size_t>(items.item(at));
      T variance = unknown.bias_variances[item];
      if (has_factors) variance += length * unknown.factor_variances[item];
      T deviation = std::sqrt(variance);
      if (seed_) deviation *= static_cast<T>(normal(row, item));
      scores[at] += times_ * deviation;
    }
  }

 private:
  /// A standard normal number of the pair, by Box and Muller (1958).
  [[nodiscard]] double normal(std::size_t user, std::size_t item) const {
    SplitMix64 draws(*seed_, kExploration, user * static_cast<std::size_t>(model_->n_items) + item);
    constexpr double kUnit = 0x1p-53;
    const double first = static_cast<double>((draws.next() >> 11) + 1) * kUnit;  // above 0
    const double second = static_cast<double>(draws.next() >> 11) * kUnit;
    return std::sqrt(-2 * std::log(first)) * std::cos(2 * std::numbers::pi * second);
  }

  const ModelView<T>* model_;
  T times_;
  std::optional<std::uint64_t> seed_;
};

int search_team_size(const AnswerOptions& options, std::int64_t n_queries) {
  return team_size(options.n_threads, (n_queries + 15) / 16);
}

template <class T>
void validate_search(const ModelView<T>& model, std::int64_t n_queries, std::int32_t n, std::size_t n_items,
                     const char* items, std::size_t n_scores, const char* scores) {
  validate_parts(model);
  if (n < 1) reject("n is " + text(n) + "; it must be at least 1");
  require_size(n_items, n_queries * n, items);
  require_size(n_scores, n_queries * n, scores);
}

/// Throws unless a row's items can be read.
void validate_list(const RowListsView& lists, std::int64_t row, std::int32_t n_items, const std::string& name,
                   const char* whose) {
  const std::int64_t from = lists.indptr[static_cast<std::size_t>(row)],
                     to = lists.indptr[static_cast<std::size_t>(row) + 1];
  if (from < 0 || to < from || to > static_cast<std::int64_t>(lists.items.size())) {
    reject(name + ".indptr has " + text(from) + " and " + text(to) + " at " + whose + " " + text(row) +
           "; it must rise from 0 to the length of " + name + ".items, " + text(lists.items.size()));
  }
  validate_rows(row_of(lists, row), n_items, (name + ".items").c_str());
}

template <class T>
void validate_options(const ModelView<T>& model, std::span<const std::int32_t> users, std::int64_t n_queries,
                      const AnswerOptions& options) {
  for (const auto& [name, value] :
       {std::pair{"options.confidence", options.confidence}, std::pair{"options.exploration", options.exploration}}) {
    require(value >= 0 && std::isfinite(value), name, value, "a finite number of at least 0");
  }
  if (options.confidence > 0 && options.exploration > 0) {
    reject("options.confidence and options.exploration are both above 0; one of them must be 0");
  }
  const GroupRule rule = options.group_rule;
  if (rule != GroupRule::mean && rule != GroupRule::min && rule != GroupRule::max) {
    reject("options.group_rule", static_cast<int>(rule), "mean, min or max");
  }
  require(options.diversity >= 0 && options.diversity <= 1, "options.diversity", options.diversity, "from 0 to 1");
  if (!options.allowed.empty()) require_size(options.allowed.size(), model.n_items, "options.allowed");
  for (std::size_t at = 0; at < options.groups.size(); ++at) {
    const std::int64_t from = at == 0 ? -1 : options.groups[at - 1], to = options.groups[at];
    if (to <= from || to > static_cast<std::int64_t>(users.size()) || (at == 0 && to != 0)) {
      reject("options.groups[" + text(at) + "] is " + text(to) +
             "; they must rise from 0 to the number of users, and no group may be empty");
    }
  }
  for (const auto& [name, lists] : {std::pair{"options.only", &options.only}, {"options.without", &options.without}}) {
    if (lists->indptr.empty()) continue;
    require_size(lists->indptr.size(), n_queries + 1, (std::string(name) + ".indptr").c_str());
    for (std::int64_t q = 0; q < n_queries; ++q) validate_list(*lists, q, model.n_items, name, "query");
  }
}

/// Scores of the members of each query.
template <class T>
class Scorer {
 public:
  Scorer(const ModelView<T>& model, std::span<const std::int32_t> users, const AnswerOptions& options)
      : model_(model), users_(users), options_(options), moves_(model_, options) {}
  Scorer(const Scorer&) = delete;
  Scorer& operator=(const Scorer&) = delete;

  /// The known members, or one unknown user.
  template <class Visit>
  void members(std::int64_t q, const Visit& visit) const {
    const bool grouped = !options_.groups.empty();
    const auto at = static_cast<std::size_t>(q);
    const std::int64_t from = grouped ? options_.groups[at] : q, to = grouped ? options_.groups[at + 1] : q + 1;
    bool any = false;
    for (std::int64_t member = from; member < to; ++member) {
      const std::int32_t user = known(users_[static_cast<std::size_t>(member)], model_.user_counts);
      if (user < 0) continue;
      visit(user);
      any = true;
    }
    if (!any) visit(-1);
  }

  void score(std::int64_t q, const ItemRows<T>& items, T* out) const {
    std::int64_t n_members = 0;
    std::vector<T> other;
    members(q, [&](std::int32_t user) {
      if (n_members++ == 0) return score_user(user, items, out);
      other.resize(static_cast<std::size_t>(items.n));
      score_user(user, items, other.data());
      for (std::size_t at = 0; at < other.size(); ++at) {
        switch (options_.group_rule) {
          case GroupRule::mean: out[at] += other[at]; break;
          case GroupRule::min: out[at] = std::min(out[at], other[at]); break;
          case GroupRule::max: out[at] = std::max(out[at], other[at]); break;
        }
      }
    });
    if (n_members > 1 && options_.group_rule == GroupRule::mean) {
      std::transform(out, out + items.n, out, [&](T sum) { return sum / static_cast<T>(n_members); });
    }
  }

  void score_user(std::int32_t user, const ItemRows<T>& items, T* out) const {
    const RowScores<T> scores{row_of_user(user), items.rows, items.biases, offset(user),
                              model_.n_factors,  items.n,    out};
    kernel_table().kernels<T>().score_rows(scores);
    moves_.apply(user, items, out);
  }

  /// Whether a query's scores are products of one row with the items' rows.
  [[nodiscard]] bool scores_are_products() const { return options_.groups.empty() && !moves_.any(); }
  /// The row, which is zero for an unknown user. Returns the offset.
  T write_query(std::int64_t q, T* row) const {
    const std::int32_t user = known(users_[static_cast<std::size_t>(q)], model_.user_counts);
    if (const T* const from = row_of_user(user)) {
      std::copy_n(from, model_.n_factors, row);
    } else {
      std::fill_n(row, model_.n_factors, T(0));
    }
    return offset(user);
  }

  [[nodiscard]] int n_unknown(std::int64_t q) const {
    int n = 0;
    members(q, [&](std::int32_t user) { n += user < 0 ? 1 : 0; });
    return n;
  }

 private:
  [[nodiscard]] const T* row_of_user(std::int32_t user) const {
    return user < 0 ? nullptr : model_.user_factors.data() + static_cast<std::int64_t>(user) * model_.n_factors;
  }
  [[nodiscard]] T offset(std::int32_t user) const {
    const auto mean = static_cast<T>(model_.global_mean);
    return user < 0 || model_.user_biases.empty() ? mean : mean + model_.user_biases[static_cast<std::size_t>(user)];
  }

  ModelView<T> model_;
  std::span<const std::int32_t> users_;
  const AnswerOptions& options_;
  ScoreMoves<T> moves_;
};

template <class T>
void require_known_users(const ModelView<T>& model, std::span<const std::int32_t> users, Unknown unknown) {
  for (std::size_t q = 0; unknown != Unknown::mean && q < users.size(); ++q) {
    if (known(users[q], model.user_counts) < 0) {
      reject("users[" + text(q) + "] is " + text(users[q]) +
             ", which has no training ratings: leave it out, or use Unknown::mean");
    }
  }
}

template <class T>
const T* data_or_null(std::span<const T> values) {
  return values.empty() ? nullptr : values.data();
}

}  // namespace

template <class T>
void recommend(const ModelView<T>& model, std::span<const std::int32_t> users, std::int32_t n, const RowListsView& seen,
               std::span<std::int32_t> items, std::span<T> predictions, const AnswerOptions& options) {
  const auto n_queries = static_cast<std::int64_t>(options.groups.empty() ? users.size() : options.groups.size() - 1);
  validate_search(model, n_queries, n, items.size(), "items", predictions.size(), "predictions");
  validate_rows(users, model.n_users, "users");
  validate_options(model, users, n_queries, options);
  require_known_users(model, users, options.unknown);
  if (!seen.indptr.empty()) {
    require_size(seen.indptr.size(), static_cast<std::int64_t>(model.n_users) + 1, "seen.indptr");
    for (const std::int32_t user : users) {  // all of the lists may be a thousand times as long
      if (known(user, model.user_counts) >= 0) validate_list(seen, user, model.n_items, "seen", "user");
    }
  }
  SearchSpace<T> space{model.item_factors.data(),
                       data_or_null(model.item_biases),
                       model.n_items,
                       model.n_factors,
                       unknown_items(model),
                       options.only,
                       options.diversity};
  for (std::size_t item = 0; item < options.allowed.size(); ++item) {
    if (!options.allowed[item]) space.shut[item] = true;
  }
  const Scorer<T> scorer(model, users, options);
  ThreadTeam team(search_team_size(options, n_queries), options.interrupted);
  search(
      space, n_queries, n, items, predictions, team,
      [&](std::int64_t q, const auto& take) {
        if (!options.without.indptr.empty()) take(row_of(options.without, q));
        if (seen.indptr.empty()) return;
        scorer.members(q, [&](std::int32_t user) {
          if (user >= 0) take(row_of(seen, user));
        });
      },
      Scoring{[&](std::int64_t q, const ItemRows<T>& from, T* out) { scorer.score(q, from, out); },
              [&](std::int64_t q, T* row) { return scorer.write_query(q, row); }, scorer.scores_are_products()},
      [&](std::int64_t q, T score) { return answer(model, score, scorer.n_unknown(q)); });
}

template <class T>
void score_items(const ModelView<T>& model, std::span<const std::int32_t> users, std::span<const std::int32_t> items,
                 std::span<T> out, const AnswerOptions& options) {
  validate_parts(model);
  const auto n_users = static_cast<std::int64_t>(users.size()), n_items = static_cast<std::int64_t>(items.size());
  require_size(out.size(), n_users * n_items, "out");
  validate_rows(users, model.n_users, "users");
  validate_rows(items, model.n_items, "items");
  if (options.unknown == Unknown::raise) {
    require_known_users(model, users, options.unknown);
    for (std::size_t at = 0; at < items.size(); ++at) {
      if (known(items[at], model.item_counts) < 0) {
        reject("items[" + text(at) + "] is " + text(items[at]) +
               ", which has no training ratings: leave it out, or use Unknown::mean or Unknown::nan");
      }
    }
  }
  GatheredItems<T> gathered;
  gathered.items.assign(items.begin(), items.end());
  for (std::int32_t& item : gathered.items) item = known(item, model.item_counts);
  gathered.gather(model.item_factors.data(), data_or_null(model.item_biases), model.n_factors);
  const AnswerOptions plain;
  const Scorer<T> scorer(model, users, plain);
  ThreadTeam team(search_team_size(options, n_users), options.interrupted);
  team.run_slices(
      n_users,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t m = begin; m < end; ++m) {
          T* const row = out.data() + m * n_items;
          scorer.score(m, gathered.view(), row);
          const int unknown = scorer.n_unknown(m);
          for (std::size_t at = 0; at < gathered.items.size(); ++at) {
            const int n_unknown = unknown + (gathered.items[at] < 0 ? 1 : 0);
            row[at] = n_unknown > 0 && options.unknown == Unknown::nan ? std::numeric_limits<T>::quiet_NaN()
                                                                       : answer(model, row[at], n_unknown);
          }
        }
      },
      16);
}

template <class T>
void similar_items(const ModelView<T>& model, std::span<const std::int32_t> items, std::int32_t n,
                   std::span<std::int32_t> similar, std::span<T> cosines, const AnswerOptions& options) {
  const auto n_queries = static_cast<std::int64_t>(items.size());
  validate_search(model, n_queries, n, similar.size(), "similar", cosines.size(), "cosines");
  validate_rows(items, model.n_items, "items");
  for (std::size_t q = 0; q < items.size(); ++q) {
    if (known(items[q], model.item_counts) < 0) {
      reject("items[" + text(q) + "] is " + text(items[q]) + ", which has no training ratings: leave it out");
    }
  }
  if (items.empty()) return;
  constexpr std::int64_t kSlice = 4096;
  ThreadTeam team(std::max(search_team_size(options, n_queries), team_size(options.n_threads, model.n_items / kSlice)),
                  options.interrupted);
  std::vector<T> unit(model.item_factors.size());
  team.run_slices(
      model.n_items,
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t at = begin * model.n_factors; at < end * model.n_factors; at += model.n_factors) {
          write_unit(model.item_factors.data() + at, model.n_factors, unit.data() + at);
        }
      },
      kSlice);
  const auto unit_row = [&](std::int64_t q) {
    return unit.data() + std::int64_t{items[static_cast<std::size_t>(q)]} * model.n_factors;
  };
  const SearchSpace<T> space{unit.data(), nullptr, model.n_items, model.n_factors, unknown_items(model), {}};
  search(
      space, n_queries, n, similar, cosines, team,
      [&](std::int64_t q, const auto& take) { take(items.subspan(static_cast<std::size_t>(q), 1)); },
      Scoring{[&](std::int64_t q, const ItemRows<T>& from, T* out) {
                kernel_table().kernels<T>().score_rows(
                    {unit_row(q), from.rows, from.biases, 0, model.n_factors, from.n, out});
              },
              [&](std::int64_t q, T* row) {
                std::copy_n(unit_row(q), model.n_factors, row);
                return T(0);
              },
              true},
      [](std::int64_t, T cosine) { return cosine; });
}

#define WARPFACTOR_DEFINE_FOR(T)                                                                                    \
  template void recommend<T>(const ModelView<T>&, std::span<const std::int32_t>, std::int32_t, const RowListsView&, \
                             std::span<std::int32_t>, std::span<T>, const AnswerOptions&);                          \
  template void score_items<T>(const ModelView<T>&, std::span<const std::int32_t>, std::span<const std::int32_t>,   \
                               std::span<T>, const AnswerOptions&);                                                 \
  template void similar_items<T>(const ModelView<T>&, std::span<const std::int32_t>, std::int32_t,                  \
                                 std::span<std::int32_t>, std::span<T>, const AnswerOptions&);
WARPFACTOR_DEFINE_FOR(float)
WARPFACTOR_DEFINE_FOR(double)
#undef WARPFACTOR_DEFINE_FOR

}  // namespace warpfactor
