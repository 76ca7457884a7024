// SPDX-License-Identifier: Apache-2.0
// The file is one of array_file.hpp. Its texts are JSON, its numbers arrays of doubles, and its last array is a
// checksum of all that stands before it, the header included.
#include "checkpoint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string_view>
#include <system_error>

#include "require.hpp"
#include "serving/crc32.hpp"
#include "serving/json.hpp"
#include "serving/stored_params.hpp"
#include "serving/whole_file.hpp"
#include "warpfactor/version.hpp"

namespace warpfactor {
namespace {

namespace fs = std::filesystem;
using array_file::Array;
using array_file::Contents;
using array_file::Damaged;

constexpr char kFormat[] = "warpfactor.Checkpoint", kFormatVersion[] = "1", kChecksum[] = "crc32";

// What a training may change when it goes on: only how it is carried out, not what it computes. A change of the second
// ones can change the bits.
const std::set<std::string_view> kFree = {"n_threads", "device_memory"},
                                 kCarriesOut = {"parallel", "device", "device_index", "half"};

/// The numbers of a standardization, of an epoch's report and of early stopping, as they stand in their arrays.
constexpr double Standardization::* kUnits[] = {
    &Standardization::shift,       &Standardization::scale,          &Standardization::weight_scale,
    &Standardization::model_scale, &Standardization::loss_scale,     &Standardization::global_mean,
    &Standardization::start_bias,  &Standardization::start_factor,   &Standardization::start_score,
    &Standardization::max_slope,   &Standardization::furthest_error, &Standardization::lowest};
constexpr double LossShape<double>::* kShape[] = {&LossShape<double>::offset,       &LossShape<double>::delta,
                                                  &LossShape<double>::floor,        &LossShape<double>::answer_scale,
                                                  &LossShape<double>::answer_shift, &LossShape<double>::slope_scale};
constexpr double EpochReport::* kReported[] = {&EpochReport::seconds,    &EpochReport::learning_rate,
                                               &EpochReport::train_rmse, &EpochReport::train_loss,
                                               &EpochReport::valid_rmse, &EpochReport::valid_loss};

std::string object_text(const std::map<std::string, std::string>& texts) {
  std::string all = "{";
  for (const auto& [name, value] : texts) {
    if (all.size() > 1) all += ", ";
    all.append(json::quoted(name)).append(": ").append(json::quoted(value));
  }
  return all + "}";
}
std::map<std::string, std::string> texts_of(const json::Value& object) {
  std::map<std::string, std::string> texts;
  for (const auto& [name, value] : object.object()) texts[name] = value.string();
  return texts;
}

std::uint32_t checksum(std::uint32_t crc, const std::string& text) {
  return crc32(crc, reinterpret_cast<const unsigned char*>(text.data()), text.size());
}

template <class V>
std::uint32_t checksum(std::uint32_t crc, std::span<const V> values) {
  return crc32(crc, reinterpret_cast<const unsigned char*>(values.data()), values.size_bytes());
}

std::string hexadecimal(std::uint32_t crc) {
  char digits[9];
  std::snprintf(digits, sizeof digits, "%08x", crc);
  return digits;
}

std::string pairs_text(const RatingChecksums& sums, bool rated) {
  if (sums.n_ratings == 0) return "none";
  return std::to_string(sums.n_ratings) + " (checksums " + hexadecimal(sums.users) + " " + hexadecimal(sums.items) +
         (rated ? " " + hexadecimal(sums.values) : "") + ")";
}
std::string weights_text(const RatingChecksums& sums) {
  if (!sums.weighted) return "none";
  return std::to_string(sums.n_ratings) + " (checksum " + hexadecimal(sums.weights) + ")";
}

template <class V>
std::string array_text(std::span<const V> values) {
  if (values.empty()) return "none";
  return std::to_string(values.size()) + " (checksum " + hexadecimal(checksum(0, values)) + ")";
}

/// Reads a part of a file at a time, so that there is no copy of it all, and calls work(bytes, how many).
template <class Work>
void read_parts(Contents& contents, std::uint64_t begin, std::uint64_t bytes, std::size_t at_once, const Work& work) {
  std::vector<unsigned char> part(static_cast<std::size_t>(std::min<std::uint64_t>(bytes, at_once)));
  contents.file.clear();
  contents.file.seekg(static_cast<std::streamoff>(begin));
  for (std::uint64_t done = 0; done < bytes; done += part.size()) {
    part.resize(static_cast<std::size_t>(std::min<std::uint64_t>(part.size(), bytes - done)));
    array_file::require(static_cast<bool>(contents.file.read(reinterpret_cast<char*>(part.data()),
                                                             static_cast<std::streamsize>(part.size()))),
                        "it ends early");
    work(part.data(), part.size());
  }
}
constexpr std::size_t kPartBytes = 1 << 20;

/// A small array.
template <class V>
std::vector<V> values_in(Contents& contents, const char* name) {
  const auto found = contents.arrays.find(name);
  array_file::require(found != contents.arrays.end(), std::string("it has no ") + name);
  const Array& array = found->second;
  array_file::require(array.type == array_file::type_name<V>() && array.shape.size() == 1,
                      std::string(name) + " has another type");
  std::vector<V> values;
  values.reserve(array.bytes / sizeof(V));
  read_parts(contents, array.begin, array.bytes, kPartBytes, [&](const unsigned char* part, std::size_t bytes) {
    const std::size_t n_before = values.size();
    values.resize(n_before + bytes / sizeof(V));
    std::memcpy(values.data() + n_before, part, bytes);
  });
  return values;
}

/// A file of this format, undamaged.
Contents checked_contents(const fs::path& path) {
  const std::string name = path.string();
  std::error_code none;
  if (!fs::exists(path, none)) throw ModelFileError("there is no checkpoint " + name);
  if (!fs::is_regular_file(path, none)) throw ModelFileError(name + " is no file, so no checkpoint");
  Contents contents = array_file::opened(path);
  const auto told = [&](const char* key) {
    const auto found = contents.metadata.find(key);
    return found == contents.metadata.end() ? std::string() : found->second;
  };
  if (told("format") == "warpfactor.Model") {
    throw ModelFileError(name + " is a model, and no checkpoint: a model is gone on from by warm_start");
  }
  if (told("format") != kFormat) throw ModelFileError(name + " is a safetensors file, but no checkpoint of warpfactor");
  if (told("format_version") != kFormatVersion) {
    throw ModelFileError(name + " has format version " + told("format_version").substr(0, 20) +
                         ", written by warpfactor " + told("warpfactor_version").substr(0, 40) +
                         "; this is " WARPFACTOR_VERSION ", which reads version " + kFormatVersion +
                         ": update warpfactor");
  }
  array_file::require(!contents.order.empty() && contents.order.back().first == kChecksum, "it has no checksum");
  const auto stored = values_in<std::uint32_t>(contents, kChecksum);
  array_file::require(stored.size() == 1, "it has no checksum");
  const std::uint64_t begin = contents.order.front().second->begin, end = contents.order.back().second->begin;
  std::uint32_t crc = checksum(0, contents.header);
  read_parts(contents, begin, end - begin, kPartBytes,
             [&](const unsigned char* part, std::size_t bytes) { crc = crc32(crc, part, bytes); });
  array_file::require(stored[0] == crc, "its contents do not match their checksum");
  return contents;
}

/// Calls `read`, and words what it throws of a damaged file.
template <class Read>
auto worded(const fs::path& path, const Read& read) {
  const auto damaged = [&](const std::exception& error) {
    return ModelFileError(path.string() + " is damaged, or no checkpoint (" + error.what() +
                          "): go on from another, or begin anew");
  };
  try {
    return read();
  } catch (const Damaged& error) {
    throw damaged(error);
  } catch (const json::Error& error) {
    throw damaged(error);
  } catch (const std::out_of_range& error) {
    throw damaged(error);
  } catch (const fs::filesystem_error& error) {
    throw ModelFileError(path.string() + " cannot be read: " + error.code().message());
  }
}

const std::string& text_in(const Contents& contents, const char* name) {
  const auto found = contents.metadata.find(name);
  array_file::require(found != contents.metadata.end(), std::string("it has no '") + name + "'");
  return found->second;
}

std::vector<double> numbers_in(Contents& contents, const char* name, std::size_t multiple) {
  std::vector<double> numbers = values_in<double>(contents, name);
  array_file::require(numbers.size() % multiple == 0, std::string(name) + " has no whole rows");
  return numbers;
}

std::vector<EpochReport> history_in(Contents& contents) {
  constexpr std::size_t kColumns = std::size(kReported);
  const std::vector<double> numbers = numbers_in(contents, "history", kColumns);
  array_file::require(numbers.size() / kColumns < std::numeric_limits<std::int32_t>::max(), "its history is too long");
  std::vector<EpochReport> history(numbers.size() / kColumns);
  for (std::size_t n = 0; n < history.size(); ++n) {
    history[n].epoch = static_cast<std::int32_t>(n) + 1;
    for (std::size_t c = 0; c < kColumns; ++c) history[n].*kReported[c] = numbers[n * kColumns + c];
  }
  return history;
}

/// What a text of a parameter says to people.
std::string told(const std::string& text) { return text == "null" ? "left open" : text; }

}  // namespace

void RatingChecksums::add(const RatingsView& part, ThreadTeam& team) {
  n_ratings += static_cast<std::int64_t>(part.users.size());
  weighted |= !part.weights.empty();
  team.run(4, [&](std::int64_t array, int) {
    if (array == 0) users = checksum(users, part.users);
    if (array == 1) items = checksum(items, part.items);
    if (array == 2) values = checksum(values, part.values);
    if (array == 3) weights = checksum(weights, part.weights);
  });
}

template <class T>
Likeness likeness_of(const RatingChecksums& ratings, std::int64_t n_users, std::int64_t n_items,
                     const TrainOptions<T>& options, ThreadTeam& team) {
  RatingChecksums validation, implicit;
  validation.add(options.validation, team);
  implicit.add(options.implicit, team);
  Likeness likeness = options.checkpoints.context;
  likeness["rows"] = std::to_string(n_users) + " users and " + std::to_string(n_items) + " items";
  likeness["ratings"] = pairs_text(ratings, true);
  likeness["weights"] = weights_text(ratings);
  likeness["validation"] = pairs_text(validation, true);
  likeness["validation weights"] = weights_text(validation);
  likeness["implicit"] = pairs_text(implicit, false);
  likeness["initial user factors"] = array_text(options.user_factors);
  likeness["initial item factors"] = array_text(options.item_factors);
  likeness["initial user biases"] = array_text(options.user_biases);
  likeness["initial item biases"] = array_text(options.item_biases);
  likeness["learning rates"] = array_text(options.learning_rates);
  likeness["dtype"] = sizeof(T) == sizeof(float) ? "float32" : "float64";
  return likeness;
}

template <class T>
void write_checkpoint(const fs::path& path, const TrainMemory& memory, const TrainParams& given,
                      const TrainParams& params, const Standardization& z, const Likeness& likeness, bool kept,
                      Backend<T>& backend) {
  std::vector<double> units, history;
  for (const auto member : kUnits) units.push_back(z.*member);
  for (const auto member : kShape) units.push_back(z.loss.*member);
  for (const EpochReport& report : memory.history) {
    for (const auto member : kReported) history.push_back(report.*member);
  }
  const EarlyStopping::State& stopping = memory.stopping;
  const std::vector<double> stops = {stopping.best, stopping.rate_share, memory.limit};
  const std::vector<double> recent(stopping.recent.begin(), stopping.recent.end());
  const std::map<std::string, std::string> metadata = {
      {"format", kFormat},
      {"format_version", kFormatVersion},
      {"warpfactor_version", WARPFACTOR_VERSION},
      {"instruction_set", backend.instruction_set()},
      {"given", object_text(param_texts(given))},
      {"params", object_text(param_texts(params))},
      {"likeness", object_text(likeness)},
      {"link", name_of(z.link)},
      {"memory", "{\"stopped\": " + std::string(memory.stopped ? "true" : "false") + ", \"kept\": " +
                     (kept ? "true" : "false") + ", \"best_epoch\": " + std::to_string(memory.best_epoch) +
                     ", \"best_length\": " + std::to_string(memory.best_length) + ", \"best_loss_epoch\": " +
                     std::to_string(stopping.best_epoch) + ", \"back_epoch\": " + std::to_string(stopping.back_epoch) +
                     ", \"went_back\": " + (stopping.went_back ? "true" : "false") + "}"}};

  std::vector<std::pair<std::string, Array>> arrays;
  const auto put = [&](const std::string& name, const char* type, std::vector<std::int64_t> shape, std::size_t bytes) {
    arrays.emplace_back(name, Array{type, std::move(shape), nullptr, bytes});
  };
  const std::pair<const char*, const std::vector<double>*> numbers[] = {{"units", &units},
                                                                        {"history", &history},
                                                                        {"learning_rates", &memory.learning_rates},
                                                                        {"stopping", &stops},
                                                                        {"recent", &recent}};
  for (const auto& [name, values] : numbers) {
    put(name, "F64", {static_cast<std::int64_t>(values->size())}, values->size() * sizeof(double));
  }
  backend.visit_state(StateAccess::shapes, kept, [&](const StateRows<T>& rows) {
    put(rows.name, array_file::type_name<T>(), {rows.n_rows, rows.width},
        static_cast<std::size_t>(rows.n_rows * rows.width) * sizeof(T));
  });
  put(kChecksum, "U32", {1}, sizeof(std::uint32_t));
  array_file::Ordered order;
  for (const auto& [name, array] : arrays) order.emplace_back(name, &array);
  const std::string header = array_file::header_of(order, metadata);

  WholeFile file(path);
  const std::uint64_t header_bytes = header.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(header.data(), header.size());
  std::uint32_t crc = checksum(0, header);
  const auto write = [&](const void* data, std::size_t bytes) {
    crc = crc32(crc, static_cast<const unsigned char*>(data), bytes);
    file.write(data, bytes);
  };
  for (const auto& [name, values] : numbers) write(values->data(), values->size() * sizeof(double));
  // A part at a time, so that no copy of it all is in memory.
  constexpr std::int64_t kPartNumbers = 1 << 18;
  std::vector<T> part;
  backend.visit_state(StateAccess::read, kept, [&](const StateRows<T>& rows) {
    const std::int64_t at_once = std::max<std::int64_t>(1, kPartNumbers / rows.width);
    for (std::int64_t first = 0; first < rows.n_rows; first += at_once) {
      const std::int64_t n = std::min(at_once, rows.n_rows - first);
      part.resize(static_cast<std::size_t>(n * rows.width));
      for (std::int64_t row = first; row < first + n; ++row) {
        const std::int64_t from = rows.position.empty() ? row : rows.position[static_cast<std::size_t>(row)];
        std::copy_n(rows.data + from * rows.stride, rows.width, part.data() + (row - first) * rows.width);
      }
      write(part.data(), part.size() * sizeof(T));
    }
  });
  const std::uint32_t whole = crc;
  file.write(&whole, sizeof whole);
  file.finish();
}

template <class T>
OpenedCheckpoint<T>::OpenedCheckpoint(const Checkpoints& checkpoints, const TrainParams& given,
                                      const Likeness& likeness, const std::string& instruction_set)
    : path_(checkpoints.resume.string()) {
  worded(checkpoints.resume, [&] {
    contents_ = checked_contents(checkpoints.resume);
    read_memory();
    compare(checkpoints, given, likeness, instruction_set);
  });
}

template <class T>
void OpenedCheckpoint<T>::read_memory() {
  const json::Value facts = json::parse(text_in(contents_, "memory"));
  const auto epoch = [&](const char* name) {
    const std::int64_t value = facts[name].integer();
    array_file::require(value >= 0 && value <= epochs_done(), std::string(name) + " is out of range");
    return static_cast<std::int32_t>(value);
  };
  memory_.history = history_in(contents_);
  memory_.stopped = facts["stopped"].boolean();
  memory_.best_epoch = epoch("best_epoch");
  memory_.best_length = static_cast<std::size_t>(epoch("best_length"));
  memory_.learning_rates = numbers_in(contents_, "learning_rates", 1);
  array_file::require(memory_.best_length <= memory_.learning_rates.size(), "it has too few learning rates");
  memory_.stopping.best_epoch = epoch("best_loss_epoch");
  memory_.stopping.back_epoch = epoch("back_epoch");
  memory_.stopping.went_back = facts["went_back"].boolean();
  const std::vector<double> stops = numbers_in(contents_, "stopping", 1), recent = numbers_in(contents_, "recent", 1),
                            units = numbers_in(contents_, "units", 1);
  array_file::require(stops.size() == 3 && units.size() == std::size(kUnits) + std::size(kShape),
                      "it has too few numbers");
  std::tie(memory_.stopping.best, memory_.stopping.rate_share, memory_.limit) =
      std::tuple(stops[0], stops[1], stops[2]);
  memory_.stopping.recent.assign(recent.begin(), recent.end());
  for (std::size_t n = 0; n < std::size(kUnits); ++n) z_.*kUnits[n] = units[n];
  for (std::size_t n = 0; n < std::size(kShape); ++n) z_.loss.*kShape[n] = units[std::size(kUnits) + n];
  const std::optional<Link> link = value_of<Link>(text_in(contents_, "link"));
  array_file::require(link.has_value(), "its link is unknown");
  z_.link = *link;
}

template <class T>
void OpenedCheckpoint<T>::compare(const Checkpoints& checkpoints, const TrainParams& given, const Likeness& likeness,
                                  const std::string& instruction_set) {
  const auto then = texts_of(json::parse(text_in(contents_, "given"))),
             chosen = texts_of(json::parse(text_in(contents_, "params"))),
             alike = texts_of(json::parse(text_in(contents_, "likeness")));
  const auto now = param_texts(given);
  std::string differs, may_differ;
  const auto add = [](std::string& to, const std::string& what) { to += (to.empty() ? "" : ", ") + what; };
  for (const auto& [name, value] : now) {
    const auto found = then.find(name);
    // A parameter that a later version has, and the file's did not, was what it is by default.
    const std::string before = found != then.end() ? found->second : param_texts({}).at(name);
    const bool longer = name == "n_epochs" && value != "null" &&
                        (given.schedule == Schedule::constant || given.schedule == Schedule::inverse_time);
    if (value == before || kFree.contains(name) || longer) continue;
    add(kCarriesOut.contains(name) ? may_differ : differs,
        name + " is " + told(value) + " (in the checkpoint " + told(before) + ")");
  }
  std::set<std::string> names;
  for (const auto* each : {&likeness, &alike}) {
    for (const auto& [name, value] : *each) names.insert(name);
  }
  for (const std::string& name : names) {
    const auto value_in = [&](const Likeness& of) {
      const auto found = of.find(name);
      return found == of.end() ? std::string("none") : found->second;
    };
    if (value_in(likeness) == value_in(alike)) continue;
    const char* const is = name.ends_with("s") && !name.ends_with("ss") ? " are " : " is ";
    add(differs, name + is + value_in(likeness) + " (in the checkpoint " + value_in(alike) + ")");
  }
  if (!differs.empty()) {
    reject(path_ + " is the checkpoint of another fit: " + differs + ". Give what it had, or begin anew");
  }
  params_ = given;
  take_choice(params_, chosen);
  if (given.n_epochs) {
    array_file::require(params_.n_epochs.has_value(), "it has no n_epochs");
    const std::int32_t before = *params_.n_epochs;
    // Where early stopping sets how long the learning rate falls, it is what was chosen.
    if (then.contains("n_epochs") && then.at("n_epochs") != now.at("n_epochs")) params_.n_epochs = given.n_epochs;
    if (*params_.n_epochs < epochs_done()) {
      reject("n_epochs", *given.n_epochs,
             "at least " + text(epochs_done()) + ", the epochs that " + path_ + " has done");
    }
    was_last_ = epochs_done() == before;
  } else {
    was_last_ = params_.n_epochs && epochs_done() == *params_.n_epochs;
  }
  const bool whole = params_.n_epochs && params_.learning_rate && params_.reg && params_.reg_bias && params_.reg_row &&
                     params_.reg_bias_row && params_.reg_implicit && params_.init_scale;
  array_file::require(
      whole && params_.implicit_feedback != ImplicitFeedback::automatic && epochs_done() <= *params_.n_epochs,
      "its parameters are not complete");
  try {
    require_in_range(params_);
  } catch (const std::invalid_argument& error) {
    throw Damaged(error.what());
  }
  z_.loss.loss = params_.loss;

  if (!checkpoints.warn) return;
  const auto compare_text = [&](const char* name, const std::string& mine, const char* what) {
    const std::string& theirs = text_in(contents_, name);
    if (theirs != mine) add(may_differ, std::string(what) + " is " + mine + " (in the checkpoint " + theirs + ")");
  };
  compare_text("warpfactor_version", WARPFACTOR_VERSION, "the version");
  if (!instruction_set.empty()) compare_text("instruction_set", instruction_set, "the instruction set");
  if (!may_differ.empty()) {
    checkpoints.warn("training goes on from " + path_ +
                     ", and may not give the same bits as without a break: " + may_differ);
  }
}

template <class T>
void OpenedCheckpoint<T>::load(Backend<T>& backend) {
  const fs::path path = path_;
  worded(path, [&] {
    const bool kept = json::parse(text_in(contents_, "memory"))["kept"].boolean();
    backend.visit_state(StateAccess::write, kept, [&](const StateRows<T>& rows) {
      const auto found = contents_.arrays.find(rows.name);
      if (found == contents_.arrays.end() && rows.optional) return;
      array_file::require(found != contents_.arrays.end(), "it has no " + rows.name);
      const Array& array = found->second;
      array_file::require(
          array.type == array_file::type_name<T>() && array.shape == std::vector<std::int64_t>{rows.n_rows, rows.width},
          rows.name + " has another shape");
      const std::size_t bytes = static_cast<std::size_t>(rows.width) * sizeof(T);
      std::int64_t row = 0;
      read_parts(contents_, array.begin, array.bytes, std::max<std::size_t>(kPartBytes / bytes, 1) * bytes,
                 [&](const unsigned char* part, std::size_t size) {
                   for (const unsigned char* from = part; from < part + size; from += bytes, ++row) {
                     const std::int64_t to = rows.position.empty() ? row : rows.position[static_cast<std::size_t>(row)];
                     std::memcpy(rows.data + to * rows.stride, from, bytes);
                   }
                 });
    });
  });
  contents_ = {};
}

CheckpointFacts checkpoint_facts(const fs::path& path) {
  return worded(path, [&] {
    Contents contents = checked_contents(path);
    CheckpointFacts facts;
    facts.history = history_in(contents);
    facts.version = text_in(contents, "warpfactor_version");
    const auto given = texts_of(json::parse(text_in(contents, "given"))),
               params = texts_of(json::parse(text_in(contents, "params")));
    const std::string& seed = given.at("seed");
    const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), facts.seed);
    array_file::require(error == std::errc() && end == seed.data() + seed.size(), "its seed is no number");
    facts.finished = json::parse(text_in(contents, "memory"))["stopped"].boolean() ||
                     std::to_string(facts.history.size()) == params.at("n_epochs");
    return facts;
  });
}

template Likeness likeness_of<float>(const RatingChecksums&, std::int64_t, std::int64_t, const TrainOptions<float>&,
                                     ThreadTeam&);
template Likeness likeness_of<double>(const RatingChecksums&, std::int64_t, std::int64_t, const TrainOptions<double>&,
                                      ThreadTeam&);
template void write_checkpoint<float>(const fs::path&, const TrainMemory&, const TrainParams&, const TrainParams&,
                                      const Standardization&, const Likeness&, bool, Backend<float>&);
template void write_checkpoint<double>(const fs::path&, const TrainMemory&, const TrainParams&, const TrainParams&,
                                       const Standardization&, const Likeness&, bool, Backend<double>&);
template class OpenedCheckpoint<float>;
template class OpenedCheckpoint<double>;

}  // namespace warpfactor
