// SPDX-License-Identifier: Apache-2.0
#include "serving/whole_file.hpp"

#include <cerrno>
#include <fstream>
#include <string>
#include <utility>

#include "serving/crc32.hpp"
#include "warpfactor/model.hpp"

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#else
#include <fcntl.h>
#include <sys/file.h>
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

/// The n-th name of a temporary file for a target. There are few, so that whoever writes next can look at each for what
/// a killed process has left. Not the target's own name with more, which can be as long as names may be.
fs::path temporary_of(const fs::path& folder, const fs::path& target, int n) {
  const std::string name = target.filename().string();
  const std::uint32_t hash = crc32(0, reinterpret_cast<const unsigned char*>(name.data()), name.size());
  char number[32];
  std::snprintf(number, sizeof number, "%08x-%d", hash, n);
  return folder / (std::string(".warpfactor-") + number + ".tmp");
}

// Names that are looked at in each write; more are used if so many processes write to one target at once.
constexpr int kNames = 8;

#if defined(_WIN32)
int new_file(const fs::path& path) { return _wopen(path.c_str(), _O_CREAT | _O_EXCL | _O_RDWR | _O_BINARY, 0666); }
void remove_stale(const fs::path&) {}
void keep_name(const fs::path&) {}
#else
bool is_same_file(int file, const fs::path& path) {
  struct stat one = {}, other = {};
  return fstat(file, &one) == 0 && lstat(path.c_str(), &other) == 0 && one.st_ino == other.st_ino &&
         one.st_dev == other.st_dev;
}

/// Removes a temporary file whose writer is dead. A writer holds a lock on it as long as it has that name, and only who
/// holds the lock may take the name away.
void remove_stale(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return;
  if (flock(file, LOCK_EX | LOCK_NB) == 0 && is_same_file(file, path)) unlink(path.c_str());
  close(file);
}

/// A new file of this name, locked; -1 with errno.
int new_file(const fs::path& path) {
  for (;;) {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) return file;
    // Before the lock it looked stale; file systems without locks remove nothing.
    if (flock(file, LOCK_EX) != 0 || is_same_file(file, path)) return file;
    close(file);
  }
}

/// Makes sure that a power cut does not take back a new name.
void keep_name(const fs::path& folder) {
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  (void)fsync(file);  // some file systems cannot, and need not
  close(file);
}
#endif

/// A file without a name, which nothing is left of if this process is killed; -1 where there is no such thing.
int nameless_file(const fs::path& folder) {
#if defined(O_TMPFILE)
  const int file = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
  if (file >= 0 && flock(file, LOCK_EX) == 0 && access(("/proc/self/fd/" + std::to_string(file)).c_str(), F_OK) == 0) {
    return file;
  }
  if (file >= 0) close(file);
#else
  (void)folder;
#endif
  return -1;
}

/// Gives a nameless file a name that is free; false with errno.
bool name_it(std::FILE* file, const fs::path& path) {
#if defined(O_TMPFILE)
  const std::string nameless = "/proc/self/fd/" + std::to_string(fileno(file));
  return linkat(AT_FDCWD, nameless.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
#else
  (void)file, (void)path;
  return false;
#endif
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
  folder_ = folder;
  for (int n = 0; n < kNames; ++n) remove_stale(temporary_of(folder_, target_, n));
  int file = nameless_file(folder_);
  nameless_ = file >= 0;
  for (int n = 0; file < 0; ++n) {
    temporary_ = temporary_of(folder_, target_, n);
    if (n >= kNames) remove_stale(temporary_);
    file = new_file(temporary_);
    if (file < 0 && errno != EEXIST) {
      temporary_.clear();
      fail(last_error());
    }
  }
  file_ = fdopen(file, "wb+");
  if (file_ == nullptr) {
    const std::error_code why = last_error();
    close(file);
    fail(why);
  }
  if (exists) dress(file_, target_);  // before there is anything in it to be read
}

WholeFile::~WholeFile() {
  std::error_code none;
  if (!temporary_.empty()) fs::remove(temporary_, none);  // before the lock on it goes
  if (file_ != nullptr) std::fclose(file_);
}

void WholeFile::write(const void* data, std::size_t bytes) {
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) fail(last_error());
}

void WholeFile::finish() {
  if (std::fflush(file_) != 0) fail(last_error());
  if (nameless_ || !temporary_.empty()) {
    // The name must not point at data that a power cut can lose.
#if defined(_WIN32)
    if (_commit(_fileno(file_)) != 0) fail(last_error());
#else
    if (fsync(fileno(file_)) != 0) fail(last_error());
#endif
    put_in_place();
    keep_name(folder_);
  }
  if (std::fclose(std::exchange(file_, nullptr)) != 0) fail(last_error());
}

void WholeFile::put_in_place() {
  std::error_code error, none;
  if (nameless_) {
    if (name_it(file_, target_)) return;  // there was no such file
    for (int n = 0; temporary_.empty(); ++n) {
      const fs::path name = temporary_of(folder_, target_, n);
      if (n >= kNames) remove_stale(name);
      if (name_it(file_, name)) {
        temporary_ = name;
      } else if (errno != EEXIST) {
        fail(last_error());
      }
    }
  }
#if defined(_WIN32)
  std::fclose(std::exchange(file_, nullptr));  // an open file cannot be renamed there
#endif
  fs::rename(temporary_, target_, error);
  if (!error) {
    temporary_.clear();
    return;
  }
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
