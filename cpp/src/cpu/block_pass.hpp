// SPDX-License-Identifier: Apache-2.0
// A pass over blocks: which thread takes which when, and a block slice by slice.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "cpu/blocks.hpp"
#include "cpu/kernel_table.hpp"
#include "threads.hpp"

namespace warpfactor {

/// The blocks that an outer turn has done. On a cache line of its own: one thread writes it while another reads it.
struct alignas(64) BlocksDone {
  std::atomic<std::int64_t> count{0};
};

/// Has the threads take all blocks. A thread takes an outer turn with all inner ones, and follows the thread with the
/// outer turn before at a distance of at least one block, so that no two work on the same rows. `begin(outer_turn,
/// thread)` is called first, `take(outer_turn, inner_turn, thread)` for each block; false ends the thread.
///
/// Without `in_turn` nobody follows. Then two threads may update a row at once and lose part of an update: the one data
/// race here, which hogwild tolerates by design. Threads begin at different inner turns, so that it is rare.
template <class Begin, class Take>
void pass_over_blocks(std::int64_t outer_turns, std::int64_t inner_turns, bool in_turn, ThreadTeam& team,
                      const Begin& begin, const Take& take) {
  std::vector<BlocksDone> done(static_cast<std::size_t>(in_turn ? outer_turns : 0));
  team.run(outer_turns, [&](std::int64_t outer_turn, int thread) {
    const std::int64_t first = in_turn ? 0 : inner_turns * thread / team.size();
    begin(outer_turn, thread);
    for (std::int64_t n = 0; n < inner_turns; ++n) {
      const std::int64_t inner_turn = first + n < inner_turns ? first + n : first + n - inner_turns;
      if (in_turn && outer_turn > 0) {
        const BlocksDone& previous = done[static_cast<std::size_t>(outer_turn - 1)];
        for (int attempt = 0; previous.count.load(std::memory_order_acquire) <= inner_turn; ++attempt) {
          if (team.poll(thread)) return;
          if (attempt < 64) {
            pause_briefly();
          } else {
            std::this_thread::yield();  // the awaited thread may need this processor
          }
        }
      }
      if (!take(outer_turn, inner_turn, thread)) return;
      if (in_turn) done[static_cast<std::size_t>(outer_turn)].count.store(inner_turn + 1, std::memory_order_release);
    }
  });
}

/// Runs the kernel over a block and sets its losses. `args` has all but the ratings. A block can be long (one item, or
/// a user with most of the ratings): it is run in slices, so that Ctrl-C need not wait for its end. Returns whether it
/// came to the end.
template <class T>
bool run_block(const Kernels<T>& kernels, const BlockedRatings& blocked, std::size_t block, BlockWindow& window,
               SgdArgs<T>& args, ThreadTeam& team, int thread, PassSums& sums) {
  static_assert(ThreadTeam::kSlice % kGroup == 0);
  sums = {};
  const std::int64_t grouped_end = blocked.offsets[block] + blocked.grouped[block];
  for (std::int64_t begin = blocked.offsets[block]; begin < blocked.offsets[block + 1]; begin += ThreadTeam::kSlice) {
    if (team.poll(thread)) return false;
    args.n_ratings = std::min(ThreadTeam::kSlice, blocked.offsets[block + 1] - begin);
    window.show(blocked, begin, args.n_ratings);
    args.ratings = window.ratings();
    args.weights = window.weights();
    args.n_grouped = std::clamp<std::int64_t>(grouped_end - begin, 0, args.n_ratings);
    const PassSums of_slice = kernels.sgd(args);
    sums.loss += of_slice.loss;
    sums.squares += of_slice.squares;
  }
  return true;
}

/// Added up in their order: the bits do not depend on threads.
inline PassSums total(const std::vector<PassSums>& all_sums) {
  PassSums all;
  for (const PassSums& sums : all_sums) {
    all.loss += sums.loss;
    all.squares += sums.squares;
  }
  return all;
}

}  // namespace warpfactor
