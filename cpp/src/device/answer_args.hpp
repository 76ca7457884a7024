// SPDX-License-Identifier: Apache-2.0
// The arguments of the kernels that answer: predictions of pairs, and the best items of users. All pointers are to the
// device's memory. A code is the position of a user or an item; -1 stands for one without training ratings, whose
// factors and bias count as zero.
#pragma once

#include <cstdint>

namespace warpfactor {

/// How ids are stored.
enum class IdType : std::int32_t { i8, i16, i32, i64, u8, u16, u32, u64 };

/// Codes of ids: their positions in a vocabulary.
struct FindArgs {
  const char* ids;
  std::int64_t stride;  ///< bytes from one id to the next
  IdType type;
  std::int64_t n;
  const std::int64_t* vocabulary;  ///< rising; nullptr: first, first + 1, ...
  bool is_unsigned;                ///< the vocabulary holds uint64
  std::int64_t first, n_ids;
  const bool* known;  ///< of each row: whether it has training ratings
  std::int32_t* codes;
  std::int32_t* missing;  ///< set to 1 if a code is -1; nullptr: not asked for
};

/// What a score becomes; in the order of Link.
enum class AnswerLink : std::int32_t { identity, probability, signed_probability };

/// What a model adds to the product of rows, and what it makes of the score.
template <class A>
struct ScoreShape {
  A mean;        ///< mu
  A start_bias;  ///< of a row that is not there
  A rating_mean;
  AnswerLink link;
  bool biases;  ///< without: what is not known is predicted as rating_mean
};

/// The prediction of each pair; with n_columns, of each user for each of so many items, n in all.
template <class A>
struct PredictArgs {
  const A *user_factors, *item_factors, *user_biases, *item_biases;
  std::int64_t n_factors;
  const std::int32_t *users, *items;
  std::int64_t n, n_columns;
  ScoreShape<A> shape;
  bool nan_if_unknown;
  A* predicted;
};

/// Rows scaled to length 1; rows of zeros stay zero.
template <class A>
struct UnitRowsArgs {
  const A* rows;
  std::int64_t n, n_factors;
  A* unit;
};

/// Rising items of each row: items[indptr[r]] .. items[indptr[r + 1]]. Without indptr: none.
struct ItemLists {
  const std::int64_t* indptr;
  const std::int32_t* items;
};

/// The best items of each query, by b_i + p . q_i + times * sqrt(bias_variance_i + length_u * factor_variance_i), the
/// last term times a draw from the standard normal distribution if it is drawn.
template <class A>
struct SearchArgs {
  const A *user_factors, *item_factors;
  const A* item_biases;  ///< -inf: in no list
  std::int64_t n_factors;
  std::int32_t n_items;
  const std::int32_t* queries;  ///< codes
  std::int64_t n_queries;
  ItemLists seen;     ///< by code: in no list of that user
  ItemLists without;  ///< by query
  ItemLists only;     ///< by query: the items to choose from
  bool not_itself;    ///< queries are items, which are not in their own lists
  A times;            ///< 0: scores are not moved
  const A *bias_variances, *factor_variances;
  const A* user_lengths;  ///< the last, of n_users, is that of -1
  std::int64_t n_users;
  bool drawn;
  std::uint64_t first_draw;  ///< where SplitMix64 begins with pair 0: user * n_items + item
  std::int32_t n;            ///< of a list
  std::int32_t n_splits;     ///< the items are searched in so many parts, side by side; 1 with `only`
  // n_splits x n_queries x n, best first; of equals the lower item.
  A* best;
  std::int32_t* found;  ///< -1: there are no more
};

/// What is put out of a search: the parts as one list, with ids and predictions.
template <class A>
struct FinishArgs {
  const std::int32_t* queries;
  std::int64_t n_queries;
  std::int32_t n, n_splits;
  A* best;  ///< of the search; parts other than the first are joined to that
  std::int32_t* found;
  const A* user_biases;         ///< nullptr: zero
  const std::int64_t* lengths;  ///< of each list; nullptr: n
  ScoreShape<A> shape;
  bool has_ids;             ///< else codes are put out
  const std::int64_t* ids;  ///< nullptr: first_id, first_id + 1, ...
  std::int64_t first_id, empty_id;
  std::int64_t* id_out;  ///< n_queries x n, of has_ids
  std::int32_t* code_out;
  A* score_out;  ///< NaN where there is none
};

/// A CUDA library's kernels of answers, for numbers of type A. They are started on a stream (a cudaStream_t) of the
/// current device, and throw CudaError.
template <class A>
struct AnswerFunctions {
  void (*predict)(const PredictArgs<A>& args, std::uintptr_t stream);
  void (*unit_rows)(const UnitRowsArgs<A>& args, std::uintptr_t stream);
  void (*search)(const SearchArgs<A>& args, std::uintptr_t stream);
  void (*finish)(const FinishArgs<A>& args, std::uintptr_t stream);
};

}  // namespace warpfactor
