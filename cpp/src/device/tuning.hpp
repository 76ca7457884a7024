// SPDX-License-Identifier: Apache-2.0
// The tuning constants of devices, with the measurement that chose them. "H200" is an NVIDIA H200 with 99.5 M generated
// ratings of Netflix's shape unless a line says more. What the kernels are compiled with (tiles, threads of a block) is
// in kernel_args.hpp, because CUDA's run-time compiler reads it too. The words are CONTRIBUTING's glossary.
#pragma once

#include <cstdint>

namespace warpfactor {

// Hogwild.

/// Waves. Fewer would leave a popular row to more tiles at once; more would make segments shorter, and a segment costs
/// one read and one write of its row. Not measured.
inline constexpr std::int32_t kWaves = 8;
/// Ratings of a task, with kSegmentCost for each segment, at most about: so long do tiles wait for the last one at the
/// end of a wave. Not measured. With 256, MovieLens 1M had 460 tasks in a wave, and more tiles found nothing to do.
inline constexpr std::int64_t kMostTaskRatings = 128;
/// The same at least: fetching a task costs more than a few ratings. Not measured.
inline constexpr std::int64_t kLeastTaskRatings = 32;
/// Going to another segment takes about as long as so many ratings. Not measured.
inline constexpr std::uint32_t kSegmentCost = 3;
/// Tiles that may take the most popular row at once, on average. In the twin, whose races are the worst there can be,
/// MovieLens 1M (800,167 ratings, k = 64) has a test RMSE of 0.8411 under blocked, and under hogwild 0.8414 with 16
/// tiles, 0.8418 with 100, 0.8436 with 390. An item with a tenth of 630,000 generated ratings did as well with 58 tiles
/// on its row as with one (0.57 and 0.61). H200: 24,000 tiles reach 0.7513 after 16 epochs, the CPU 0.7512.
inline constexpr double kTilesOnRow = 64;
/// Ratings of an epoch for which a tile more is used. H200, with one rating at work in a tile and tasks of 256: 500
/// instead of 4,000 took an epoch of MovieLens 1M from 2.9 to 1.5 ms and of 100K from 2.8 to 1.06 ms at the same RMSE,
/// with 460 and 50 tiles at work, as there were no more tasks; on the large set, k = 32, the RMSE was .7577 and .7569.
/// Now a tile has two ratings at work, and tasks are cut for the tiles: 4,000 gives 200 and 20 tiles, which have 400
/// and 40 ratings at work. In the twin 2,000 was too few for MovieLens 1M (k = 32, 8 epochs): 0.8493, where the CPU has
/// 0.8440.
inline constexpr std::int64_t kRatingsOfTile = 4000;

// Blocked. H200, k = 64, half storage: 0.79 G updates/s, hogwild 2.95 G. A row's ratings are taken one after the other,
// so that no schedule makes more updates/s than 1 / (share of the heaviest own row * time of a rating in a tile).
// Played through (benchmarks/results/2026-11-28-device-pass.txt), more stripes than here keep no more ratings at work.

/// Stripes of a side, at most: as many tiles at once as a card runs well with. Not measured.
inline constexpr std::int32_t kMaxStripes = 1024;
/// Ratings of a block on average, at least. Not measured.
inline constexpr double kMinRatingsPerBlock = 32;

// All.

/// Bytes from one row's bias to the next row's, at most: a cache line, so that tiles at work on other rows do not write
/// it. H200, hogwild, a trial that spread both sides alike, G updates/s at k = 128 half, 64 float, 64 half and 32 half:
/// packed 2.95, 2.96, 2.95, 2.93; 32 bytes 6.05, 6.13, 5.84, 5.55; 128 bytes 6.97, 7.19, 6.97, 5.94. Without biases
/// k = 128 half made 7.93 and k = 32 half 6.78.
inline constexpr std::int64_t kBiasSpacing = 128;
/// Bytes that the biases of a side are spread over, at most. The more rows, the fewer ratings each has, and the more of
/// them may share a line: these are 16,384 lines or more, and the trial's items had 17,770. Not measured.
inline constexpr std::int64_t kSpreadBiases = std::int64_t{4} << 20;
/// The part of the memory left that they are spread over, at most: ratings make better use of it. Not measured.
inline constexpr std::int64_t kSpreadBiasesPart = 64;
/// Warps that add up losses; the bits of the sum depend on their number. Not measured.
inline constexpr std::int64_t kSumWarps = 64;
/// Bytes of free memory left alone if device_memory is not set, for CUDA itself and kernels' stacks. Not measured.
inline constexpr std::int64_t kReserve = std::int64_t{256} << 20;
/// Pinned buffers through which ratings and factors go up: one is filled while the other goes up. Not measured.
inline constexpr int kStagingBuffers = 2;
/// Bytes of such a buffer, at most. H200: 398 MB went up in 7 ms from pinned memory, 57 GB/s, so 16 MiB take 0.3 ms, in
/// which starting the threads and the copy does not count. The size itself is not measured.
inline constexpr std::int64_t kStagingBytes = std::int64_t{16} << 20;
/// Bytes that a thread copies into it at a time: all of 16 threads have some of it. Not measured.
inline constexpr std::int64_t kStagingSlice = std::int64_t{256} << 10;
/// Ratings that a thread checks and copies at a time: a multiple of RatingCheck::kRange. Not measured.
inline constexpr std::int64_t kCheckedRatings = std::int64_t{1} << 14;
/// Others of a row that a lane sums up before it hands on. Not measured.
inline constexpr std::int64_t kPartOthers = 512;
/// Parts of lists, of kPartOthers others at most, that a task of the host reads from a file. Not measured.
inline constexpr std::int64_t kListParts = 64;
/// Rows of a slice whose columns a lane sums up, at least. Not measured.
inline constexpr std::int64_t kSumSliceRows = 32;
/// Slices times quads of a row, at most: those sums take 160 bytes each. Not measured.
inline constexpr std::int64_t kMostSliceQuads = std::int64_t{1} << 17;
/// The part of a side's list of who rated what for which a slot should have room. Not measured.
inline constexpr std::int64_t kListsPart = 8;
/// Rows that a task of the host converts: a pinned buffer's are enough for 16 threads. Not measured.
inline constexpr std::int64_t kConvertedRows = 1024;

}  // namespace warpfactor
