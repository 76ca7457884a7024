// SPDX-License-Identifier: Apache-2.0
// The device's kernels that answer. Arrays are addresses of the device's memory, 0 where there is none.
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "device/registry.hpp"

namespace warpfactor::python {
namespace {

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

/// As of NumPy's dtype.str, without the byte order.
IdType id_type(const std::string& name) {
  constexpr const char* kNames[] = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"};
  for (std::int32_t type = 0; type < 8; ++type) {
    if (name == kNames[type]) return static_cast<IdType>(type);
  }
  throw std::invalid_argument("ids are of the type '" + name + "'; they must be integers");
}

AnswerLink link_named(const std::string& name) {
  if (name == "identity") return AnswerLink::identity;
  if (name == "probability") return AnswerLink::probability;
  if (name == "signed_probability") return AnswerLink::signed_probability;
  throw std::invalid_argument("link is '" + name + "'; it must be 'identity', 'probability' or 'signed_probability'");
}

void start_find(Address ids, const std::string& type, std::int64_t stride, std::int64_t n, Address vocabulary,
                bool is_unsigned, std::int64_t first, std::int64_t n_ids, Address known, Address codes, Address missing,
                Address stream) {
  const FindArgs args{pointer<const char>(ids),
                      stride,
                      id_type(type),
                      n,
                      pointer<const std::int64_t>(vocabulary),
                      is_unsigned,
                      first,
                      n_ids,
                      pointer<const bool>(known),
                      pointer<std::int32_t>(codes),
                      pointer<std::int32_t>(missing)};
  const WithoutGil no_gil;
  cuda_find_codes(args, stream);
}

/// What scores become, as Python gives it.
struct AnswerShape {
  double mean, start_bias, rating_mean;
  std::string link;
  bool biases;

  template <class A>
  [[nodiscard]] ScoreShape<A> as() const {
    return {static_cast<A>(mean), static_cast<A>(start_bias), static_cast<A>(rating_mean), link_named(link), biases};
  }
};

template <class A>
void start_predict(Address user_factors, Address item_factors, Address user_biases, Address item_biases,
                   std::int64_t n_factors, Address users, Address items, std::int64_t n, std::int64_t n_columns,
                   const AnswerShape& shape, bool nan_if_unknown, Address predicted, Address stream) {
  const PredictArgs<A> args{pointer<const A>(user_factors),
                            pointer<const A>(item_factors),
                            pointer<const A>(user_biases),
                            pointer<const A>(item_biases),
                            n_factors,
                            pointer<const std::int32_t>(users),
                            pointer<const std::int32_t>(items),
                            n,
                            n_columns,
                            shape.as<A>(),
                            nan_if_unknown,
                            pointer<A>(predicted)};
  const WithoutGil no_gil;
  cuda_answers<A>().predict(args, stream);
}

template <class A>
void start_unit_rows(Address rows, std::int64_t n, std::int64_t n_factors, Address unit, Address stream) {
  const WithoutGil no_gil;
  cuda_answers<A>().unit_rows({pointer<const A>(rows), n, n_factors, pointer<A>(unit)}, stream);
}

using ListAddresses = std::pair<Address, Address>;

ItemLists lists_at(const ListAddresses& lists) {
  return {pointer<const std::int64_t>(lists.first), pointer<const std::int32_t>(lists.second)};
}

void check_list(std::int64_t n, std::int64_t n_splits) {
  if (n < 1 || n > kMostSelected) {
    throw std::invalid_argument("n is " + std::to_string(n) + "; it must be from 1 to " +
                                std::to_string(kMostSelected));
  }
  if (n_splits < 1 || n_splits > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("n_splits is " + std::to_string(n_splits) + "; it must be at least 1");
  }
}

template <class A>
void start_search(Address user_factors, Address item_factors, Address item_biases, std::int64_t n_factors,
                  std::int32_t n_items, Address queries, std::int64_t n_queries, const ListAddresses& seen,
                  const ListAddresses& without, const ListAddresses& only, bool not_itself, double times,
                  Address bias_variances, Address factor_variances, Address user_lengths, std::int64_t n_users,
                  std::optional<std::uint64_t> first_draw, std::int32_t n, std::int32_t n_splits, Address best,
                  Address found, Address stream) {
  check_list(n, n_splits);
  if (only.first != 0 && n_splits != 1) throw std::invalid_argument("lists of each query have one part");
  const SearchArgs<A> args{pointer<const A>(user_factors),
                           pointer<const A>(item_factors),
                           pointer<const A>(item_biases),
                           n_factors,
                           n_items,
                           pointer<const std::int32_t>(queries),
                           n_queries,
                           lists_at(seen),
                           lists_at(without),
                           lists_at(only),
                           not_itself,
                           static_cast<A>(times),
                           pointer<const A>(bias_variances),
                           pointer<const A>(factor_variances),
                           pointer<const A>(user_lengths),
                           n_users,
                           first_draw.has_value(),
                           first_draw.value_or(0),
                           n,
                           n_splits,
                           pointer<A>(best),
                           pointer<std::int32_t>(found)};
  const WithoutGil no_gil;
  cuda_answers<A>().search(args, stream);
}

template <class A>
void start_finish(Address queries, std::int64_t n_queries, std::int32_t n, std::int32_t n_splits, Address best,
                  Address found, Address user_biases, Address lengths, const AnswerShape& shape, bool has_ids,
                  Address ids, std::int64_t first_id, std::int64_t empty_id, Address names_out, Address scores_out,
                  Address stream) {
  check_list(n, n_splits);
  const FinishArgs<A> args{pointer<const std::int32_t>(queries),
                           n_queries,
                           n,
                           n_splits,
                           pointer<A>(best),
                           pointer<std::int32_t>(found),
                           pointer<const A>(user_biases),
                           pointer<const std::int64_t>(lengths),
                           shape.as<A>(),
                           has_ids,
                           pointer<const std::int64_t>(ids),
                           first_id,
                           empty_id,
                           has_ids ? pointer<std::int64_t>(names_out) : nullptr,
                           has_ids ? nullptr : pointer<std::int32_t>(names_out),
                           pointer<A>(scores_out)};
  const WithoutGil no_gil;
  cuda_answers<A>().finish(args, stream);
}

}  // namespace

void bind_answers(py::module_& m) {
  py::class_<AnswerShape>(m, "ScoreShape", "What a model adds to the product of rows, and what it makes of the score.")
      .def(py::init([](double mean, double start_bias, double rating_mean, const std::string& link, bool biases) {
             link_named(link);
             return AnswerShape{mean, start_bias, rating_mean, link, biases};
           }),
           py::kw_only(), py::arg("mean"), py::arg("start_bias"), py::arg("rating_mean"), py::arg("link"),
           py::arg("biases"));
  m.def("find_codes", &start_find,
        "Codes of integer ids on the device, -1 of those that the vocabulary (0: first, first + 1, ...) lacks or that "
        "are not known.",
        py::kw_only(), py::arg("ids"), py::arg("type"), py::arg("stride"), py::arg("n"), py::arg("vocabulary"),
        py::arg("is_unsigned"), py::arg("first"), py::arg("n_ids"), py::arg("known"), py::arg("codes"),
        py::arg("missing"), py::arg("stream"));
  m.def(
      "predict_pairs",
      [](bool is_double, Address user_factors, Address item_factors, Address user_biases, Address item_biases,
         std::int64_t n_factors, Address users, Address items, std::int64_t n, std::int64_t n_columns,
         const AnswerShape& shape, bool nan_if_unknown, Address predicted, Address stream) {
        (is_double ? start_predict<double> : start_predict<float>)(user_factors, item_factors, user_biases, item_biases,
                                                                   n_factors, users, items, n, n_columns, shape,
                                                                   nan_if_unknown, predicted, stream);
      },
      "The prediction for each pair of codes on the device; with n_columns, of each user for each of so many items.",
      py::kw_only(), py::arg("is_double"), py::arg("user_factors"), py::arg("item_factors"), py::arg("user_biases"),
      py::arg("item_biases"), py::arg("n_factors"), py::arg("users"), py::arg("items"), py::arg("n"),
      py::arg("n_columns"), py::arg("shape"), py::arg("nan_if_unknown"), py::arg("predicted"), py::arg("stream"));
  m.def(
      "unit_rows",
      [](bool is_double, Address rows, std::int64_t n, std::int64_t n_factors, Address unit, Address stream) {
        (is_double ? start_unit_rows<double> : start_unit_rows<float>)(rows, n, n_factors, unit, stream);
      },
      "Rows on the device scaled to length 1; rows of zeros stay zero.", py::kw_only(), py::arg("is_double"),
      py::arg("rows"), py::arg("n"), py::arg("n_factors"), py::arg("unit"), py::arg("stream"));
  m.def(
      "search_items",
      [](bool is_double, Address user_factors, Address item_factors, Address item_biases, std::int64_t n_factors,
         std::int32_t n_items, Address queries, std::int64_t n_queries, const ListAddresses& seen,
         const ListAddresses& without, const ListAddresses& only, bool not_itself, double times, Address bias_variances,
         Address factor_variances, Address user_lengths, std::int64_t n_users, std::optional<std::uint64_t> first_draw,
         std::int32_t n, std::int32_t n_splits, Address best, Address found, Address stream) {
        (is_double ? start_search<double> : start_search<float>)(user_factors, item_factors, item_biases, n_factors,
                                                                 n_items, queries, n_queries, seen, without, only,
                                                                 not_itself, times, bias_variances, factor_variances,
                                                                 user_lengths, n_users, first_draw, n, n_splits, best,
                                                                 found, stream);
      },
      "The n best items of each query on the device, in n_splits parts of the items, each part's lists best first; "
      "lists are (indptr, items) of rising items: seen by code, the others by query. See SearchArgs of the C++ "
      "library.",
      py::kw_only(), py::arg("is_double"), py::arg("user_factors"), py::arg("item_factors"), py::arg("item_biases"),
      py::arg("n_factors"), py::arg("n_items"), py::arg("queries"), py::arg("n_queries"), py::arg("seen"),
      py::arg("without"), py::arg("only"), py::arg("not_itself"), py::arg("times"), py::arg("bias_variances"),
      py::arg("factor_variances"), py::arg("user_lengths"), py::arg("n_users"), py::arg("first_draw"), py::arg("n"),
      py::arg("n_splits"), py::arg("best"), py::arg("found"), py::arg("stream"));
  m.def(
      "finish_lists",
      [](bool is_double, Address queries, std::int64_t n_queries, std::int32_t n, std::int32_t n_splits, Address best,
         Address found, Address user_biases, Address lengths, const AnswerShape& shape, bool has_ids, Address ids,
         std::int64_t first_id, std::int64_t empty_id, Address names_out, Address scores_out, Address stream) {
        (is_double ? start_finish<double> : start_finish<float>)(queries, n_queries, n, n_splits, best, found,
                                                                 user_biases, lengths, shape, has_ids, ids, first_id,
                                                                 empty_id, names_out, scores_out, stream);
      },
      "Joins the parts of lists that a search has found, and writes their ids (or codes) and predictions. See "
      "FinishArgs of the C++ library.",
      py::kw_only(), py::arg("is_double"), py::arg("queries"), py::arg("n_queries"), py::arg("n"), py::arg("n_splits"),
      py::arg("best"), py::arg("found"), py::arg("user_biases"), py::arg("lengths"), py::arg("shape"),
      py::arg("has_ids"), py::arg("ids"), py::arg("first_id"), py::arg("empty_id"), py::arg("names_out"),
      py::arg("scores_out"), py::arg("stream"));
}

}  // namespace warpfactor::python
