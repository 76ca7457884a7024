// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "warpfactor/source.hpp"

namespace warpfactor {

/// A file without a name in the scratch folder, which goes away with this object or with the process. It is read and
/// written by calls, not mapped: then a full or broken disk is an exception and no signal, and what is resident is what
/// the caller holds. Threads may use it at once. Throws ScratchError.
class ScratchFile {
 public:
  ScratchFile() = default;
  explicit ScratchFile(const std::string& folder);
  ~ScratchFile();
  ScratchFile(ScratchFile&& other) noexcept
      : file_(std::exchange(other.file_, -1)), folder_(std::move(other.folder_)) {}
  ScratchFile& operator=(ScratchFile&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(folder_, other.folder_);
    return *this;
  }

  [[nodiscard]] bool is_open() const noexcept { return file_ >= 0; }
  void write(std::int64_t offset, const void* from, std::int64_t bytes) const;
  void read(std::int64_t offset, void* to, std::int64_t bytes) const;
  /// Has the system begin to read this part, and returns.
  void will_need(std::int64_t offset, std::int64_t bytes) const noexcept;
  /// Gives the room of this part back to the disk, if the file system can. It is not read again.
  void free(std::int64_t offset, std::int64_t bytes) const noexcept;

 private:
  int file_ = -1;
  std::string folder_;
};

/// Throws ScratchError unless files can be made in the folder and so many bytes are free.
void require_disk_space(const std::string& folder, std::int64_t bytes, std::int64_t n_ratings);

}  // namespace warpfactor
