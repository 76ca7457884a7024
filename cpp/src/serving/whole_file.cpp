// SPDX-License-Identifier: Apache-2.0
#include "serving/whole_file.hpp"

#include <cerrno>
#include <fstream>
#include <random>
#include <string>
#include <utility>

#include "warpfactor/model.hpp"

#if defined(_WIN32)
#include <io.h>
#else
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace warpfactor {
namespace {

namespace fs = std::filesystem;

std::error_code last_error() { return {errno, std::generic_category()}; }

/// Whether a path names what nothing can replace: a pipe, a device, or what this process has open. To replace the file
/// behind a descriptor would lose what others have written there.
bool is_stream(const fs::path& path) {
  const std::string name = path.string();
  if (name == "/dev/stdout" || name == "/dev/stderr" || name.starts_with("/dev/fd/") ||
      name.starts_with("/proc/self/fd/")) {
    return true;
  }
  std::error_code none;
  const fs::file_status status = fs::status(path, none);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

/// The file that links lead to, which need not exist. Not fs::weakly_canonical, which stops at a link to nothing.
fs::path followed(fs::path path, std::error_code& error) {
  for (int n = 0; n < 40; ++n) {  // as many as Linux follows
    std::error_code none;
    if (!fs::is_symlink(path, none)) return path;
    const fs::path next = fs::read_symlink(path, error);
    if (error) return path;
    path = path.parent_path() / next;  // next alone, if it is absolute
  }
  error = std::make_error_code(std::errc::too_many_symbolic_link_levels);
  return path;
}

fs::path temporary_in(const fs::path& folder) {
  // Not made from the target's name, which can be as long as names may be.
  std::random_device random;
  char number[17];
  std::snprintf(number, sizeof number, "%08x%08x", random(), random());
  return folder / (std::string(".warpfactor-") + number + ".tmp");
}

/// Gives a new file the group, the owner and the mode of another, as far as this process may.
void dress(std::FILE* file, const fs::path& like) {
#if !defined(_WIN32)
  struct stat old = {}, now = {};
  if (stat(like.c_str(), &old) != 0 || fstat(fileno(file), &now) != 0) return;
  mode_t mode = old.st_mode & 0777;
  if (now.st_gid != old.st_gid && fchown(fileno(file), static_cast<uid_t>(-1), old.st_gid) != 0) {
    mode = (mode & ~mode_t{070}) | ((mode & 07) << 3);  // its group is another, which the mode did not speak of
  }
  if (now.st_uid != old.st_uid && fchown(fileno(file), old.st_uid, static_cast<gid_t>(-1)) != 0) errno = 0;
  if (fchmod(fileno(file), mode) != 0) errno = 0;  // file systems without modes
#else
  (void)file, (void)like;
#endif
}

bool is_write_protected(const fs::path& path) {
#if defined(_WIN32)
  return _waccess(path.c_str(), 2) != 0;
#else
  return access(path.c_str(), W_OK) != 0;
#endif
}

}  // namespace

WholeFile::WholeFile(const fs::path& path) : given_(path), target_(path) {
  if (is_stream(path)) {
    file_ = std::fopen(path.string().c_str(), "ab");  // a redirected standard output is not truncated
    if (file_ == nullptr) fail(last_error());
    return;
  }
  std::error_code error, none;
  target_ = followed(path, error);
  if (error) fail(error);
  if (fs::is_directory(target_, none)) {
    throw ModelFileError(given_.string() + " is a folder: give the name of a file in it");
  }
  const fs::path folder = target_.has_parent_path() ? target_.parent_path() : ".";
  if (!fs::is_directory(folder, none)) {
    throw ModelFileError(given_.string() + " cannot be written: " + folder.string() +
                         " is no folder: create it before saving there");
  }
  const bool exists = fs::exists(target_, none);
  if (exists && is_write_protected(target_)) {
    throw ModelFileError(given_.string() +
                         " is write-protected: get the right to write it, or save under another name");
  }
  temporary_ = temporary_in(folder);
  file_ = std::fopen(temporary_.string().c_str(), "wbx");
  if (file_ == nullptr) fail(last_error());
  if (exists) dress(file_, target_);  // before there is anything in it to be read
}

WholeFile::~WholeFile() {
  if (file_ != nullptr) std::fclose(file_);
  std::error_code none;
  if (!temporary_.empty()) fs::remove(temporary_, none);
}

void WholeFile::write(const void* data, std::size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) fail(last_error());
}

void WholeFile::finish() {
  if (std::fflush(file_) != 0) fail(last_error());
  if (!temporary_.empty()) {
    // The name must not point at data that a power cut can lose.
#if defined(_WIN32)
    if (_commit(_fileno(file_)) != 0) fail(last_error());
#else
    if (fsync(fileno(file_)) != 0) fail(last_error());
#endif
  }
  if (std::fclose(std::exchange(file_, nullptr)) != 0) fail(last_error());
  if (!temporary_.empty()) put_in_place();
}

void WholeFile::put_in_place() {
  std::error_code error, none;
  fs::rename(temporary_, target_, error);
  // A file that is a mount of its own (Docker's -v FILE:FILE), or somebody else's in a folder with the sticky bit, can
  // be written, and not replaced.
  const bool in_place = error == std::errc::device_or_resource_busy || error == std::errc::operation_not_permitted;
  if (in_place && fs::exists(target_, none)) {
    fs::resize_file(target_, 0, error);
    if (!error) {
      std::ifstream source(temporary_, std::ios::binary);
      std::fstream sink(target_, std::ios::binary | std::ios::in | std::ios::out);
      sink << source.rdbuf();
      sink.close();
      if (!sink) error = std::make_error_code(std::errc::io_error);
    }
  }
  if (error) fail(error);
}

void WholeFile::fail(std::error_code error) const {
  throw ModelFileError(given_.string() + " could not be written (" + error.message() +
                       "): make room or get the right to write there, or save to another folder");
}

}  // namespace warpfactor
