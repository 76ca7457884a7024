// SPDX-License-Identifier: Apache-2.0
#include "rating_source.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <optional>

#include "buffer.hpp"
#include "optimizer.hpp"
#include "require.hpp"
#include "threads.hpp"

namespace warpfactor {
namespace {

/// With weights. A part takes this share of the buffer, and at most so many ratings. Not measured.
constexpr std::int64_t kMostRatingBytes = 16, kPartShare = 8, kMostInPart = std::int64_t{1} << 22;

/// Ratings one field after the other, as in a part of the file.
struct Part {
  Buffer<char> bytes;
  bool weighted;

  Part(std::int64_t most, bool with_weights) : bytes(most * (with_weights ? 16 : 12)), weighted(with_weights) {}
  /// Where the fields begin, with `n` ratings.
  template <class V>
  V* field(std::int64_t number, std::int64_t n) {
    return reinterpret_cast<V*>(bytes.data() + 4 * number * n);
  }
};

template <class V>
void copy_to(V* to, std::span<const V> from, std::int64_t first, std::int64_t n) {
  std::copy_n(from.data() + first, n, to);
}

}  // namespace

std::int64_t part_ratings(std::int64_t buffer_bytes) {
  // A part, and its copy where it is sorted.
  static_assert(kLeastBufferBytes / 2 >= kMostRatingBytes * ThreadTeam::kSlice);
  const std::int64_t slices = buffer_bytes / kPartShare / kMostRatingBytes / ThreadTeam::kSlice;
  return std::clamp<std::int64_t>(slices * ThreadTeam::kSlice, ThreadTeam::kSlice, kMostInPart);
}

std::int64_t part_bytes(const RatingCounts& counts) {
  if (counts.buffer_bytes == 0) return 0;
  return std::min(part_ratings(counts.buffer_bytes), counts.n_ratings) * (counts.weighted ? 16 : 12);
}

bool trains_from_scratch(const TrainParams& params) {
  return !traits_of(params.optimizer).all_together && params.batch_size == 0;
}

std::int64_t least_buffer(const TrainParams& params) {
  const std::int64_t most_threads = team_size(params.n_threads, std::numeric_limits<std::int64_t>::max());
  return std::max(kLeastBufferBytes, most_threads * kLeastBufferBytesPerThread);
}

RatingSource::RatingSource(const RatingChunks& chunks, const ScratchFolder& scratch, std::function<bool()> interrupted)
    : n_users_(chunks.n_users),
      n_items_(chunks.n_items),
      size_(chunks.n_ratings),
      chunks_(&chunks),
      scratch_(&scratch),
      interrupted_(std::move(interrupted)) {}

void RatingSource::fetch(const std::function<std::int64_t(bool weighted)>& room) {
  if (scratch_ == nullptr) return;
  part_ = part_ratings(scratch_->buffer_bytes);
  std::optional<Part> part;
  std::int64_t taken = 0, filled = 0;
  auto last_poll = std::chrono::steady_clock::now();
  const auto wrong_number = [&](const char* held) {
    reject("n_ratings", size_, std::string("the number of ratings that the chunks hold, which is ") + held);
  };
  const auto take = [&](const RatingsView& chunk) {
    const std::size_t n = chunk.values.size();
    if (chunk.users.size() != n || chunk.items.size() != n || (!chunk.weights.empty() && chunk.weights.size() != n)) {
      reject("a chunk has " + text(chunk.users.size()) + " users, " + text(chunk.items.size()) + " items, " + text(n) +
             " values and " + text(chunk.weights.size()) + " weights; the lengths must be equal");
    }
    if (n == 0) return;
    if (!part) {
      weighted_ = !chunk.weights.empty();
      require_disk_space(scratch_->path, room(weighted_) - chunks_->freed_bytes, size_);
      file_ = ScratchFile(scratch_->path);
      part.emplace(std::min(part_, size_), weighted_);
    }
    if (weighted_ == chunk.weights.empty()) {
      reject("the chunk from ratings[" + text(taken) + "] on has " + (weighted_ ? "no weights" : "weights") +
             ", those before have " + (weighted_ ? "weights" : "none") +
             "; give weights with all chunks, or with none");
    }
    if (taken + chunk.size() > size_) wrong_number("more");
    for (std::int64_t first = 0; first < chunk.size();) {
      const std::int64_t of_part = std::min(part_, size_ - (taken - filled)),
                         more = std::min(of_part - filled, chunk.size() - first);
      copy_to(part->field<std::int32_t>(0, of_part) + filled, chunk.users, first, more);
      copy_to(part->field<std::int32_t>(1, of_part) + filled, chunk.items, first, more);
      copy_to(part->field<float>(2, of_part) + filled, chunk.values, first, more);
      if (weighted_) copy_to(part->field<float>(3, of_part) + filled, chunk.weights, first, more);
      first += more;
      filled += more;
      taken += more;
      if (filled == of_part) {
        file_.write((taken - filled) * rating_bytes(), part->bytes.data(), of_part * rating_bytes());
        filled = 0;
      }
    }
    const auto now = std::chrono::steady_clock::now();
    if (interrupted_ && now - last_poll >= std::chrono::milliseconds(50)) {
      last_poll = now;
      if (interrupted_()) throw Interrupted();
    }
  };
  chunks_->for_each(take);
  if (taken != size_) wrong_number(text(taken).c_str());
}

void RatingSource::read_parts(const std::function<void(const RatingsView& part, std::int64_t first)>& f) const {
  Part part(std::min(part_, size_), weighted_);
  const auto bytes_from = [&](std::int64_t first) { return std::min(part_, size_ - first) * rating_bytes(); };
  for (std::int64_t first = 0; first < size_; first += part_) {
    if (interrupted_ && interrupted_()) throw Interrupted();
    file_.read(first * rating_bytes(), part.bytes.data(), bytes_from(first));
    const std::int64_t next = first + part_;
    if (next < size_) file_.will_need(next * rating_bytes(), bytes_from(next));  // while f works
    const std::int64_t n = std::min(part_, size_ - first);
    const auto count = static_cast<std::size_t>(n);
    RatingsView view;
    view.users = {part.field<std::int32_t>(0, n), count};
    view.items = {part.field<std::int32_t>(1, n), count};
    view.values = {part.field<float>(2, n), count};
    if (weighted_) view.weights = {part.field<float>(3, n), count};
    view.n_users = n_users_;
    view.n_items = n_items_;
    f(view, first);
  }
}

}  // namespace warpfactor
