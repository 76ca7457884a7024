// SPDX-License-Identifier: Apache-2.0
// Fold-in: the rows of new users or items, from their ratings, without training anew.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "warpfactor/model.hpp"
#include "warpfactor/types.hpp"

namespace warpfactor {

enum class Side { users, items };

/// What a side's rows were pulled with in training (see TrainParams), per rating and per row.
struct FoldInStrengths {
  double reg = 0, reg_bias = 0, reg_row = 0, reg_bias_row = 0;
  double reg_implicit = 0;  ///< 0: the side has no prior means
  double score_scale = 1;   ///< TrainingFacts::score_scale, above 0

  /// Without any penalty a row with few ratings has no single least; this picks the one next to the prior mean.
  static constexpr double kLeast = 1e-3;
};

/// What fold_in_strengths() reads of a model.
struct ToldTraining {
  std::string params, chosen;  ///< Model::params, Model::chosen
  Loss loss = Loss::squared;
  double score_scale = 1;  ///< TrainingFacts::score_scale
  bool has_members = false;
};

/// Those of a model. Throws std::invalid_argument where the least that training looks for has no closed form: another
/// loss than squared, an L1 part, a penalty of the user's, factors that are kept at 0 or above; for a model of several
/// members, whose rows are not of one training; and for one whose file does not tell what it was trained with.
FoldInStrengths fold_in_strengths(const ToldTraining& told, Side side);
template <class T>
FoldInStrengths fold_in_strengths(const Model<T>& model, Side side);

/// The y of the other side's rows, from which a side's prior means are made, borrowed. Empty: the means are zero.
template <class T>
struct PriorCoefficientsView {
  std::span<const T> factors{};  ///< a row of n_factors for each row of the other side
  std::span<const T> biases{};   ///< one for each
};

/// The same, owned.
template <class T>
struct PriorCoefficients {
  std::vector<T> factors, biases;

  operator PriorCoefficientsView<T>() const noexcept { return {factors, biases}; }  // NOLINT: fold_in takes either
};

/// The y that training ends near, from the rows as they are: the ridge regression of TrainParams, of the side's rows on
/// who rated what, to which training takes steps. By conjugate gradients; the bits do not depend on the number of
/// threads. Takes about as long as ten epochs of training without prior means. `seen`: what each user rated.
template <class T>
PriorCoefficients<T> prior_coefficients(const ModelView<T>& model, Side side, const RowListsView& seen,
                                        double reg_implicit, const AnswerOptions& options = {});

/// What is known of rows from before the ratings that are folded in: they are taken to be where training would have
/// left them, given their earlier ratings, whose values are not needed then. All empty: nothing.
template <class T>
struct EarlierRows {
  std::span<const T> factors{}, biases{};   ///< of each row of the ratings
  std::span<const std::uint32_t> counts{};  ///< earlier ratings; 0: the row is new
  RowListsView others{};                    ///< the rows that they are of, each once
};

template <class T>
struct FoldedRows {
  std::vector<T> factors;  ///< a row of n_factors each
  std::vector<T> biases;   ///< one each
};

/// The rows of users (items) from their ratings of the model's items (users), whose rows stay as they are: for each the
/// least of what training minimizes,
///   sum_n w_n (z_n - b - p.q_n)^2 + (reg n + reg_row) |p - m|^2 + (reg_bias n + reg_bias_row) (b - a)^2,
/// with n what the row's ratings weigh and the prior means m and a by whom the ratings are of. A row's ratings are the
/// `ratings` of side's row: with Side::users those of `ratings.users`, numbered from 0 to n_users - 1 as the result is,
/// while `ratings.items` are the model's codes; with Side::items the other way round. Ratings of rows that the model
/// does not know, and of weight 0, are passed over; a row without others gets zeros and start_bias. The bits do not
/// depend on the number of threads. Throws std::invalid_argument, Interrupted.
template <class T>
FoldedRows<T> fold_in(const ModelView<T>& model, Side side, const RatingsView& ratings,
                      const FoldInStrengths& strengths,
                      const std::type_identity_t<PriorCoefficientsView<T>>& coefficients = {},
                      const EarlierRows<T>& earlier = {}, const AnswerOptions& options = {});

/// The same for rows without earlier ratings, with all that the model tells. A model with prior means needs `seen`.
/// To predict with the result, put it into a view in the place of the side's rows.
template <class T>
FoldedRows<T> fold_in(const Model<T>& model, Side side, const RatingsView& ratings, const AnswerOptions& options = {});

}  // namespace warpfactor
