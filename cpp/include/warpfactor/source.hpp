// SPDX-License-Identifier: Apache-2.0
// Training on more ratings than memory holds: they come in chunks and are kept in a scratch file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

#include "warpfactor/train.hpp"

namespace warpfactor {

/// Ratings that come in chunks, which may have any sizes. Either all chunks have weights or none has.
struct RatingChunks {
  std::int32_t n_users = 0, n_items = 0;
  std::int64_t n_ratings = 0;  ///< of all chunks together
  /// Calls `take` with each chunk in turn, on the calling thread; a chunk need not outlive its call. What `take` throws
  /// is passed on. train() calls it once: later passes read what it wrote to the scratch file.
  std::function<void(const std::function<void(const RatingsView&)>& take)> for_each{};
  /// What for_each() itself gives back of the same disk on the way, which counts as free.
  std::int64_t freed_bytes = 0;
};

/// Where the ratings are kept while training runs.
struct ScratchFolder {
  /// An existing folder with room for scratch_bytes(). The files in it have no names, so that they go away with the
  /// process, however it ends.
  std::string path;
  /// What training holds in memory beside what belongs to rows (factors, biases, prior means, what the optimizer
  /// remembers, counts), to blocks (at most an eighth of a byte a rating, for a device a quarter), and to the
  /// validation ratings. At least the constants below; where the ratings of a row, or of a few rows, do not fit into
  /// it, an error says how much would do.
  std::int64_t buffer_bytes = std::int64_t{1} << 30;
};
inline constexpr std::int64_t kLeastBufferBytes = std::int64_t{4} << 20;
inline constexpr std::int64_t kLeastBufferBytesPerThread = std::int64_t{1} << 20;

/// The scratch file cannot be made, read or written: the text names `scratch`, its path and what to do.
class ScratchError : public std::system_error {
 public:
  using std::system_error::system_error;
};

/// The most that train() takes in the folder at a time for so many ratings. `weighted`: they come with weights.
std::int64_t scratch_bytes(std::int64_t n_ratings, bool weighted, const TrainParams& params);

/// Throws std::invalid_argument if these parameters cannot train from a scratch file, or the buffer is too small, which
/// train() does too, when the ratings are there.
void validate(const ScratchFolder& scratch, const TrainParams& params);

/// As the other train(), with the same bits as it gives for all chunks in one, for any sizes of chunks and buffers and
/// any number of threads. Not for what takes ratings in batches. On a device too: what of the ratings fits into its
/// memory is there, else they are read from the file in each epoch. Throws ScratchError too.
template <class T>
TrainResult<T> train(const RatingChunks& chunks, const ScratchFolder& scratch, const TrainParams& params,
                     const TrainOptions<T>& options = {});

}  // namespace warpfactor
