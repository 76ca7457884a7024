// SPDX-License-Identifier: Apache-2.0
// Arrays and a few texts in one safetensors file: eight bytes with the length of a JSON header, the header, and the
// arrays one after the other. Models and checkpoints are such files.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "text.hpp"

namespace warpfactor::array_file {

static_assert(std::endian::native == std::endian::little, "arrays in a file are little-endian");

/// What is wrong inside a file; the caller adds which file.
struct Damaged : std::runtime_error {
  using std::runtime_error::runtime_error;
};
inline void require(bool condition, const std::string& otherwise) {
  if (!condition) throw Damaged(otherwise);
}

template <class V>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<V, float>) return "F32";
  if constexpr (std::is_same_v<V, double>) return "F64";
  if constexpr (std::is_same_v<V, std::int32_t>) return "I32";
  if constexpr (std::is_same_v<V, std::uint32_t>) return "U32";
  if constexpr (std::is_same_v<V, std::int64_t>) return "I64";
  if constexpr (std::is_same_v<V, std::uint64_t>) return "U64";
  if constexpr (std::is_same_v<V, char>) return "U8";
}

/// The bytes of an element; 0 for types that no file of ours has.
std::size_t type_bytes(const std::string& type);

/// Arrays by their names, which say in what order the checksum takes them.
struct Array {
  std::string type;
  std::vector<std::int64_t> shape;
  const unsigned char* data = nullptr;
  std::size_t bytes = 0;
  std::uint64_t begin = 0;  ///< in the file that it was read from
};
using Arrays = std::map<std::string, Array>;

using Metadata = std::map<std::string, std::string>;

/// Of what a file says but for one of its texts, and not of its bytes: the header's blanks, its order and its escapes
/// are free.
std::uint32_t checksum(const Arrays& arrays, const Metadata& metadata, const std::string& leave_out);
/// Of the names and bytes of arrays alone, in the order of the names.
std::uint32_t checksum(const Arrays& arrays);

template <class V>
void add(Arrays& arrays, const std::string& name, std::span<const V> values, std::vector<std::int64_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<std::int64_t>(values.size())};
  arrays[name] = {type_name<V>(), std::move(shape), reinterpret_cast<const unsigned char*>(values.data()),
                  values.size_bytes()};
}

using Ordered = std::vector<std::pair<std::string, const Array*>>;
/// The arrays in the order in which they follow the header: the widest first, so that all are aligned.
Ordered in_file_order(const Arrays& arrays);
/// The header, with spaces up to a multiple of eight bytes.
std::string header_of(const Ordered& order, const Metadata& metadata);

/// A file whose header is read and checked: every array lies in the file, and they neither overlap nor leave gaps.
struct Contents {
  std::ifstream file;
  std::string header;  ///< as it was written
  Metadata metadata;
  Arrays arrays;
  Ordered order;  ///< as they follow each other in the file
  std::unique_ptr<unsigned char[]> data;

  /// The text of this name. Throws Damaged.
  [[nodiscard]] const std::string& told(const std::string& name) const {
    const auto found = metadata.find(name);
    require(found != metadata.end(), "it has no '" + name + "'");
    return found->second;
  }
};
/// Without the arrays' data. Throws Damaged, json::Error, ModelFileError.
Contents opened(const std::filesystem::path& path);
/// All of it. Throws likewise.
Contents contents_of(const std::filesystem::path& path);

template <class V>
std::vector<V> take(const Arrays& arrays, const std::string& name, std::size_t n_axes = 1) {
  const auto found = arrays.find(name);
  require(found != arrays.end(), "it has no " + name);
  const Array& array = found->second;
  require(array.type == type_name<V>() && array.shape.size() == n_axes,
          name + " is " + array.type + " of " + text(array.shape.size()) + " axes");
  std::vector<V> values(array.bytes / sizeof(V));
  if (array.bytes > 0) std::memcpy(values.data(), array.data, array.bytes);
  return values;
}

}  // namespace warpfactor::array_file
