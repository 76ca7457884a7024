// SPDX-License-Identifier: Apache-2.0
// A model as one safetensors file: eight bytes with the length of a JSON header, the header, and the arrays one after
// the other. Python's side of it is python/warpfactor/model/file.py.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <locale>
#include <map>
#include <optional>
#include <sstream>
#include <system_error>
#include <type_traits>

#include "require.hpp"
#include "serving/array_file.hpp"
#include "serving/json.hpp"
#include "serving/whole_file.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/params.hpp"
#include "warpfactor/version.hpp"

namespace warpfactor {

constexpr auto names(Ids::Kind) {
  return std::array{Named{Ids::Kind::integers, "int"}, Named{Ids::Kind::strings, "str"},
                    Named{Ids::Kind::uuids, "uuid"}};
}

namespace {

using namespace array_file;

// The checksum of version 2 is of the arrays alone, that of version 3 of all that a header says as well.
constexpr char kFormat[] = "warpfactor.Model", kFormatVersion[] = "3", kArraysChecked[] = "2";
constexpr char kOfCheckpoints[] = "warpfactor.Checkpoint";
constexpr char kFirstFormat[] = "warpfactor.MatrixFactorization";
constexpr char kChecksum[] = "crc32";
constexpr char kOfMembers[] = "members.";  // with which the names of the members' arrays begin

/// The value of an enum that has this name.
template <class E>
E named(const std::string& name) {
  const std::optional<E> value = value_of<E>(name);
  require(value.has_value(), json::quoted(name.substr(0, 40)) + " is unknown");
  return *value;
}

/// Whether one version of warpfactor, such as "0.10.2", is later than another.
bool is_later(const std::string& version, const std::string& than) {
  const auto numbers = [](const std::string& text) {
    std::vector<std::int64_t> all;
    std::istringstream parts(text);
    parts.imbue(std::locale::classic());
    std::int64_t number = 0;
    for (char point = '.'; point == '.' && parts >> number; point = static_cast<char>(parts.get())) {
      all.push_back(number);
    }
    return all;
  };
  return numbers(version) > numbers(than);
}

// --- Writing ---------------------------------------------------------------------------------------------------------

void add_ids(Arrays& arrays, const std::string& side, const Ids& ids) {
  if (ids.kind() != Ids::Kind::integers) {
    add<char>(arrays, side + "_ids.utf8", ids.all_text());
    add(arrays, side + "_ids.offsets", ids.offsets());
  } else if (!ids.unsigned_integers().empty()) {
    add(arrays, side + "_ids.values", ids.unsigned_integers());
  } else {
    add(arrays, side + "_ids.values", ids.signed_integers());
  }
}

template <class V>
void require_size(const V& values, std::int64_t wanted, const char* name) {
  if (static_cast<std::int64_t>(values.size()) != wanted) {
    reject(std::string(name) + " has " + text(values.size()) + " elements; it must have " + text(wanted));
  }
}

template <class T>
void require_finite(const std::vector<T>& values, const char* name) {
  const auto bad = std::find_if(values.begin(), values.end(), [](T value) { return !std::isfinite(value); });
  if (bad != values.end()) reject(element(name, bad - values.begin()), *bad, "finite");
}

template <class T>
void validate(const Model<T>& model) {
  const std::int64_t n_users = model.n_users, n_items = model.n_items;
  if (model.n_factors < 1) reject("n_factors is " + text(model.n_factors) + "; it must be at least 1");
  if (name_of(model.loss) == nullptr) reject("loss", static_cast<int>(model.loss), "one of the enum");
  if (name_of(model.link) == nullptr) reject("link", static_cast<int>(model.link), "one of the enum");
  require_size(model.user_factors, n_users * model.n_factors, "user_factors");
  require_size(model.item_factors, n_items * model.n_factors, "item_factors");
  require_size(model.user_biases, n_users, "user_biases");
  require_size(model.item_biases, n_items, "item_biases");
  require_size(model.user_counts, n_users, "user_counts");
  require_size(model.item_counts, n_items, "item_counts");
  require_size(model.user_ids, n_users, "user_ids");
  require_size(model.item_ids, n_items, "item_ids");
  require_finite(model.user_factors, "user_factors");
  require_finite(model.item_factors, "item_factors");
  require_finite(model.user_biases, "user_biases");
  require_finite(model.item_biases, "item_biases");
}

/// Whether `load` would read this array again as one of the members.
bool is_of_members(const std::string& name, const StoredArray& array) {
  std::size_t n_elements = 1;
  for (const std::int64_t n : array.shape) {
    if (n < 0 || (n > 0 && n_elements > array.bytes.size() / static_cast<std::size_t>(n))) return false;
    n_elements *= static_cast<std::size_t>(n);
  }
  const std::size_t width = type_bytes(array.type);
  return name.starts_with(kOfMembers) && width > 0 && n_elements * width == array.bytes.size();
}

/// Whether the lists are as `recommend` needs them.
bool lists_fit(const RowLists& seen, std::int32_t n_users, std::int32_t n_items) {
  return static_cast<std::int64_t>(seen.indptr.size()) == static_cast<std::int64_t>(n_users) + 1 &&
         seen.indptr.front() == 0 && seen.indptr.back() == static_cast<std::int64_t>(seen.items.size()) &&
         std::is_sorted(seen.indptr.begin(), seen.indptr.end()) &&
         std::all_of(seen.items.begin(), seen.items.end(), [=](std::int32_t i) { return i >= 0 && i < n_items; });
}

template <class T>
std::string model_text(const Model<T>& model) {
  using json::number;
  return "{\"global_mean\": " + number(model.global_mean) + ", \"rating_mean\": " + number(model.rating_mean) +
         ", \"start_bias\": " + number(model.start_bias) + ", \"biases\": " + (model.biases ? "true" : "false") +
         ", \"loss\": " + json::quoted(name_of(model.loss)) + ", \"link\": " + json::quoted(name_of(model.link)) + "}";
}

// std::to_string here, because a stream would put separators into large numbers where the program's locale has them.
std::string training_text(const TrainingFacts& facts) {
  return "{\"n_epochs\": " + std::to_string(facts.n_epochs) + ", \"n_threads\": " + std::to_string(facts.n_threads) +
         ", \"instruction_set\": " + json::quoted(facts.instruction_set) +
         ", \"n_ratings\": " + std::to_string(facts.n_ratings) + ", \"rating_min\": " + json::number(facts.rating_min) +
         ", \"rating_max\": " + json::number(facts.rating_max) +
         ", \"score_scale\": " + json::number(facts.score_scale) + "}";
}

/// What an epoch's report has beside its number, by the names that Python gives it.
constexpr std::pair<const char*, double EpochReport::*> kReported[] = {
    {"seconds", &EpochReport::seconds},       {"learning_rate", &EpochReport::learning_rate},
    {"train_rmse", &EpochReport::train_rmse}, {"train_loss", &EpochReport::train_loss},
    {"valid_rmse", &EpochReport::valid_rmse}, {"valid_loss", &EpochReport::valid_loss}};

std::string history_text(const std::vector<EpochReport>& history) {
  std::string all = "[";
  for (const EpochReport& report : history) {
    all += (all.size() > 1 ? ", {\"epoch\": " : "{\"epoch\": ") + std::to_string(report.epoch);
    for (const auto& [name, member] : kReported) {
      all += std::string(", \"") + name + "\": " + json::number(report.*member);
    }
    all += "}";
  }
  return all + "]";
}

// --- Reading ---------------------------------------------------------------------------------------------------------

Ids take_ids(const Arrays& arrays, const std::string& side, const std::string& kind_name) {
  const Ids::Kind kind = named<Ids::Kind>(kind_name);
  if (kind != Ids::Kind::integers) {
    const std::vector<char> all = take<char>(arrays, side + "_ids.utf8");
    return Ids(std::string(all.begin(), all.end()), take<std::int64_t>(arrays, side + "_ids.offsets"), kind);
  }
  const auto found = arrays.find(side + "_ids.values");
  if (found != arrays.end() && found->second.type == "U64") {
    return Ids(take<std::uint64_t>(arrays, side + "_ids.values"));
  }
  return Ids(take<std::int64_t>(arrays, side + "_ids.values"));
}

std::int32_t int32_of(const json::Value& value) {
  const std::int64_t number = value.integer();
  require(number >= 0 && number <= std::numeric_limits<std::int32_t>::max(), text(number) + " is out of range");
  return static_cast<std::int32_t>(number);
}

/// Throws ModelFileError unless this version reads the file's format, and Damaged unless its checksum holds.
void require_format(const Contents& contents, const std::string& path) {
  const auto format = contents.metadata.find("format");
  if (format != contents.metadata.end() && format->second == kOfCheckpoints) {
    throw ModelFileError(path +
                         " is a checkpoint, the state of a training, and no model: go on with the training by "
                         "checkpoints.resume, which ends with the model");
  }
  if (format == contents.metadata.end() || (format->second != kFormat && format->second != kFirstFormat)) {
    throw ModelFileError(path + " is a safetensors file, but no warpfactor model");
  }
  if (format->second == kFirstFormat) {
    throw ModelFileError(path + " is of format version 1, which only Python reads: load and save it once in Python");
  }
  const std::string& version = contents.told("format_version");
  if (version != kFormatVersion && version != kArraysChecked) {
    throw ModelFileError(path + " has format version " + version.substr(0, 20) +
                         ", and this is warpfactor " WARPFACTOR_VERSION ", which reads versions " + kArraysChecked +
                         " and " + kFormatVersion + ": update warpfactor");
  }
  const std::uint32_t sum =
      version == kFormatVersion ? checksum(contents.arrays, contents.metadata, kChecksum) : checksum(contents.arrays);
  require(contents.told(kChecksum) == std::to_string(sum), "its contents do not match their checksum");
}

template <class T>
Model<T> model_of(const Contents& contents, const std::string& path) {
  const Arrays& arrays = contents.arrays;
  const auto told = [&](const std::string& key) -> const std::string& { return contents.told(key); };
  const auto factors = arrays.find("user_factors");
  require(factors != arrays.end(), "it has no user_factors");
  const std::string& type = factors->second.type;
  if (type != type_name<T>() && (type == "F32" || type == "F64")) {
    throw ModelFileError(path + " holds factors of " + (type == "F32" ? "float32" : "float64") + ": use load<" +
                         (type == "F32" ? "float" : "double") + ">");
  }
  Model<T> model;
  std::int64_t widths[2] = {};
  const auto side = [&](const std::string& which, std::int32_t& n, std::int64_t& k, std::vector<T>& rows,
                        std::vector<T>& biases, std::vector<std::uint32_t>& counts, Ids& ids) {
    rows = take<T>(arrays, which + "_factors", 2);
    const std::vector<std::int64_t>& shape = arrays.find(which + "_factors")->second.shape;
    require(shape[0] <= std::numeric_limits<std::int32_t>::max() - 1 && shape[1] >= 1 &&
                shape[1] <= std::numeric_limits<std::int32_t>::max(),
            which + "_factors have the shape " + text(shape[0]) + " x " + text(shape[1]));
    n = static_cast<std::int32_t>(shape[0]);
    k = shape[1];
    biases = take<T>(arrays, which + "_biases");
    counts = take<std::uint32_t>(arrays, which + "_counts");
    ids = take_ids(arrays, which, told(which + "_ids"));
    const auto rows_of = static_cast<std::size_t>(n);
    const auto finite = [](const std::vector<T>& values) {
      return std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); });
    };
    require(finite(rows) && finite(biases), which + " factors or biases are not all finite");
    require(biases.size() == rows_of && counts.size() == rows_of && ids.size() == n,
            which + " ids, factors, biases and counts differ in length");
  };
  side("user", model.n_users, widths[0], model.user_factors, model.user_biases, model.user_counts, model.user_ids);
  side("item", model.n_items, widths[1], model.item_factors, model.item_biases, model.item_counts, model.item_ids);
  require(widths[0] == widths[1], "user and item factors differ in width");
  model.n_factors = static_cast<std::int32_t>(widths[0]);
  model.seen.indptr = take<std::int64_t>(arrays, "seen_indptr");
  model.seen.items = take<std::int32_t>(arrays, "seen_items");
  require(lists_fit(model.seen, model.n_users, model.n_items), "the lists of seen items do not fit the model");

  const json::Value formula = json::parse(told("model")), training = json::parse(told("training")),
                    history = json::parse(told("history"));
  model.global_mean = formula["global_mean"].number();
  model.rating_mean = formula["rating_mean"].number();
  model.start_bias = formula["start_bias"].number();
  require(std::isfinite(model.global_mean) && std::isfinite(model.rating_mean) && std::isfinite(model.start_bias),
          "global_mean, rating_mean or start_bias is not finite");
  model.biases = formula["biases"].boolean();
  model.loss = named<Loss>(formula["loss"].string());
  model.link = named<Link>(formula["link"].string());
  model.training.n_epochs = int32_of(training["n_epochs"]);
  model.training.n_threads = int32_of(training["n_threads"]);
  model.training.instruction_set = training["instruction_set"].string();
  model.training.n_ratings = training["n_ratings"].integer();
  model.training.rating_min = training["rating_min"].number();
  model.training.rating_max = training["rating_max"].number();
  const json::Value::Members& facts = training.object();
  const auto is_scale = [](const auto& fact) { return fact.first == "score_scale"; };
  if (std::any_of(facts.begin(), facts.end(), is_scale)) {  // files of before it have none
    model.training.score_scale = training["score_scale"].number();
  }
  for (const json::Value& each : history.array()) {
    EpochReport& report = model.history.emplace_back();
    report.epoch = int32_of(each["epoch"]);
    for (const auto& [key, member] : kReported) report.*member = each[key].number();
  }
  (void)json::parse(told("params")).object();
  model.params = told("params");
  if (contents.metadata.contains("chosen")) {  // files of before it have none
    (void)json::parse(told("chosen")).object();
    model.chosen = told("chosen");
  }
  for (const auto& [key, array] : arrays) {
    if (!key.starts_with(kOfMembers)) continue;
    StoredArray& kept = model.members[key] = {array.type, array.shape, {}};
    if (array.bytes > 0) kept.bytes.assign(array.data, array.data + array.bytes);
  }
  return model;
}

}  // namespace

template <class T>
void save(const Model<T>& model, const std::filesystem::path& path) {
  validate(model);
  RowLists nothing;
  const bool listed = !model.seen.indptr.empty();
  if (listed && !lists_fit(model.seen, model.n_users, model.n_items)) {
    reject("seen must have a list for each of the " + text(model.n_users) + " users, of items from 0 to " +
           text(model.n_items - 1) + ", as group_by_user makes them");
  }
  if (!listed) nothing.indptr.assign(static_cast<std::size_t>(model.n_users) + 1, 0);
  const RowListsView seen = listed ? model.seen : nothing;
  for (const auto& [name, value] : {std::pair("params", &model.params), std::pair("chosen", &model.chosen)}) {
    try {
      (void)json::parse(*value).object();
    } catch (const json::Error& error) {
      reject(std::string(name) + " must be a JSON object (" + error.what() + ")");
    }
  }

  Arrays arrays;
  add<T>(arrays, "user_factors", model.user_factors, {model.n_users, model.n_factors});
  add<T>(arrays, "item_factors", model.item_factors, {model.n_items, model.n_factors});
  add<T>(arrays, "user_biases", model.user_biases);
  add<T>(arrays, "item_biases", model.item_biases);
  add<std::uint32_t>(arrays, "user_counts", model.user_counts);
  add<std::uint32_t>(arrays, "item_counts", model.item_counts);
  add(arrays, "seen_indptr", seen.indptr);
  add(arrays, "seen_items", seen.items);
  add_ids(arrays, "user", model.user_ids);
  add_ids(arrays, "item", model.item_ids);
  for (const auto& [name, kept] : model.members) {
    if (!is_of_members(name, kept)) {
      reject("members has " + json::quoted(name) + " of type " + json::quoted(kept.type) + " and " +
             text(kept.bytes.size()) +
             " bytes; it must be what load put there: clear members, or load the model again");
    }
    arrays[name] = {kept.type, kept.shape, kept.bytes.data(), kept.bytes.size()};
  }
  Metadata metadata{{"format", kFormat},
                    {"format_version", kFormatVersion},
                    {"warpfactor_version", WARPFACTOR_VERSION},
                    {"user_ids", name_of(model.user_ids.kind())},
                    {"item_ids", name_of(model.item_ids.kind())},
                    {"model", model_text(model)},
                    {"training", training_text(model.training)},
                    {"history", history_text(model.history)},
                    {"params", model.params},
                    {"chosen", model.chosen}};
  metadata[kChecksum] = std::to_string(checksum(arrays, metadata, kChecksum));
  const Ordered order = in_file_order(arrays);
  const std::string header = header_of(order, metadata);
  WholeFile file(path);
  const std::uint64_t header_bytes = header.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(header.data(), header.size());
  for (const auto& [name, array] : order) file.write(array->data, array->bytes);
  file.finish();
}

template <class T>
Model<T> load(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::file_status status = std::filesystem::status(path, none);
  if (!std::filesystem::exists(status)) throw ModelFileError("there is no model file " + path.string());
  if (std::filesystem::is_directory(status)) throw ModelFileError(path.string() + " is a folder, not a model file");
  if (!std::filesystem::is_regular_file(status)) {
    throw ModelFileError(path.string() + " is a pipe or a device: write the model to a file first");
  }
  std::string writer;  // once the checksum holds
  const auto damaged = [&](const std::exception& error) {
    // What was read as it was written is not damaged: a later version writes what this one does not know.
    if (is_later(writer, WARPFACTOR_VERSION)) {
      return ModelFileError(path.string() + " was written by warpfactor " + writer + ", and this is " +
                            WARPFACTOR_VERSION + " (" + error.what() + "): update warpfactor");
    }
    return ModelFileError(path.string() + " is damaged, or no safetensors file (" + error.what() +
                          "): save the model again");
  };
  try {
    const Contents contents = contents_of(path);
    require_format(contents, path.string());
    writer = contents.told("warpfactor_version").substr(0, 40);
    return model_of<T>(contents, path.string());
  } catch (const Damaged& error) {
    throw damaged(error);
  } catch (const json::Error& error) {
    throw damaged(error);
  } catch (const std::invalid_argument& error) {  // of Ids
    throw damaged(error);
  } catch (const std::filesystem::filesystem_error& error) {
    throw ModelFileError(path.string() + " cannot be read: " + error.code().message());
  }
}

template void save<float>(const Model<float>&, const std::filesystem::path&);
template void save<double>(const Model<double>&, const std::filesystem::path&);
template Model<float> load<float>(const std::filesystem::path&);
template Model<double> load<double>(const std::filesystem::path&);

}  // namespace warpfactor
