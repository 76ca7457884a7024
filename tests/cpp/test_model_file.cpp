// SPDX-License-Identifier: Apache-2.0
// Model files: what is saved is loaded again, and a file that is damaged, or made to harm, is an error.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <locale>
#include <random>
#include <string>
#include <vector>

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#endif

#include "check.hpp"
#include "serving/crc32.hpp"
#include "serving/json.hpp"
#include "synthetic.hpp"
#include "warpfactor/model.hpp"

namespace {

using namespace warpfactor;
namespace fs = std::filesystem;

/// A folder of its own, removed at the end.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("warpfactor-test-" + std::to_string(std::random_device{}()));
  Folder() { fs::create_directory(path); }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path / name; }
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void put(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

template <class T>
Model<T> example() {
  synthetic::Data data(12, 9, 80, 0.1);
  TrainParams params;
  params.n_factors = 3;
  params.n_epochs = 4;
  TrainOptions<T> options;
  options.validation = data.view();
  Model<T> model = train<T>(data.view(), params, options).model;
  model.seen = group_by_user(data.users, data.items, 12);
  std::vector<std::string> names;
  for (char c = 'a'; c < 'a' + 12; ++c) names.push_back(std::string("user ") + c + " \"\\ \u00e9");
  model.user_ids = Ids(names);
  model.params = R"({"n_factors": 3, "loss": "squared", "init": 1e-2, "text": "\ud83d\ude00"})";
  return model;
}

bool same(double a, double b) { return a == b || (a != a && b != b); }

template <class T>
void check_same(const Model<T>& a, const Model<T>& b) {
  CHECK(synthetic::same_bits(a, b));
  CHECK_EQ(a.n_users, b.n_users);
  CHECK_EQ(a.n_items, b.n_items);
  CHECK_EQ(a.n_factors, b.n_factors);
  CHECK(a.user_counts == b.user_counts && a.item_counts == b.item_counts);
  CHECK(a.user_ids == b.user_ids && a.item_ids == b.item_ids);
  CHECK(a.seen.indptr == b.seen.indptr && a.seen.items == b.seen.items);
  CHECK(a.rating_mean == b.rating_mean && a.start_bias == b.start_bias && a.biases == b.biases);
  CHECK(a.loss == b.loss && a.link == b.link);
  CHECK_EQ(a.params, b.params);
  CHECK_EQ(a.chosen, b.chosen);
  CHECK(a.members == b.members);
  CHECK_EQ(a.training.n_epochs, b.training.n_epochs);
  CHECK_EQ(a.training.n_threads, b.training.n_threads);
  CHECK_EQ(a.training.n_ratings, b.training.n_ratings);
  CHECK_EQ(a.training.instruction_set, b.training.instruction_set);
  CHECK(same(a.training.rating_min, b.training.rating_min) && same(a.training.rating_max, b.training.rating_max));
  CHECK_EQ(a.history.size(), b.history.size());
  for (std::size_t n = 0; n < std::min(a.history.size(), b.history.size()); ++n) {
    const EpochReport &x = a.history[n], &y = b.history[n];
    CHECK(x.epoch == y.epoch && x.seconds == y.seconds && x.learning_rate == y.learning_rate);
    CHECK(x.train_rmse == y.train_rmse && x.train_loss == y.train_loss);
    CHECK(same(x.valid_rmse, y.valid_rmse) && same(x.valid_loss, y.valid_loss));
  }
}

template <class T>
void check_round_trip(Model<T> model) {
  const Folder folder;
  save(model, folder / "model.safetensors");
  check_same(model, load<T>(folder / "model.safetensors"));
  save(load<T>(folder / "model.safetensors"), folder / "again");
  CHECK(bytes_of(folder / "model.safetensors") == bytes_of(folder / "again"));
}

TEST(a_model_comes_back_as_it_was_saved) {
  check_round_trip(example<float>());
  check_round_trip(example<double>());
  Model<float> model = example<float>();
  model.item_ids = Ids(std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7, std::numeric_limits<std::uint64_t>::max()});
  model.user_ids = Ids(std::vector<std::int64_t>{-9, -8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  model.history[1].valid_rmse = std::numeric_limits<double>::quiet_NaN();
  model.training.rating_min = model.training.rating_max = std::numeric_limits<double>::quiet_NaN();
  model.loss = Loss::logistic;
  model.link = Link::signed_probability;
  model.start_bias = 0.1;
  model.biases = false;
  check_round_trip(model);
  std::vector<std::string> uuids;
  for (int n = 10; n < 22; ++n) uuids.push_back("00000000-0000-0000-0000-0000000000" + std::to_string(n));
  model.user_ids = Ids(uuids, Ids::Kind::uuids);
  check_round_trip(model);
}

TEST(what_a_file_keeps_of_members_is_handed_on) {
  Model<float> model = example<float>();
  model.members["members.weights"] = {"F64", {2}, std::vector<unsigned char>(16, 0x3f)};
  model.members["members.ranks"] = {"I32", {2}, {1, 0, 0, 0, 2, 0, 0, 0}};
  model.members["members.user_offsets"] = {"F32", {12, 2}, std::vector<unsigned char>(96, 1)};
  model.members["members.levels"] = {"F64", {0}, {}};
  model.members["members.scalar"] = {"F32", {}, {1, 2, 3, 4}};
  check_round_trip(model);

  const Folder folder;
  const auto refused = [&](const std::string& name, const StoredArray& array) {
    Model<float> other = model;
    other.members[name] = array;
    CHECK_THROWS(std::invalid_argument, "members has \"" + name + "\"", save(other, folder / "m"));
    CHECK(!fs::exists(folder / "m"));
  };
  refused("weights", {"F64", {2}, std::vector<unsigned char>(16)});
  refused("user_factors", {"F32", {1}, std::vector<unsigned char>(4)});
  refused("members.a", {"F64", {2}, std::vector<unsigned char>(15)});
  refused("members.a", {"F16", {2}, std::vector<unsigned char>(4)});
  refused("members.a", {"F32", {-1}, {}});
  const std::int64_t huge = std::int64_t(1) << 62;
  refused("members.a", {"F32", {huge, 4}, {}});
  refused("members.a", {"F32", {4, huge}, std::vector<unsigned char>(16)});
}

TEST(a_model_without_seen_lists_comes_back_with_empty_ones) {
  Model<float> model = example<float>();
  model.seen = {};
  const Folder folder;
  save(model, folder / "m");
  const Model<float> loaded = load<float>(folder / "m");
  CHECK_EQ(loaded.seen.indptr.size(), std::size_t(13));
  CHECK(loaded.seen.items.empty());
}

TEST(the_locale_of_the_program_does_not_reach_the_file) {
  struct Grouped : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
    char do_decimal_point() const override { return ','; }
  };
  Model<float> model = example<float>();
  model.training.n_ratings = 20'000'263;
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouped));
  check_round_trip(model);
  std::locale::global(before);
}

TEST(saving_writes_all_or_nothing_and_says_why) {
  const Folder folder;
  Model<float> model = example<float>();
  save(model, folder / "m");
  const std::string before = bytes_of(folder / "m");
  CHECK_THROWS(ModelFileError, "is a folder: give the name of a file", save(model, folder.path));
  CHECK_THROWS(ModelFileError, "is no folder: create it", save(model, folder.path / "none" / "m"));
  model.user_ids = Ids::numbered(3);
  CHECK_THROWS(std::invalid_argument, "user_ids has 3 elements; it must have 12", save(model, folder / "m"));
  model.user_ids = Ids::numbered(12);
  model.params = "{";
  CHECK_THROWS(std::invalid_argument, "params must be a JSON object", save(model, folder / "m"));
  model.params = "{}";
  model.chosen = "[1]";
  CHECK_THROWS(std::invalid_argument, "chosen must be a JSON object", save(model, folder / "m"));
  model.chosen = "{}";
  model.seen.items[0] = 9;
  CHECK_THROWS(std::invalid_argument, "seen must have a list", save(model, folder / "m"));
  CHECK(bytes_of(folder / "m") == before);
  CHECK_EQ(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()), 1);  // nothing temporary left
}

#if !defined(_WIN32)
unsigned mode_of(const fs::path& path) { return static_cast<unsigned>(fs::status(path).permissions()); }
std::ptrdiff_t entries_in(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(a_new_file_gets_its_mode_by_the_umask_and_an_old_one_keeps_its_own) {
  const Folder folder;
  const Model<float> model = example<float>();
  const mode_t before = umask(0);
  for (const unsigned mask : {022u, 002u, 077u}) {
    check::context = "umask " + std::to_string(mask);
    umask(static_cast<mode_t>(mask));
    save(model, folder / "m");
    CHECK_EQ(mode_of(folder / "m"), 0666u & ~mask);
    for (const unsigned mode : {0644u, 0600u, 0664u, 0666u}) {
      fs::permissions(folder / "m", fs::perms(mode));
      save(model, folder / "m");
      CHECK_EQ(mode_of(folder / "m"), mode);
    }
    fs::remove(folder / "m");
  }
  umask(before);
  if (geteuid() == 0) {  // only root may give files away
    put(folder / "m", "old");
    CHECK_EQ(chown((folder / "m").c_str(), 12345, 54321), 0);
    save(model, folder / "m");
    struct stat found = {};
    CHECK_EQ(stat((folder / "m").c_str(), &found), 0);
    CHECK(found.st_uid == 12345 && found.st_gid == 54321);
    check_same(load<float>(folder / "m"), model);
  }
}

TEST(links_stay_and_the_file_they_lead_to_is_written) {
  const Model<float> model = example<float>();
  for (const bool exists : {true, false}) {
    const Folder folder;
    fs::create_directory(folder / "models");
    fs::create_directory_symlink("models", folder / "current");
    fs::create_symlink("real", folder / "same");
    fs::create_symlink(folder / "real", folder / "absolute");
    fs::create_symlink("same", folder / "chain");
    fs::create_symlink("../chain", folder / "models/up");
    for (const char* name : {"same", "absolute", "chain", "models/up", "current/up"}) {
      check::context = std::string(name) + (exists ? "" : ", to nothing");
      fs::remove(folder / "real");
      if (exists) put(folder / "real", "old");
      save(model, folder / name);
      CHECK(fs::is_symlink(fs::symlink_status(folder / name)));
      CHECK(fs::symlink_status(folder / "real").type() == fs::file_type::regular);
      check_same(load<float>(folder / "real"), model);
      CHECK_EQ(entries_in(folder.path), 6);
      CHECK_EQ(entries_in(folder / "models"), 1);
    }
  }
  const Folder folder;
  fs::create_symlink("gone/m", folder / "away");
  CHECK_THROWS(ModelFileError, "is no folder: create it", save(model, folder / "away"));
  fs::create_symlink("b", folder / "a");
  fs::create_symlink("a", folder / "b");
  CHECK_THROWS(ModelFileError, (folder / "a").string(), save(model, folder / "a"));
  CHECK_EQ(entries_in(folder.path), 3);
}

TEST(pipes_and_devices_are_written_to_and_stay) {
  const Folder folder;
  const Model<float> model = example<float>();
  save(model, folder / "m");
  CHECK_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] { got = bytes_of(folder / "pipe"); });
  save(model, folder / "pipe");
  reader.join();
  CHECK(got == bytes_of(folder / "m"));
  CHECK(fs::is_fifo(folder / "pipe"));
  fs::create_symlink("/dev/null", folder / "null");
  save(model, "/dev/null");
  save(model, folder / "null");
  CHECK(fs::is_character_file("/dev/null"));
  CHECK_EQ(entries_in(folder.path), 3);
  if (!fs::exists("/dev/fd")) return;
  // What this process has open is added to: others may have written there.
  put(folder / "log", "before\n");
  std::FILE* log = std::fopen((folder / "log").c_str(), "ab");
  save(model, "/dev/fd/" + std::to_string(fileno(log)));
  std::fclose(log);
  CHECK(bytes_of(folder / "log") == "before\n" + got);
}

TEST(a_write_that_fails_leaves_the_old_file) {
  const Folder folder;
  const Model<float> model = example<float>();
  put(folder / "m", "old");
  // A limit on the size of files is as good as a full disk.
  rlimit before = {};
  CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const char* name : {"m", "new"}) {
    CHECK_THROWS(ModelFileError, (folder / name).string() + " could not be written", save(model, folder / name));
  }
  CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  CHECK(bytes_of(folder / "m") == "old");
  CHECK_EQ(entries_in(folder.path), 1);
  // Names may be as long as the file system lets them be, and no longer.
  save(model, folder.path / std::string(255, 'm'));
  CHECK_EQ(entries_in(folder.path), 2);
  CHECK_THROWS(ModelFileError, "could not be written", save(model, folder.path / std::string(256, 'm')));
  if (geteuid() != 0) {  // root may write all
    fs::permissions(folder / "m", fs::perms(0444));
    CHECK_THROWS(ModelFileError, "is write-protected", save(model, folder / "m"));
    fs::permissions(folder.path, fs::perms(0555));
    CHECK_THROWS(ModelFileError, "could not be written", save(model, folder / "new"));
    fs::permissions(folder.path, fs::perms(0755));
    CHECK(bytes_of(folder / "m") == "old");
  }
}
#endif

TEST(a_file_that_cannot_be_used_is_named_with_the_fix) {
  const Folder folder;
  CHECK_THROWS(ModelFileError, "there is no model file", load<float>(folder / "none"));
  CHECK_THROWS(ModelFileError, "is a folder", load<float>(folder.path));
  save(example<double>(), folder / "m");
  CHECK_THROWS(ModelFileError, "holds factors of float64: use load<double>", load<float>(folder / "m"));
  CHECK_THROWS(ModelFileError, (folder / "m").string(), load<float>(folder / "m"));
}

/// A model file taken apart: the header, to be changed, and what follows it.
struct Parts {
  std::string header, data;
  explicit Parts(const std::string& bytes) {
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    header = bytes.substr(8, length);
    data = bytes.substr(8 + length);
  }
  [[nodiscard]] Parts with(const std::string& from, const std::string& to) const {
    Parts changed = *this;
    const std::size_t at = header.find(from);
    if (at == std::string::npos) throw std::logic_error("the header has no " + from);
    changed.header.replace(at, from.size(), to);
    return changed;
  }
  [[nodiscard]] std::string bytes() const {
    const std::uint64_t length = header.size();
    std::string all(reinterpret_cast<const char*>(&length), sizeof length);
    return all + header + data;
  }
};

/// Where an array of this name lies in the data, by the header.
std::size_t offset_of(const Parts& parts, const std::string& name) {
  return static_cast<std::size_t>(json::parse(parts.header)[name]["data_offsets"].array()[0].integer());
}
/// The parts with the checksum that they have.
Parts sealed(Parts parts) {
  const json::Value header = json::parse(parts.header);
  std::uint32_t crc = 0;
  const auto add = [&crc](const std::string& part) {
    crc = crc32(crc, reinterpret_cast<const unsigned char*>(part.c_str()), part.size() + 1);
  };
  for (const auto& [name, value] : header["__metadata__"].object()) {
    if (name == "crc32") continue;
    add(name);
    add(value.string());
  }
  for (const auto& [name, entry] : header.object()) {  // sorted by name
    if (name == "__metadata__") continue;
    const auto from = static_cast<std::size_t>(entry["data_offsets"].array()[0].integer()),
               to = static_cast<std::size_t>(entry["data_offsets"].array()[1].integer());
    if (from > to || to > parts.data.size()) throw std::logic_error(name + " lies outside of the data");
    add(name);
    add(entry["dtype"].string());
    std::string shape;
    for (const json::Value& n : entry["shape"].array()) {
      shape.append(shape.empty() ? "" : ",").append(std::to_string(n.integer()));
    }
    add(shape);
    crc = crc32(crc, reinterpret_cast<const unsigned char*>(parts.data.data()) + from, to - from);
  }
  return parts.with("\"crc32\":\"" + header["__metadata__"]["crc32"].string() + "\"",
                    "\"crc32\":\"" + std::to_string(crc) + "\"");
}

void check_refused(const fs::path& path, const std::string& bytes, const char* why) {
  put(path, bytes);
  CHECK_THROWS(ModelFileError, why, load<float>(path));
}

TEST(files_that_are_damaged_or_made_to_harm_are_refused) {
  const Folder folder;
  const fs::path path = folder / "m";
  const Model<float> model = example<float>();
  save(model, path);
  const std::string good = bytes_of(path);
  const Parts parts(good);
  CHECK(sealed(parts).bytes() == good);

  check_refused(path, "", "no header");
  check_refused(path, "1234567", "no header");
  check_refused(path, std::string(8, '\xff'), "longer than the file");
  check_refused(path, std::string("\x10\0\0\0\0\0\0\0{}", 10), "longer than the file");
  check_refused(path, std::string("\x02\0\0\0\0\0\0\0{}", 10), "no warpfactor model");
  check_refused(path, std::string("\x02\0\0\0\0\0\0\0[]", 10), "not an object");
  check_refused(path, good.substr(0, good.size() - 1), "outside of the file");
  check_refused(path, good + "x", "something follows");
  check_refused(path, parts.with("\"warpfactor.Model\"", "\"another\"").bytes(), "no warpfactor model");
  check_refused(path, parts.with("\"warpfactor.Model\"", "\"warpfactor.MatrixFactorization\"").bytes(),
                "load and save it once in Python");
  check_refused(path, parts.with("\"format_version\":\"3\"", "\"format_version\":\"4\"").bytes(), "update warpfactor");
  check_refused(path, parts.with("\"format_version\":\"3\"", "\"format_version\":3").bytes(), "not a string");
  check_refused(path, parts.with("\"format_version\":\"3\",", "").bytes(), "no 'format_version'");
  check_refused(path, parts.with("\"dtype\":\"I64\"", "\"dtype\":\"F16\"").bytes(), "'F16'");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":[12,-3]").bytes(), "negative");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":[12,4]").bytes(), "does not fit its shape");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":[4611686018427387904,12]").bytes(), "larger than");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":[99999999999999999999]").bytes(), "64 bits");
  check_refused(path, sealed(parts.with("\"shape\":[12,3]", "\"shape\":[36]")).bytes(), "F32 of 1 axes");
  check_refused(path, sealed(parts.with("\"shape\":[12,3]", "\"shape\":[36,1]")).bytes(), "differ in length");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":1").bytes(), "not an array");
  check_refused(path, parts.with("\"user_biases\"", "\"user_biase\"").bytes(), "checksum");
  const std::string begin = "\"data_offsets\":[" + std::to_string(offset_of(parts, "user_biases")) + ",";
  check_refused(path, parts.with(begin, "\"data_offsets\":[0,").bytes(), "does not fit its shape");
  check_refused(path, parts.with(begin, "\"data_offsets\":[-8,").bytes(), "outside of the file");
  check_refused(path, parts.with(begin, "\"data_offsets\":[1e3,").bytes(), "64 bits");
  {  // two arrays in one place
    const std::size_t at = offset_of(parts, "item_biases");
    Parts twice =
        parts.with("\"item_biases\":{\"dtype\":\"F32\",\"shape\":[9],\"data_offsets\":[" + std::to_string(at),
                   "\"item_biases\":{\"dtype\":\"F32\",\"shape\":[9],\"data_offsets\":[" + std::to_string(at + 4));
    twice = twice.with("," + std::to_string(at + 36) + "]", "," + std::to_string(at + 40) + "]");
    check_refused(path, twice.bytes(), "overlap");
  }
  for (std::size_t at = 0; at < parts.data.size(); at += 7) {
    Parts flipped = parts;
    flipped.data[at] = static_cast<char>(flipped.data[at] ^ 4);
    check_refused(path, flipped.bytes(), "checksum");
  }

  // From here on with the right checksum: made to harm.
  const auto with_number = [&](const char* array, std::size_t at, std::int64_t number) {
    Parts changed = parts;
    std::memcpy(&changed.data[offset_of(parts, array) + 8 * at], &number, sizeof number);
    return sealed(changed).bytes();
  };
  for (const std::int64_t number : {std::int64_t{-1}, std::int64_t{1} << 62, std::int64_t{1000}}) {
    check_refused(path, with_number("seen_indptr", 5, number), "seen items");
    check_refused(path, with_number("seen_indptr", 12, number), "seen items");
    check_refused(path, with_number("seen_indptr", 0, number), "seen items");
    check_refused(path, with_number("user_ids.offsets", 5, number), "offsets of ids");
    check_refused(path, with_number("user_ids.offsets", 12, number), "offsets of ids");
    check_refused(path, with_number("user_ids.offsets", 0, number), "offsets of ids");
  }
  check_refused(path, with_number("item_ids.values", 3, 2), "sorted and distinct");
  const auto with_bytes = [&](const char* array, const std::string& bytes) {
    Parts changed = parts;
    changed.data.replace(offset_of(parts, array), bytes.size(), bytes);
    return sealed(changed).bytes();
  };
  check_refused(path, with_bytes("seen_items", std::string("\x09\0\0\0", 4)), "seen items");
  check_refused(path, with_bytes("seen_items", "\xff\xff\xff\xff"), "seen items");
  check_refused(path, with_bytes("user_ids.utf8", "\xff"), "UTF-8");
  check_refused(path, with_bytes("user_ids.utf8", "v"), "sorted by their bytes");

  const auto with_metadata = [&](const std::string& from, const std::string& to) {
    return sealed(parts.with(from, to)).bytes();
  };
  check_refused(path, parts.with("\\\"squared\\\"", "\\\"huber\\\"").bytes(), "checksum");
  check_refused(path, parts.with("\"shape\":[12,3]", "\"shape\":[3,12]").bytes(), "checksum");
  check_refused(path, with_bytes("user_factors", std::string("\0\0\xc0\x7f", 4)), "not all finite");
  check_refused(path, with_bytes("item_biases", std::string("\0\0\x80\xff", 4)), "not all finite");
  check_refused(path, with_metadata("\\\"global_mean\\\": ", "\\\"global_mean\\\": null, \\\"g\\\": "), "not finite");
  check_refused(path, with_metadata("\"user_ids\":\"str\"", "\"user_ids\":\"uuid\""), "no UUID");
  check_refused(path, with_metadata("\"user_ids\":\"str\"", "\"user_ids\":\"int\""), "no user_ids.values");
  check_refused(path, with_metadata("\"item_ids\":\"int\"", "\"item_ids\":\"str\""), "no item_ids.utf8");
  check_refused(path, with_metadata("\"item_ids\":\"int\"", "\"item_ids\":\"float\""), "\"float\" is unknown");
  check_refused(path, with_metadata("\\\"squared\\\"", "\\\"cubed\\\""), "\"cubed\" is unknown");
  check_refused(path, with_metadata("\\\"n_threads\\\": ", "\\\"n_threads\\\": -"), "out of range");
  check_refused(path, with_metadata("\\\"n_threads\\\": ", "\\\"n_threads\\\": 9999999999"), "out of range");
  check_refused(path, with_metadata("\\\"biases\\\": true", "\\\"biases\\\": 1"), "not true or false");
  check_refused(path, with_metadata("\\\"global_mean\\\": ", "\\\"global_mean\\\": 1e999, \\\"g\\\": "), "beyond");
  check_refused(path, with_metadata("\\\"seconds\\\"", "\\\"second\\\""), "no 'seconds'");
  check_refused(path, with_metadata("\"history\":\"[", "\"history\":\"[["), "JSON");
  check_refused(path, with_metadata("\"history\":\"[", "\"history\":\"" + std::string(100000, '[')), "too deeply");
  put(path, good);
  check_same(load<float>(path), model);
}

// Every bit. Sanitizers take one in seven, as they are slow, and what they look for is the same all along an array.
TEST(a_file_with_a_flipped_bit_is_refused_or_loads_as_it_was) {
  const Folder folder;
  const fs::path path = folder / "m";
  const Model<float> model = example<float>();
  save(model, path);
  std::string bytes = bytes_of(path);
#if defined(WARPFACTOR_SANITIZED)
  constexpr std::size_t kApart = 7;
#else
  constexpr std::size_t kApart = 1;
#endif
  std::size_t refused = 0, tried = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); bit += kApart) {
    if (!check::takes_case()) continue;
    ++tried;
    char& byte = bytes[bit / 8];
    const auto flip = [&] {
      byte = static_cast<char>(static_cast<unsigned char>(byte) ^ 1u << bit % 8);
      std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
      file.seekp(static_cast<std::streamoff>(bit / 8)).put(byte);
    };
    flip();
    try {
      check_same(load<float>(path), model);
    } catch (const ModelFileError&) {
      ++refused;
    }
    flip();
  }
  // What may change is blanks of the header.
  CHECK(refused > tried * 99 / 100);
}

// Several changes at once, most with the checksum set right again: what is made to harm is refused, or can be used.
TEST(mutated_files_are_refused_or_can_be_used) {
  const Folder folder;
  const fs::path path = folder / "m";
  save(example<float>(), path);
  const Parts good(bytes_of(path));
  std::mt19937 random(7);
  const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const std::vector<std::string> words{"0", "-1", "9",           "1e9", "null", "\"",  "{",
                                       "]", ",",  "99999999999", "U64", "F64",  "str", ""};
  int refused = 0;
  for (int n = 0; n < 800; ++n) {
    Parts parts = good;
    for (std::size_t times = 1 + below(3); times > 0; --times) {
      std::string& part = below(2) == 0 ? parts.header : parts.data;
      const std::size_t at = below(part.size());
      if (below(3) == 0) {
        part[at] = static_cast<char>(random());
      } else if (&part == &parts.data) {
        part.replace(at, 1, 1, static_cast<char>(below(2) == 0 ? 0xff : 0));
      } else {
        const std::size_t digit = part.find_first_of("0123456789", at);
        const std::string& word = words[below(words.size())];
        part.replace(digit == std::string::npos ? at : digit, 1, word);
      }
    }
    try {
      if (below(4) > 0) parts = sealed(parts);
    } catch (const std::exception&) {  // of a header that nobody can seal
    }
    put(path, parts.bytes());
    try {
      const Model<float> model = load<float>(path);
      std::vector<std::int32_t> items(2);
      std::vector<float> predictions(2);
      if (model.n_users > 0)
        recommend<float>(model.view(), std::vector<std::int32_t>{0}, 2, model.seen, items, predictions);
      save(model, path);
    } catch (const ModelFileError&) {
      ++refused;
    } catch (const std::invalid_argument&) {  // of a user that has no ratings any more
    }
  }
  CHECK(refused > 400);
}

TEST(a_file_of_a_later_version_says_update) {
  const Folder folder;
  const fs::path path = folder / "m";
  const Model<float> model = example<float>();
  save(model, path);
  const Parts later = Parts(bytes_of(path)).with("\"warpfactor_version\":\"", "\"warpfactor_version\":\"9");
  check_refused(path, sealed(later.with("\\\"squared\\\"", "\\\"cubed\\\"")).bytes(), "update warpfactor");
  put(path, sealed(later).bytes());
  check_same(load<float>(path), model);
}

TEST(a_file_of_each_format_loads) {  // docs/policies/model_file.md promises it
  const fs::path kept = WARPFACTOR_TEST_FILES;
  for (const char* name : {"model_2.safetensors", "model_3.safetensors"}) {
    const Model<float> model = load<float>(kept / name);
    CHECK(model.n_users == 8 && model.n_items == 6 && model.user_ids.size() == 8 && !model.history.empty());
    const Folder folder;
    save(model, folder / "m");  // of the newest format
    check_same(load<float>(folder / "m"), model);
    CHECK(Parts(bytes_of(folder / "m")).header.find("\"format_version\":\"3\"") != std::string::npos);
  }
  CHECK_THROWS(ModelFileError, "which only Python reads: load and save it once in Python",
               load<float>(kept / "model_1.safetensors"));
}

TEST(what_is_no_regular_file_is_refused_at_once) {
  CHECK_THROWS(ModelFileError, "a pipe or a device", load<float>("/dev/zero"));
#if !defined(_WIN32)
  const Folder folder;
  const fs::path pipe = folder / "pipe";
  CHECK(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK_THROWS(ModelFileError, "a pipe or a device", load<float>(pipe));
#endif
}

TEST(a_model_that_could_not_be_loaded_is_not_saved) {
  const Folder folder;
  Model<float> model = example<float>();
  model.item_factors[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS(std::invalid_argument, "item_factors[5] is nan; it must be finite", save(model, folder / "m"));
  model = example<float>();
  model.loss = static_cast<Loss>(99);
  CHECK_THROWS(std::invalid_argument, "loss is 99", save(model, folder / "m"));
  model = example<float>();
  model.link = static_cast<Link>(99);
  CHECK_THROWS(std::invalid_argument, "link is 99", save(model, folder / "m"));
}

TEST(json_reads_what_it_should_and_nothing_else) {
  const json::Value value =
      json::parse(R"( {"b": [1, -2.5e3, "\u00e9\ud83d\ude00\n\/"], "a": {"x": null, "y": true}} )");
  CHECK_EQ(value["b"].array()[0].integer(), 1);
  CHECK_EQ(value["b"].array()[1].number(), -2500.0);
  CHECK_EQ(value["b"].array()[2].string(), "\u00e9\U0001f600\n/");
  CHECK(value["a"]["x"].is_null() && value["a"]["y"].boolean());
  CHECK(value["a"]["x"].number() != value["a"]["x"].number());
  CHECK_EQ(value.object().front().first, "a");
  CHECK_EQ(json::parse("5e-324").number(), 5e-324);
  for (const char* bad : {"",
                          " ",
                          "{",
                          "[",
                          "[1,]",
                          "[1 2]",
                          "{\"a\"}",
                          "{\"a\":}",
                          "{a:1}",
                          "{\"a\":1,}",
                          "{\"a\":1,\"a\":2}",
                          "01",
                          "1.",
                          ".5",
                          "+1",
                          "-",
                          "1e",
                          "1e+",
                          "nul",
                          "NaN",
                          "Infinity",
                          "tru",
                          "\"",
                          "\"\\x\"",
                          "\"\\u12g4\"",
                          "\"\\u12\"",
                          "\"\\ud800\"",
                          "\"\\udc00\"",
                          "\"\\ud800\\u0041\"",
                          "\"\n\"",
                          "\"\xff\"",
                          "\"\xc0\x80\"",
                          "\"\xed\xa0\x80\"",
                          "1 1",
                          "[1]]",
                          "\xef\xbb\xbf{}",
                          "\"\\"}) {
    check::context = bad;
    CHECK_THROWS(json::Error, "JSON", json::parse(bad));
  }
  check::context.clear();
  std::string many = "[0";
  for (int n = 0; n < 1'000'000; ++n) many += ",0";
  CHECK_THROWS(json::Error, "too many values", json::parse(many + "]"));
  for (const double number : {0.0, 1.0, -3.5, 0.1, 1e22, 5e-324, 1.7976931348623157e308, 123456789012345680.0}) {
    CHECK_EQ(json::parse(json::number(number)).number(), number);
    CHECK(json::number(number).find_first_of(".e") != std::string::npos);
  }
  const std::string text("a\"b\\c\n\x01\u00e9\0d", 10);
  CHECK_EQ(json::parse(json::quoted(text)).string(), text);
}

TEST(the_checksum_is_zlib_s) {
  const std::string digits = "123456789", text = "The quick brown fox jumps over the lazy dog";
  const auto crc = [](const std::string& s, std::uint32_t from = 0) {
    return crc32(from, reinterpret_cast<const unsigned char*>(s.data()), s.size());
  };
  CHECK_EQ(crc(digits), 0xCBF43926u);
  CHECK_EQ(crc(text), 0x414FA339u);
  CHECK_EQ(crc(text.substr(13), crc(text.substr(0, 13))), 0x414FA339u);
  CHECK_EQ(crc(""), 0u);
}

}  // namespace
