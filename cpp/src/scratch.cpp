// SPDX-License-Identifier: Apache-2.0
#include "scratch.hpp"

#include <cerrno>
#include <filesystem>

#include "text.hpp"

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#endif

namespace warpfactor {
namespace {

[[noreturn]] void fail(int error, const std::string& folder, const std::string& what) {
  throw ScratchError(error, std::generic_category(), "scratch is " + folder + what);
}

/// Bytes of a request to read ahead: of more Linux may drop the rest (its read_ahead_kb is 128).
constexpr std::int64_t kReadAhead = 128 * 1024;

}  // namespace

#ifdef _WIN32

ScratchFile::ScratchFile(const std::string& folder) {
  fail(ENOTSUP, folder, "; scratch files need a POSIX system, so give the ratings as a whole");
}
ScratchFile::~ScratchFile() = default;
void ScratchFile::write(std::int64_t, const void*, std::int64_t) const {}
void ScratchFile::read(std::int64_t, void*, std::int64_t) const {}
void ScratchFile::will_need(std::int64_t, std::int64_t) const noexcept {}
void ScratchFile::free(std::int64_t, std::int64_t) const noexcept {}

#else

ScratchFile::ScratchFile(const std::string& folder) : folder_(folder) {
#ifdef O_TMPFILE
  file_ = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
#endif
  if (file_ < 0) {  // older file systems, and others than Linux
    std::string path = folder + "/.warpfactor-XXXXXX";
    file_ = ::mkstemp(path.data());
    if (file_ >= 0) {
      ::unlink(path.c_str());
      ::fcntl(file_, F_SETFD, FD_CLOEXEC);
    }
  }
  if (file_ < 0)
    fail(errno, folder, ", where no file can be made; it must be an existing folder that may be written to");
}

ScratchFile::~ScratchFile() {
  if (file_ >= 0) ::close(file_);
}

void ScratchFile::write(std::int64_t offset, const void* from, std::int64_t bytes) const {
  const char* at = static_cast<const char*>(from);
  while (bytes > 0) {
    const ssize_t done = ::pwrite(file_, at, static_cast<std::size_t>(bytes), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      fail(done < 0 ? errno : ENOSPC, folder_, ", where a file cannot be written; name a folder with more room");
    }
    at += done;
    offset += done;
    bytes -= done;
  }
}

void ScratchFile::read(std::int64_t offset, void* to, std::int64_t bytes) const {
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t done = ::pread(file_, at, static_cast<std::size_t>(bytes), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail(done < 0 ? errno : EIO, folder_, ", where a file cannot be read back; name another folder");
    at += done;
    offset += done;
    bytes -= done;
  }
}

void ScratchFile::will_need(std::int64_t offset, std::int64_t bytes) const noexcept {
#ifdef POSIX_FADV_WILLNEED
  // In whole requests: of one that begins inside a page the system would cut off the last page.
  for (std::int64_t from = offset / kReadAhead * kReadAhead; from < offset + bytes; from += kReadAhead) {
    (void)::posix_fadvise(file_, static_cast<off_t>(from), static_cast<off_t>(kReadAhead), POSIX_FADV_WILLNEED);
  }
#else
  (void)offset;
  (void)bytes;
#endif
}

void ScratchFile::free(std::int64_t offset, std::int64_t bytes) const noexcept {
#if defined(__linux__) && defined(FALLOC_FL_PUNCH_HOLE)
  if (bytes > 0) {
    (void)::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                      static_cast<off_t>(bytes));
  }
#else
  (void)offset;
  (void)bytes;
#endif
}

#endif

void require_disk_space(const std::string& folder, std::int64_t bytes, std::int64_t n_ratings) {
  const ScratchFile made(folder);
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(folder, error);
  // The quota of a user is not known here; beyond it writing fails.
  if (!error && bytes > 0 && space.available < static_cast<std::uintmax_t>(bytes)) {
    fail(ENOSPC, folder,
         ", where " + text(space.available) + " bytes are free; it must have " + text(bytes) + " for " +
             text(n_ratings) + " ratings: name another folder");
  }
}

}  // namespace warpfactor
