// SPDX-License-Identifier: Apache-2.0
#include "serving/array_file.hpp"

#include <algorithm>

#include "serving/crc32.hpp"
#include "serving/json.hpp"
#include "warpfactor/model.hpp"

namespace warpfactor::array_file {
namespace {

constexpr std::uint64_t kMostHeaderBytes = 100'000'000;  // as safetensors itself has it

Array array_of(const json::Value& entry, std::uint64_t data_bytes, std::uint64_t& begin) {
  Array array;
  array.type = entry["dtype"].string();
  std::uint64_t bytes = type_bytes(array.type);
  require(bytes > 0, "an array has the type '" + array.type.substr(0, 40) + "'");
  for (const json::Value& each : entry["shape"].array()) {
    const std::int64_t n = each.integer();
    require(n >= 0, "an array has a negative length");
    array.shape.push_back(n);
  }
  const bool none = std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end();
  for (const std::int64_t n : array.shape) {
    if (none) break;
    require(static_cast<std::uint64_t>(n) <= data_bytes / bytes, "an array is larger than the file");
    bytes *= static_cast<std::uint64_t>(n);
  }
  const std::vector<json::Value>& offsets = entry["data_offsets"].array();
  require(offsets.size() == 2, "an array has no begin and end");
  const std::int64_t from = offsets[0].integer(), to = offsets[1].integer();
  require(from >= 0 && to >= from && static_cast<std::uint64_t>(to) <= data_bytes, "an array lies outside of the file");
  array.bytes = static_cast<std::size_t>(to - from);
  require(array.bytes == (none ? 0 : bytes), "the length of an array does not fit its shape");
  begin = static_cast<std::uint64_t>(from);
  return array;
}

std::string shape_text(const Array& array) {
  std::string all;
  for (const std::int64_t n : array.shape) all.append(all.empty() ? "" : ",").append(std::to_string(n));
  return all;
}

}  // namespace

std::size_t type_bytes(const std::string& type) {
  if (type == "U8" || type == "I8" || type == "BOOL") return 1;
  if (type == "F32" || type == "I32" || type == "U32") return 4;
  if (type == "F64" || type == "I64" || type == "U64") return 8;
  return 0;
}

std::uint32_t checksum(const Arrays& arrays, const Metadata& metadata, const std::string& leave_out) {
  std::uint32_t crc = 0;
  const auto add = [&crc](const std::string& part) {  // with the zero at its end, which tells parts apart
    crc = crc32(crc, reinterpret_cast<const unsigned char*>(part.c_str()), part.size() + 1);
  };
  for (const auto& [name, value] : metadata) {
    if (name == leave_out) continue;
    add(name);
    add(value);
  }
  for (const auto& [name, array] : arrays) {
    add(name);
    add(array.type);
    add(shape_text(array));
    crc = crc32(crc, array.data, array.bytes);
  }
  return crc;
}

std::uint32_t checksum(const Arrays& arrays) {
  std::uint32_t crc = 0;
  for (const auto& [name, array] : arrays) {
    crc = crc32(crc, reinterpret_cast<const unsigned char*>(name.data()), name.size());
    crc = crc32(crc, array.data, array.bytes);
  }
  return crc;
}

Ordered in_file_order(const Arrays& arrays) {
  Ordered order;
  for (const auto& [name, array] : arrays) order.emplace_back(name, &array);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return type_bytes(a.second->type) > type_bytes(b.second->type);
  });
  return order;
}

std::string header_of(const Ordered& order, const Metadata& metadata) {
  std::string header = "{\"__metadata__\":{";
  for (const auto& [name, value] : metadata) {
    if (header.back() != '{') header += ',';
    header.append(json::quoted(name)).append(":").append(json::quoted(value));
  }
  header += '}';
  std::size_t at = 0;
  for (const auto& [name, array] : order) {
    header.append(",").append(json::quoted(name)).append(":{\"dtype\":\"").append(array->type);
    header.append("\",\"shape\":[")
        .append(shape_text(*array))
        .append("],\"data_offsets\":[")
        .append(std::to_string(at));
    at += array->bytes;
    header.append(",").append(std::to_string(at)).append("]}");
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

Contents opened(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw ModelFileError(path.string() + " cannot be opened: check that you may read it");
  const std::uint64_t size = std::filesystem::file_size(path);
  unsigned char prefix[8];
  require(size >= sizeof prefix && file.read(reinterpret_cast<char*>(prefix), sizeof prefix), "it has no header");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, prefix, sizeof prefix);
  require(header_bytes <= kMostHeaderBytes && header_bytes <= size - sizeof prefix,
          "its header is longer than the file, or no header");
  std::string header(static_cast<std::size_t>(header_bytes), '\0');
  require(static_cast<bool>(file.read(header.data(), static_cast<std::streamsize>(header.size()))), "it ends early");
  const json::Value parsed = json::parse(header);

  Contents contents;
  contents.header = std::move(header);
  const std::uint64_t data_bytes = size - sizeof prefix - header_bytes;
  struct Place {
    std::uint64_t begin;
    const std::string* name;
    Array* array;
  };
  std::vector<Place> places;
  for (const auto& [name, entry] : parsed.object()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.object()) contents.metadata[key] = value.string();
      continue;
    }
    std::uint64_t begin = 0;
    const auto [at, is_new] = contents.arrays.insert_or_assign(name, array_of(entry, data_bytes, begin));
    places.push_back({begin, &at->first, &at->second});
  }
  // Of those that begin at one place all but the last are empty.
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::pair(a.begin, a.array->bytes) < std::pair(b.begin, b.array->bytes);
  });
  std::uint64_t at = 0;
  for (const Place& place : places) {
    require(place.begin == at, "its arrays overlap or leave gaps");
    place.array->begin = sizeof prefix + header_bytes + place.begin;
    at += place.array->bytes;
    contents.order.emplace_back(*place.name, place.array);
  }
  require(at == data_bytes, "something follows its arrays");
  contents.file = std::move(file);
  return contents;
}

Contents contents_of(const std::filesystem::path& path) {
  Contents contents = opened(path);
  std::uint64_t bytes = 0;
  for (const auto& [name, array] : contents.order) bytes += array->bytes;
  contents.data = std::make_unique_for_overwrite<unsigned char[]>(static_cast<std::size_t>(bytes));
  unsigned char* at = contents.data.get();
  require(static_cast<bool>(contents.file.read(reinterpret_cast<char*>(at), static_cast<std::streamsize>(bytes))),
          "it ends early");
  for (const auto& [name, array] : contents.order) {
    contents.arrays[name].data = at;
    at += array->bytes;
  }
  return contents;
}

}  // namespace warpfactor::array_file
