// SPDX-License-Identifier: Apache-2.0
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "arrays.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"

namespace warpfactor::python {
namespace {

using Flags = std::optional<Array<bool>>;

/// Bias variances, factor variances and user lengths of an Uncertainty.
template <class T>
using Parts = std::optional<std::tuple<Array<T>, Array<T>, Array<T>>>;

/// A view of a model and the arrays that it borrows.
struct HeldView {
  std::variant<ModelView<float>, ModelView<double>> view;
  std::vector<std::uint32_t> user_counts, item_counts;  // 1: known
  std::vector<py::object> arrays;
};

std::vector<std::uint32_t> counts(const Flags& known) {
  if (!known) return {};
  return {known->data(), known->data() + known->size()};
}

template <class T>
std::unique_ptr<HeldView> hold(const Array<T>& user_factors, const Array<T>& item_factors,
                               const std::optional<Array<T>>& user_biases, const std::optional<Array<T>>& item_biases,
                               const Flags& user_known, const Flags& item_known, double global_mean, double rating_mean,
                               double start_bias, bool biases, const std::string& link, const Parts<T>& uncertainty) {
  if (user_factors.ndim() != 2 || item_factors.ndim() != 2 || user_factors.shape(1) != item_factors.shape(1)) {
    throw std::invalid_argument("user_factors and item_factors must be 2-D with the same number of columns");
  }
  auto held = std::make_unique<HeldView>();
  held->user_counts = counts(user_known);
  held->item_counts = counts(item_known);
  held->arrays = {user_factors, item_factors};
  if (user_biases) held->arrays.push_back(*user_biases);
  if (item_biases) held->arrays.push_back(*item_biases);
  if (uncertainty) {
    std::apply([&](const auto&... parts) { (held->arrays.push_back(parts), ...); }, *uncertainty);
  }
  ModelView<T> model;
  model.n_users = static_cast<std::int32_t>(user_factors.shape(0));
  model.n_items = static_cast<std::int32_t>(item_factors.shape(0));
  model.n_factors = static_cast<std::int32_t>(user_factors.shape(1));
  model.user_factors = python::view(user_factors);
  model.item_factors = python::view(item_factors);
  model.user_biases = python::view(user_biases);
  model.item_biases = python::view(item_biases);
  model.user_counts = held->user_counts;
  model.item_counts = held->item_counts;
  if (uncertainty) {
    model.uncertainty =
        std::apply([](const auto&... parts) { return UncertaintyView<T>{python::view(parts)...}; }, *uncertainty);
  }
  model.global_mean = global_mean;
  model.rating_mean = rating_mean;
  model.start_bias = start_bias;
  model.biases = biases;
  const std::optional<Link> named = value_of<Link>(link);
  if (!named)
    throw std::invalid_argument("link is '" + link + "'; it must be 'identity', 'probability' or 'signed_probability'");
  model.link = *named;
  held->view = model;
  return held;
}

AnswerOptions options(std::int32_t n_threads) { return {.n_threads = n_threads, .interrupted = signal_poll()}; }

py::object predict_pairs(const HeldView& held, const Array<std::int32_t>& users, const Array<std::int32_t>& items,
                         std::int32_t n_threads) {
  return std::visit(
      [&]<class T>(const ModelView<T>& model) -> py::object {
        Array<T> out(users.size());
        const std::span<T> target = mutable_view(out);
        const AnswerOptions how = options(n_threads);
        {
          const WithoutGil no_gil;
          predict<T>(model, python::view(users), python::view(items), target, how);
        }
        return out;
      },
      held.view);
}

/// What `search(model, items, scores, options)` fills: rows of n slots.
template <class Search>
py::tuple search_rows(const HeldView& held, py::ssize_t n_rows, std::int32_t n, std::int32_t n_threads,
                      const Search& search) {
  if (n < 1) throw std::invalid_argument("n is " + std::to_string(n) + "; it must be at least 1");
  return std::visit(
      [&]<class T>(const ModelView<T>& model) -> py::tuple {
        Array<std::int32_t> items({n_rows, static_cast<py::ssize_t>(n)});
        Array<T> scores({n_rows, static_cast<py::ssize_t>(n)});
        const std::span<std::int32_t> item_target = mutable_view(items);
        const std::span<T> score_target = mutable_view(scores);
        const AnswerOptions how = options(n_threads);
        {
          const WithoutGil no_gil;
          search(model, item_target, score_target, how);
        }
        return py::make_tuple(items, scores);
      },
      held.view);
}

template <class T>
void bind_init(py::class_<HeldView>& view) {
  view.def(py::init(&hold<T>), py::arg("user_factors").noconvert(), py::arg("item_factors").noconvert(),
           py::arg("user_biases").noconvert(), py::arg("item_biases").noconvert(), py::arg("user_known").noconvert(),
           py::arg("item_known").noconvert(), py::kw_only(), py::arg("global_mean"), py::arg("rating_mean"),
           py::arg("start_bias"), py::arg("biases"), py::arg("link"), py::arg("uncertainty") = py::none());
}

template <class T>
void bind_uncertainty(py::module_& m) {
  m.def(
      "uncertainty",
      [](const Array<T>& user_factors, const Array<T>& item_factors, const Array<T>& item_biases,
         const Array<std::uint32_t>& user_counts, const Array<std::uint32_t>& item_counts, double start_bias,
         bool biases, const std::string& link, double train_rmse, std::int32_t n_members) {
        const auto held = hold<T>(user_factors, item_factors, std::nullopt, item_biases, std::nullopt, std::nullopt, 0,
                                  0, start_bias, biases, link, std::nullopt);
        auto model = std::get<ModelView<T>>(held->view);
        model.user_counts = python::view(user_counts);
        model.item_counts = python::view(item_counts);
        Uncertainty<T> unknown;
        {
          const WithoutGil no_gil;
          unknown = uncertainty<T>(model, train_rmse, n_members);
        }
        const py::ssize_t n_items = model.n_items, n_lengths = static_cast<py::ssize_t>(model.n_users) + 1;
        return py::make_tuple(adopt(std::move(unknown.bias_variances), {n_items}),
                              adopt(std::move(unknown.factor_variances), {n_items}),
                              adopt(std::move(unknown.user_lengths), {n_lengths}), unknown.noise);
      },
      "(bias_variances, factor_variances, user_lengths, noise): what few ratings leave unknown of scores; the last "
      "length "
      "is that of a user who is not there. See Uncertainty of the C++ library.",
      py::arg("user_factors").noconvert(), py::arg("item_factors").noconvert(), py::arg("item_biases").noconvert(),
      py::arg("user_counts").noconvert(), py::arg("item_counts").noconvert(), py::kw_only(), py::arg("start_bias"),
      py::arg("biases"), py::arg("link"), py::arg("train_rmse"), py::arg("n_members") = 1);
}

/// Lists of items as (indptr, items).
using Lists = std::optional<std::pair<Array<std::int64_t>, Array<std::int32_t>>>;

RowListsView view_of(const Lists& lists) {
  if (!lists) return {};
  return {python::view(lists->first), python::view(lists->second)};
}

GroupRule group_rule(const std::string& name) {
  if (name == "mean") return GroupRule::mean;
  if (name == "min") return GroupRule::min;
  if (name == "max") return GroupRule::max;
  throw std::invalid_argument("group is '" + name + "'; it must be 'mean', 'min' or 'max'");
}

py::tuple recommend_rows(const HeldView& held, const Array<std::int32_t>& users, std::int32_t n, const Lists& seen,
                         std::int32_t n_threads, double confidence, double exploration,
                         std::optional<std::uint64_t> seed, double diversity, const Flags& allowed, const Lists& only,
                         const Lists& without, const std::optional<Array<std::int64_t>>& groups,
                         const std::string& group) {
  const py::ssize_t n_rows = groups ? std::max<py::ssize_t>(groups->size() - 1, 0) : users.size();
  const GroupRule rule = group_rule(group);
  return search_rows(
      held, n_rows, n, n_threads,
      [&]<class T>(const ModelView<T>& model, std::span<std::int32_t> items, std::span<T> out, AnswerOptions how) {
        how.confidence = confidence;
        how.exploration = exploration;
        how.seed = seed;
        how.diversity = diversity;
        how.allowed = python::view(allowed);
        how.only = view_of(only);
        how.without = view_of(without);
        how.groups = python::view(groups);
        how.group_rule = rule;
        recommend<T>(model, python::view(users), n, view_of(seen), items, out, how);
      });
}

py::object score_rows(const HeldView& held, const Array<std::int32_t>& users, const Array<std::int32_t>& items,
                      std::int32_t n_threads) {
  return std::visit(
      [&]<class T>(const ModelView<T>& model) -> py::object {
        Array<T> out({users.size(), items.size()});
        const std::span<T> target = mutable_view(out);
        const AnswerOptions how = options(n_threads);
        {
          const WithoutGil no_gil;
          score_items<T>(model, python::view(users), python::view(items), target, how);
        }
        return out;
      },
      held.view);
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<HeldView> view(m, "ModelView",
                            "A model's arrays, not copied. Known rows (None: all) have training ratings.");
  bind_init<float>(view);
  bind_init<double>(view);
  bind_uncertainty<float>(m);
  bind_uncertainty<double>(m);
  view.def("predict", &predict_pairs, "The prediction for each pair of codes; -1 is an unknown row.",
           py::arg("users").noconvert(), py::arg("items").noconvert(), py::arg("n_threads") = 0);
  view.def("recommend", &recommend_rows,
           "(items, predictions): the n best known items of each user, or of each group of users, without those in the "
           "users' rows of `seen`; empty slots hold -1 and NaN. See AnswerOptions of the C++ library.",
           py::arg("users").noconvert(), py::arg("n"), py::arg("seen") = py::none(), py::arg("n_threads") = 0,
           py::kw_only(), py::arg("confidence") = 0.0, py::arg("exploration") = 0.0, py::arg("seed") = py::none(),
           py::arg("diversity") = 0.0, py::arg("allowed").noconvert() = py::none(), py::arg("only") = py::none(),
           py::arg("without") = py::none(), py::arg("groups").noconvert() = py::none(), py::arg("group") = "mean");
  view.def("score_items", &score_rows, "The prediction of each user for each item, a row for each user.",
           py::arg("users").noconvert(), py::arg("items").noconvert(), py::arg("n_threads") = 0);
  view.def(
      "similar_items",
      [](const HeldView& held, const Array<std::int32_t>& items, std::int32_t n, std::int32_t n_threads) {
        return search_rows(held, items.size(), n, n_threads,
                           [&]<class T>(const ModelView<T>& model, std::span<std::int32_t> similar, std::span<T> out,
                                        const AnswerOptions& how) {
                             similar_items<T>(model, python::view(items), n, similar, out, how);
                           });
      },
      "(items, cosines): the n known items most like each; empty slots hold -1 and NaN.", py::arg("items").noconvert(),
      py::arg("n"), py::arg("n_threads") = 0);
  m.def(
      "group_by_user",
      [](const Array<std::int32_t>& users, const Array<std::int32_t>& items, std::int32_t n_users) {
        RowLists lists;
        {
          const WithoutGil no_gil;
          lists = group_by_user(python::view(users), python::view(items), n_users);
        }
        const auto n_pairs = static_cast<py::ssize_t>(lists.items.size());
        return py::make_tuple(adopt(std::move(lists.indptr), {static_cast<py::ssize_t>(n_users) + 1}),
                              adopt(std::move(lists.items), {n_pairs}));
      },
      "(indptr, items): each user's items, sorted, without repeats.", py::arg("users").noconvert(),
      py::arg("items").noconvert(), py::arg("n_users"));
}

}  // namespace warpfactor::python
