// SPDX-License-Identifier: Apache-2.0
// Files that are written whole or not at all; in Python that is python/warpfactor/writing.py.
#pragma once

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <system_error>

namespace warpfactor {

/// Writes to a temporary file beside the target, which `finish` puts in its place; otherwise nothing is left. Where the
/// system can (O_TMPFILE of Linux) it has no name until then, so that nothing is left of a process that is killed
/// either; elsewhere the next one that writes to the target removes it. A new file has the mode of any program's new
/// file, by the umask. One that is replaced keeps its mode, and its owner and group as far as this process may give
/// files away. Symbolic links stay: the file they lead to is replaced. Pipes, devices and open descriptors
/// (/dev/stdout) are written to as they are.
class WholeFile {
 public:
  /// Throws ModelFileError, as do `write` and `finish`, with the path and what to do.
  explicit WholeFile(const std::filesystem::path& path);
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void finish();

 private:
  [[noreturn]] void fail(std::error_code error) const;
  void put_in_place();

  std::filesystem::path given_, target_, folder_, temporary_;
  bool nameless_ = false;  // neither this nor a temporary: a stream
  std::FILE* file_ = nullptr;
};

}  // namespace warpfactor
