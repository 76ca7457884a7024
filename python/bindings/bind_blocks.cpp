// SPDX-License-Identifier: Apache-2.0
// Training whose ratings several processes hold: what one of them does, and the trainer that has them do it.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <cstring>
#include <numeric>
#include <string>
#include <type_traits>

#include "arrays.hpp"
#include "cpu/user_block.hpp"
#include "elsewhere.hpp"
#include "ratings.hpp"
#include "warpfactor/train.hpp"

namespace warpfactor::python {
namespace {

/// A NumPy array that takes over the buffer's memory.
template <class T>
py::array_t<T> adopt_buffer(Buffer<T>&& buffer) {
  auto owned = std::make_unique<Buffer<T>>(std::move(buffer));
  T* const data = owned->data();
  const py::ssize_t size = owned->size();
  py::capsule free(owned.get(), [](void* of) { delete static_cast<Buffer<T>*>(of); });
  owned.release();
  return py::array_t<T>({size}, data, free);
}

template <class T>
Buffer<T> buffer_of(std::span<const T> from) {
  Buffer<T> copy(static_cast<std::int64_t>(from.size()));
  std::copy(from.begin(), from.end(), copy.data());
  return copy;
}

template <class T>
void assign_all(std::span<T> to, const Array<T>& from, const char* name) {
  if (static_cast<std::size_t>(from.size()) != to.size()) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(from.size()) + " numbers; it must have " +
                                std::to_string(to.size()));
  }
  std::copy_n(from.data(), to.size(), to.begin());
}

/// An array that is written to, which must be the caller's own.
template <class T>
std::span<T> changed_span(Array<T>& array, const char* name) {
  if (!array.writeable()) throw std::invalid_argument(std::string(name) + " is read-only; it must be a copy");
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

/// The bytes of a plan: all processes of a fit have the same build.
py::bytes bytes_of(const BlockPlan& plan) {
  static_assert(std::is_trivially_copyable_v<BlockPlan>);
  return {reinterpret_cast<const char*>(&plan), sizeof(plan)};
}
BlockPlan plan_of(const std::string& bytes) {
  if (bytes.size() != sizeof(BlockPlan)) {
    throw std::invalid_argument("the plan is of another build of warpfactor: install the same one on all machines");
  }
  BlockPlan plan;
  std::memcpy(static_cast<void*>(&plan), bytes.data(), sizeof(plan));
  return plan;
}

py::dict described(const SideCut& cut) {
  py::dict out;
  out["position"] = adopt(std::vector<std::int32_t>(cut.position), {static_cast<py::ssize_t>(cut.position.size())});
  out["begin"] = cut.begin;
  out["first_stripe"] = cut.first_stripe;
  return out;
}

PartMoments moments_of(const Survey& rated) {
  return {rated.counted, rated.weight, rated.mean, rated.deviation, rated.low, rated.high};
}
using MomentNumbers = std::tuple<std::int64_t, double, double, double, float, float>;
MomentNumbers numbers_of(const PartMoments& part) {
  return {part.counted, part.weight, part.mean, part.deviation, part.low, part.high};
}
PartMoments part_of(const MomentNumbers& numbers) {
  return std::apply([](auto... each) { return PartMoments{each...}; }, numbers);
}

/// A backend whose work Python has done elsewhere. `methods` is borrowed: the caller keeps it.
template <class T>
class CalledBackend final : public Backend<T> {
 public:
  explicit CalledBackend(py::handle methods) : methods_(methods) {}

  void upload(const RatingSource&, const Survey& rated, const Standardization& z, const Start<T>& start,
              const TrainParams& params, const TrainOptions<T>& options, const RatingsView& pairs) override {
    const std::int64_t k = params.n_factors;
    counted_ = static_cast<double>(rated.counted);
    const RatingsView& held_out = options.validation;
    valid_weight_ = held_out.weights.empty() ? static_cast<double>(held_out.size())
                                             : std::accumulate(held_out.weights.begin(), held_out.weights.end(), 0.0);
    const auto first = [k](const typename Start<T>::Row& row, std::size_t n) {
      std::pair<std::vector<T>, std::vector<T>> rows{std::vector<T>(n * static_cast<std::size_t>(k)),
                                                     std::vector<T>(n)};
      for (std::size_t r = 0; r < n; ++r) {
        rows.second[r] = row(static_cast<std::int64_t>(r), rows.first.data() + static_cast<std::int64_t>(r) * k);
      }
      return rows;
    };
    auto users = first(start.user, rated.user_counts.size()), items = first(start.item, rated.item_counts.size());
    const WithGil gil;
    const auto array = [](const auto& values) {
      using V = std::remove_cvref_t<decltype(values[0])>;
      return py::array_t<V>(static_cast<py::ssize_t>(values.size()), values.data());
    };
    const auto arrays_of = [&](const RatingsView& of) {
      const py::object weights = of.weights.empty() ? py::none() : py::object(array(of.weights));
      return py::make_tuple(array(of.users), array(of.items), array(of.values), weights);
    };
    py::object validation = py::none(), implicit = py::none();
    if (held_out.size() > 0) validation = arrays_of(held_out);
    if (!pairs.users.empty()) implicit = py::make_tuple(array(pairs.users), array(pairs.items));
    const auto arrays = [k](auto& rows) {
      const auto n = static_cast<py::ssize_t>(rows.second.size());
      return py::make_tuple(python::adopt(std::move(rows.first), {n, static_cast<py::ssize_t>(k)}),
                            python::adopt(std::move(rows.second), {n}));
    };
    methods_.attr("upload")(BlockPlan{params, z}, arrays(users), arrays(items), validation, implicit);
  }
  MeanLoss run_epoch(std::int32_t epoch, double learning_rate, std::int32_t active_factors) override {
    return mean_of("run_epoch", counted_, epoch, learning_rate, active_factors);
  }
  ~CalledBackend() override {  // a visit that ended by an exception leaves arrays behind
    const WithGil gil;
    read_.reset();
  }
  void update_means(std::int32_t active_factors) override { call("update_means", active_factors); }
  MeanLoss evaluate() override { return mean_of("evaluate", valid_weight_); }
  void keep() override { call("keep"); }
  void restore() override { call("restore"); }
  /// The blocks' packed rows and means, each block as a row.
  void visit_state(StateAccess access, bool kept, const StateVisit<T>& visit) override {
    const WithGil gil;
    if (kept && access == StateAccess::write) methods_.attr("keep")();  // makes room for it
    // Who asks for shapes reads next, and each time all workers send all that they have.
    if (access != StateAccess::read || !read_) read_ = methods_.attr("state")(kept).template cast<Arrays>();
    for (auto& [name, array] : *read_) {
      // What workers send may not be written to.
      if (access == StateAccess::write) array = Array<T>(array.size());
      T* const data = access == StateAccess::shapes ? nullptr : const_cast<T*>(array.data());
      if (array.size() > 0) visit({name, data, 1, array.size(), array.size()});  // a block may have no rows
    }
    if (access == StateAccess::write) methods_.attr("set_state")(*read_, kept);
    if (access != StateAccess::shapes) read_.reset();
  }
  void release() override { call("release"); }
  void download(Model<T>& model) override {
    const WithGil gil;
    const auto arrays = methods_.attr("download")().template cast<std::tuple<Array<T>, Array<T>, Array<T>, Array<T>>>();
    const auto k = static_cast<std::size_t>(model.n_factors);
    model.user_factors.resize(model.user_biases.size() * k);
    model.item_factors.resize(model.item_biases.size() * k);
    assign_all<T>(model.user_factors, std::get<0>(arrays), "user_factors");
    assign_all<T>(model.user_biases, std::get<1>(arrays), "user_biases");
    assign_all<T>(model.item_factors, std::get<2>(arrays), "item_factors");
    assign_all<T>(model.item_biases, std::get<3>(arrays), "item_biases");
  }
  [[nodiscard]] std::int32_t n_threads() const override {
    const WithGil gil;
    return methods_.attr("n_threads")().template cast<std::int32_t>();
  }
  [[nodiscard]] std::string instruction_set() const override {
    const WithGil gil;
    return methods_.attr("instruction_set")().template cast<std::string>();
  }

 private:
  template <class... Arguments>
  void call(const char* method, Arguments... arguments) {
    const WithGil gil;
    methods_.attr(method)(arguments...);
  }
  template <class... Arguments>
  MeanLoss mean_of(const char* method, double weight, Arguments... arguments) {
    const WithGil gil;
    const auto [loss, square] = methods_.attr(method)(arguments...).template cast<std::pair<double, double>>();
    return {loss / weight, square / weight};
  }

  using Arrays = std::vector<std::pair<std::string, Array<T>>>;
  py::handle methods_;
  std::optional<Arrays> read_;  ///< between two visits
  double counted_ = 0, valid_weight_ = 0;
};

template <class T>
py::dict train_called(const RatingArrays& sample, const Array<std::uint32_t>& user_counts,
                      const Array<std::uint32_t>& item_counts, const MomentNumbers& moments, const TrainParams& params,
                      const py::object& backend, const std::optional<RatingArrays>& validation,
                      const py::object& on_epoch, const py::object& on_snapshot,
                      const std::optional<py::dict>& checkpoints, std::uintptr_t loss, std::uintptr_t penalty,
                      const std::optional<PairArrays>& implicit) {
  Elsewhere<T> elsewhere;
  Survey& rated = elsewhere.rated;
  const PartMoments all = part_of(moments);
  rated.counted = all.counted;
  rated.weight = all.weight;
  rated.mean = all.mean;
  rated.deviation = all.deviation;
  rated.low = all.low;
  rated.high = all.high;
  rated.user_counts.assign(user_counts.data(), user_counts.data() + user_counts.size());
  rated.item_counts.assign(item_counts.data(), item_counts.data() + item_counts.size());
  elsewhere.backend = std::make_unique<CalledBackend<T>>(backend);
  const auto n_users = static_cast<std::int32_t>(user_counts.size()),
             n_items = static_cast<std::int32_t>(item_counts.size());
  TrainOptions<T> options;
  if (validation) options.validation = python::view(*validation, n_users, n_items);
  options.loss = reinterpret_cast<LossFunction<T>>(loss);
  options.penalty = reinterpret_cast<PenaltyFunction<T>>(penalty);
  options.implicit = python::view(implicit);
  options.interrupted = signal_poll();
  take_watchers(options, on_epoch, on_snapshot);
  options.checkpoints = checkpoints_of(checkpoints);
  const RatingsView ratings = python::view(sample, n_users, n_items);
  TrainResult<T> result;
  {
    const WithoutGil no_gil;
    result = train_elsewhere<T>(ratings, params, options, std::move(elsewhere));
  }
  return with_choice(std::move(result));
}

enum class MeansPart { leave, precondition, scale, coefficients, means };
MeansPart means_part(const std::string& name) {
  const char* const names[] = {"leave", "precondition", "scale", "coefficients", "means"};
  for (int n = 0; n < 5; ++n) {
    if (name == names[n]) return static_cast<MeansPart>(n);
  }
  throw py::key_error(name);
}

/// Part of a step of the prior means, on a block's packed rows and means.
template <class T>
std::vector<double> step_means(MeansPart part, const TrainParams& params, std::int64_t n_rows,
                               std::int32_t active_factors, T* rows, T* means, std::span<const T> along,
                               ThreadTeam& team) {
  MeansStep<T> step(params, n_rows, padded_stride<T>(active_factors), means, team);
  const std::span<const T> along_z = along.first(along.size() / 2), along_d = along.subspan(along.size() / 2);
  switch (part) {
    case MeansPart::leave: step.leave(rows); return {};
    case MeansPart::precondition: return step.precondition();
    case MeansPart::scale: return step.scale_work();
    case MeansPart::coefficients: step.move_coefficients(along_z, along_d); return {};
    case MeansPart::means: step.move_means(rows, along_z, along_d); return {};
  }
  return {};
}

template <class T>
void bind_block(py::module_& m, const std::string& type) {
  using Block = UserBlock<T>;
  const auto span = [](const Array<T>& array) { return python::view(array); };
  py::class_<Block>(m, ("UserBlock_" + type).c_str(), "A block of users with all of their ratings.")
      .def(py::init([](const RatingArrays& ratings, std::int32_t n_users, std::int32_t n_items, const BlockPlan& plan,
                       std::int32_t number, const py::dict& cut, std::int32_t n_threads,
                       const std::optional<PairArrays>& pairs, std::uintptr_t loss, std::uintptr_t penalty) {
             Cut own;
             own.users.begin = cut["users"].cast<std::vector<std::int32_t>>();
             own.items.begin = cut["items"].cast<std::vector<std::int32_t>>();
             own.items.first_stripe = cut["first_stripe"].cast<std::vector<std::int32_t>>();
             own.users_outer = cut["users_outer"].cast<bool>();
             own.band_rows = cut["band_rows"].cast<std::int32_t>();
             const RatingsView view = python::view(ratings, n_users, n_items);
             BlockOptions<T> options;
             options.pairs = python::view(pairs);
             options.loss = reinterpret_cast<LossFunction<T>>(loss);
             options.penalty = reinterpret_cast<PenaltyFunction<T>>(penalty);
             options.interrupted = signal_poll();
             const WithoutGil no_gil;
             return std::make_unique<Block>(view, std::move(own), plan, number, n_threads, std::move(options));
           }),
           py::arg("ratings"), py::arg("n_users"), py::arg("n_items"), py::arg("plan"), py::arg("number"),
           py::arg("cut"), py::arg("n_threads"), py::arg("pairs") = py::none(), py::arg("loss") = 0,
           py::arg("penalty") = 0)
      .def("rows", [](Block& block) { return adopt_buffer(buffer_of<T>(block.rows())); })
      .def(
          "set_rows", [](Block& block, const Array<T>& rows) { assign_all(block.rows(), rows, "rows"); },
          py::arg("rows"))
      .def(
          "run",
          [](Block& block, std::int32_t item_block, Array<T>& items, std::int32_t epoch, double learning_rate,
             std::int32_t active_factors) {
            const std::span<T> moved = changed_span(items, "items");
            if (reinterpret_cast<std::uintptr_t>(moved.data()) % kRowAlignment !=
                0) {  // rows are loaded as whole vectors
              throw std::invalid_argument("items must begin at a multiple of " + std::to_string(kRowAlignment) +
                                          " bytes");
            }
            PassSums sums;
            {
              const WithoutGil no_gil;
              sums = block.run(item_block, moved, epoch, learning_rate, active_factors);
            }
            return py::make_tuple(sums.loss, sums.squares);
          },
          "Moves the items in place.", py::arg("item_block"), py::arg("items").noconvert(), py::arg("epoch"),
          py::arg("learning_rate"), py::arg("active_factors"))
      .def(
          "take_validation",
          [](Block& block, const RatingArrays& validation) { block.take_validation(python::view(validation, 0, 0)); },
          py::arg("validation"))
      .def(
          "evaluate",
          [span](Block& block, std::int32_t item_block, const Array<T>& items) {
            const std::span<const T> given = span(items);
            PassSums sums;
            {
              const WithoutGil no_gil;
              sums = block.evaluate(item_block, given);
            }
            return py::make_tuple(sums.loss, sums.squares);
          },
          py::arg("item_block"), py::arg("items"))
      .def("item_counts",
           [](Block& block) {
             std::vector<std::int64_t> counts = block.means()->item_counts();
             const auto n = static_cast<py::ssize_t>(counts.size());
             return python::adopt(std::move(counts), {n});
           })
      .def("item_diagonal",
           [](Block& block) {
             std::vector<double> diagonal = block.means()->item_diagonal();
             const auto n = static_cast<py::ssize_t>(diagonal.size());
             return python::adopt(std::move(diagonal), {n});
           })
      .def(
          "begin_means",
          [](Block& block, const Array<double>& item_scales) { block.means()->begin(python::view(item_scales)); },
          py::arg("item_scales"))
      .def("means", [](Block& block) { return adopt_buffer(buffer_of<T>(block.means()->packed())); })
      .def(
          "set_means", [](Block& block, const Array<T>& means) { assign_all(block.means()->packed(), means, "means"); },
          py::arg("means"))
      .def(
          "add_to_items",
          [](Block& block, std::int32_t item_block, Array<T>& item_work, std::int32_t active_factors) {
            const std::span<T> sums = changed_span(item_work, "item_work");
            const WithoutGil no_gil;
            block.means()->add_to_items(item_block, sums.data(), padded_stride<T>(active_factors));
          },
          "Adds in place.", py::arg("item_block"), py::arg("item_work").noconvert(), py::arg("active_factors"))
      .def(
          "sum_items",
          [](Block& block, const std::vector<Array<T>>& items, std::int32_t active_factors) {
            std::vector<const T*> all;
            for (const Array<T>& each : items) all.push_back(each.data());
            const WithoutGil no_gil;
            block.means()->sum_items(all, padded_stride<T>(active_factors));
          },
          py::arg("item_work"), py::arg("active_factors"))
      .def(
          "step_means",
          [span](Block& block, const std::string& part, std::int32_t active_factors, const Array<T>& along) {
            const WithoutGil no_gil;
            return step_means<T>(means_part(part), block.plan().params, block.n_users(), active_factors,
                                 block.rows().data(), block.means()->packed().data(), span(along), block.team());
          },
          py::arg("part"), py::arg("active_factors"), py::arg("along"));

  m.def(("step_item_means_" + type).c_str(),
        [span](const std::string& part, const BlockPlan& plan, std::int64_t n_rows, std::int32_t active_factors,
               const Array<T>& rows, const Array<T>& means, const Array<T>& along, std::int32_t n_threads) {
          Buffer<T> new_rows = buffer_of(span(rows)), new_means = buffer_of(span(means));
          std::vector<double> sums;
          {
            const WithoutGil no_gil;
            ThreadTeam team(team_size(n_threads, n_rows / 4096));
            sums = step_means<T>(means_part(part), plan.params, n_rows, active_factors, new_rows.data(),
                                 new_means.data(), span(along), team);
          }
          return py::make_tuple(adopt_buffer(std::move(new_rows)), adopt_buffer(std::move(new_means)), sums);
        },
        "Part of a step of the prior means, of a block of items: new rows and means, and sums.", py::arg("part"),
        py::arg("plan"), py::arg("n_rows"), py::arg("active_factors"), py::arg("rows"), py::arg("means"),
        py::arg("along"), py::arg("n_threads"));
  m.def(("least_along_" + type).c_str(),
        [](const std::vector<double>& sums) {
          std::vector<T> along = least_along<T>(sums);
          const auto n = static_cast<py::ssize_t>(along.size());
          return python::adopt(std::move(along), {n});
        },
        "How far a step of the prior means goes, from the sums over both sides.", py::arg("sums"));
  m.def(("packed_rows_" + type).c_str(),
        [span](const BlockPlan& plan, bool of_users, const Array<T>& factors, const Array<T>& biases,
               const Array<double>& weights) {
          return adopt_buffer(packed<T>(plan, of_users, span(factors), span(biases), python::view(weights)));
        },
        "The rows that training starts from, as blocks send them.", py::arg("plan"), py::arg("of_users"),
        py::arg("factors"), py::arg("biases"), py::arg("weights"));
  m.def(("packed_means_" + type).c_str(),
        [](const BlockPlan& plan, const Array<double>& scales, const Array<double>& diagonal) {
          const PackedMeans<T> layout(plan.params.n_factors, scales.size());
          Buffer<T> means(layout.size());
          std::fill_n(means.data(), means.size(), T(0));
          for (py::ssize_t row = 0; row < scales.size(); ++row) {
            layout.at(means.data(), PackedMeans<T>::scale)[row] = static_cast<T>(scales.data()[row]);
            layout.at(means.data(), PackedMeans<T>::diagonal)[row] = static_cast<T>(diagonal.data()[row]);
          }
          return adopt_buffer(std::move(means));
        },
        "What a block of items keeps for the prior means, at the start.", py::arg("plan"), py::arg("scales"),
        py::arg("diagonal"));
  m.def(("empty_work_" + type).c_str(),
        [](const BlockPlan& plan, std::int64_t n_rows) {
          Buffer<T> work(PackedMeans<T>(plan.params.n_factors, n_rows).work_size());
          std::fill_n(work.data(), work.size(), T(0));
          return adopt_buffer(std::move(work));
        },
        "The work of a block of items, the first part of its means, before users add to it.", py::arg("plan"),
        py::arg("n_rows"));
  m.def(("unpacked_rows_" + type).c_str(),
        [span](const BlockPlan& plan, const Array<T>& rows, std::int64_t n_rows) {
          std::vector<T> factors(static_cast<std::size_t>(n_rows * plan.params.n_factors)),
              biases(static_cast<std::size_t>(n_rows));
          unpack<T>(plan, span(rows), factors, biases);
          return py::make_tuple(
              python::adopt(std::move(factors), {n_rows, static_cast<py::ssize_t>(plan.params.n_factors)}),
              python::adopt(std::move(biases), {n_rows}));
        },
        "The factors and biases of packed rows, in the units of training.", py::arg("plan"), py::arg("rows"),
        py::arg("n_rows"));
  m.def(("train_elsewhere_" + type).c_str(), &train_called<T>,
        "Factorize ratings that a backend holds; returns what train_float32 returns.", py::arg("sample"),
        py::arg("user_counts"), py::arg("item_counts"), py::arg("moments"), py::arg("params"), py::arg("backend"),
        py::arg("validation") = py::none(), py::arg("on_epoch") = py::none(), py::arg("on_snapshot") = py::none(),
        py::arg("checkpoints") = py::none(), py::arg("loss") = 0, py::arg("penalty") = 0,
        py::arg("implicit") = py::none());
}

}  // namespace

void bind_blocks(py::module_& m) {
  py::class_<BlockPlan>(m, "BlockPlan", "What the trainer has decided, for those who train. It can be pickled.")
      .def_property_readonly("n_factors", [](const BlockPlan& plan) { return plan.params.n_factors; })
      .def_property_readonly("seed", [](const BlockPlan& plan) { return plan.params.seed; })
      .def_property_readonly("user_means", [](const BlockPlan& plan) { return has_means(plan.params, true); })
      .def_property_readonly("item_means", [](const BlockPlan& plan) { return has_means(plan.params, false); })
      .def(py::pickle([](const BlockPlan& plan) { return bytes_of(plan); },
                      [](const py::bytes& bytes) { return plan_of(bytes); }));
  m.def(
      "moments_of",
      [](const RatingArrays& ratings, std::int32_t n_users, std::int32_t n_items) {
        const RatingsView all = python::view(ratings, n_users, n_items);
        Survey rated;
        rated.user_counts.assign(static_cast<std::size_t>(n_users), 0);
        rated.item_counts.assign(static_cast<std::size_t>(n_items), 0);
        if (all.size() > 0) {
          const WithoutGil no_gil;
          ThreadTeam team(1);
          rated = survey(all, "ratings", team);
        }
        return py::make_tuple(numbers_of(moments_of(rated)), python::adopt(std::move(rated.user_counts), {n_users}),
                              python::adopt(std::move(rated.item_counts), {n_items}));
      },
      "What a part of the ratings tells: its moments, and the counts of the rows of both sides.", py::arg("ratings"),
      py::arg("n_users"), py::arg("n_items"));
  m.def(
      "joined_moments",
      [](const std::vector<MomentNumbers>& parts) {
        std::vector<PartMoments> all;
        for (const MomentNumbers& each : parts) all.push_back(part_of(each));
        return numbers_of(joined(all));
      },
      "The moments of all parts, in the order given.", py::arg("parts"));
  m.def(
      "cut_sides",
      [](const Array<std::uint32_t>& user_counts, const Array<std::uint32_t>& item_counts, std::int64_t n_ratings,
         const TrainParams& params, std::int32_t n_blocks, std::int64_t number_bytes) {
        Survey rated;
        rated.counted = n_ratings;
        rated.user_counts.assign(user_counts.data(), user_counts.data() + user_counts.size());
        rated.item_counts.assign(item_counts.data(), item_counts.data() + item_counts.size());
        ThreadTeam team(1);
        const Cut cut = cut_sides(rated, params, n_blocks, number_bytes, team);
        py::dict out;
        out["users"] = described(cut.users);
        out["items"] = described(cut.items);
        out["users_outer"] = cut.users_outer;
        out["band_rows"] = cut.band_rows;
        return out;
      },
      "Both sides in the order in which they are trained, cut into stripes and blocks.", py::arg("user_counts"),
      py::arg("item_counts"), py::arg("n_ratings"), py::arg("params"), py::arg("n_blocks"), py::arg("number_bytes"));
  m.def(
      "block_order",
      [](std::int32_t n_blocks, std::uint64_t seed, std::int32_t epoch) {
        const BlockOrder order = block_order(n_blocks, seed, epoch);
        return py::make_tuple(order.users, order.items, order.n_groups, order.n_rounds);
      },
      "The orders in which an epoch takes the blocks of users and of items; the groups of users and the rounds of "
      "items.",
      py::arg("n_blocks"), py::arg("seed"), py::arg("epoch"));
  m.def(
      "sampled_users",
      [](const Array<std::int32_t>& users, std::int64_t counted, std::uint64_t seed) {
        py::array_t<bool> sampled(users.size());
        bool* const to = sampled.mutable_data();
        for (py::ssize_t n = 0; n < users.size(); ++n) to[n] = is_sampled(users.data()[n], counted, seed);
        return sampled;
      },
      "Whether training looks at the ratings of each user before the first epoch.", py::arg("users"),
      py::arg("counted"), py::arg("seed"));
  bind_block<float>(m, "float32");
  bind_block<double>(m, "float64");
}

}  // namespace warpfactor::python
