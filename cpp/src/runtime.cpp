// SPDX-License-Identifier: Apache-2.0
#include "warpfactor/runtime.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "threads.hpp"
#include "warpfactor/memory.hpp"

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace warpfactor {
namespace {

#if defined(__linux__)
std::int32_t affinity_count() {
  // The fixed-size set fails with EINVAL beyond 1024 processors; a larger one is tried then.
  for (int n = 1024; n <= 1 << 18; n *= 4) {
    cpu_set_t* set = CPU_ALLOC(n);
    if (set == nullptr) return 0;
    const std::size_t bytes = CPU_ALLOC_SIZE(n);
    const int failed = sched_getaffinity(0, bytes, set);
    const int count = failed == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 0;
}

double quota_in(const std::string& folder, bool v2) {
  double quota = -1, period = -1;
  if (v2) {
    std::ifstream file(folder + "/cpu.max");
    std::string text;
    if (file >> text >> period && text != "max") quota = std::strtod(text.c_str(), nullptr);
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

/// Calls f(folder, v2) for the control groups of this process that a controller, such as cpu or memory, may limit, and
/// for all around them: a limit may sit on any.
template <class F>
void for_each_cgroup(const std::string& controller, const F& f) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && ("," + controllers + ",").find("," + controller + ",") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controller;
    std::string path = line.substr(second + 1);
    for (;;) {
      while (!path.empty() && path.back() == '/') path.pop_back();
      f(root + path, v2);
      if (path.empty()) break;
      path.erase(path.rfind('/'));
    }
  }
}

/// Processors' worth of time that the control groups of this process grant it; 0: no limit.
double cgroup_quota() {
  double smallest = 0;
  for_each_cgroup("cpu", [&](const std::string& folder, bool v2) {
    const double quota = quota_in(folder, v2);
    if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
  });
  return smallest;
}
#endif

}  // namespace

std::int32_t available_threads() {
  std::int32_t count = 0;
#if defined(__linux__)
  count = affinity_count();
#endif
  if (count <= 0) count = static_cast<std::int32_t>(std::thread::hardware_concurrency());
#if defined(__linux__)
  const double quota = cgroup_quota();
  if (quota > 0) count = std::min(count, static_cast<std::int32_t>(std::ceil(quota)));
#endif
  return std::max(count, 1);
}

int team_size(std::int32_t n_threads, std::int64_t n_tasks) {
  if (n_tasks <= 1) return 1;  // the question below reads files
  const std::int64_t wanted = n_threads > 0 ? n_threads : available_threads();
  return static_cast<int>(std::min(wanted, n_tasks));
}

#if defined(__linux__)
namespace {

/// A number of bytes in a file that holds it alone; -1: none, or no limit.
std::int64_t bytes_in(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  if (!(file >> text) || text.empty() || text.size() > 18 ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return -1;
  }
  return std::stoll(text);
}

/// The number after a name in a file of names and numbers; 0: it is not there.
std::int64_t bytes_after(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  std::int64_t number = 0;
  while (file >> word) {
    if (word == name && file >> number) return number;
  }
  return 0;
}

/// What a control group leaves: its limit, less what it uses and could not give back.
std::int64_t left_in(const std::string& folder, bool v2) {
  const std::int64_t limit = bytes_in(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes")),
                     used = bytes_in(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (limit < 0 || used < 0) return -1;
  const std::string stat = folder + "/memory.stat", prefix = v2 ? "" : "total_";
  const std::int64_t cache = bytes_after(stat, prefix + "inactive_file") + bytes_after(stat, prefix + "active_file");
  const std::int64_t swap = v2 ? bytes_in(folder + "/memory.swap.max") - bytes_in(folder + "/memory.swap.current") : 0;
  return std::max<std::int64_t>(limit - used + cache + std::max<std::int64_t>(swap, 0), 0);
}

}  // namespace

AvailableMemory available_memory() {
  constexpr std::int64_t kKilobyte = 1024;
  AvailableMemory least;
  const auto take = [&least](std::int64_t bytes, const std::string& limit) {
    if (bytes >= 0 && (least.bytes < 0 || bytes < least.bytes)) least = {bytes, limit};
  };
  const std::int64_t machine = bytes_after("/proc/meminfo", "MemAvailable:");
  if (machine > 0) {
    const std::int64_t all = bytes_after("/proc/meminfo", "MemTotal:"),
                       swap = bytes_after("/proc/meminfo", "SwapFree:");
    take((machine + swap) * kKilobyte, "of the machine's " + bytes_text(all * kKilobyte));
  }
  for_each_cgroup("memory",
                  [&](const std::string& folder, bool v2) { take(left_in(folder, v2), "of the container's limit"); });
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    const auto pages = bytes_in("/proc/self/statm");
    const auto used = std::max<std::int64_t>(pages, 0) * sysconf(_SC_PAGESIZE);
    take(std::max<std::int64_t>(static_cast<std::int64_t>(limit.rlim_cur) - used, 0),
         "of the limit on address space, RLIMIT_AS");
  }
  return least;
}
#else
AvailableMemory available_memory() { return {}; }
#endif

}  // namespace warpfactor
