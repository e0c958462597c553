#include "datasets/image_cache.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace thinwire {
namespace {

constexpr int64_t kPlenty = std::numeric_limits<int64_t>::max();
/// The memory is asked about each time that so much more was taken.
constexpr int64_t kStep = int64_t{16} << 20;
/// What an image costs besides its bytes: the vector, and what the allocator keeps.
constexpr int64_t kOverhead = 64;

/// The number behind `key` in a file of "key number" lines, or a file's only one for an empty key.
/// @return `otherwise` if there is none.
int64_t NumberIn(const std::string& path, const std::string& key, int64_t otherwise) {
  std::ifstream file(path);
  for (std::string word; key.empty() || file >> word;) {
    if (!key.empty() && word != key) continue;
    int64_t number = 0;
    return file >> number ? number : otherwise;
  }
  return otherwise;
}

/// What the limit of a control group (version 2) leaves. Its count has pages of files, too, which
/// the kernel gives up when it needs them.
int64_t LeftOfGroup(const std::string& folder) {
  const int64_t limit = NumberIn(folder + "/memory.max", "", kPlenty);
  if (limit == kPlenty) return kPlenty;
  const std::string statistics = folder + "/memory.stat";
  const int64_t files =
      NumberIn(statistics, "inactive_file", 0) + NumberIn(statistics, "active_file", 0);
  return limit - NumberIn(folder + "/memory.current", "", 0) + files;
}

}  // namespace

int64_t AvailableMemory() {
  const int64_t kilobytes = NumberIn("/proc/meminfo", "MemAvailable:", kPlenty >> 10);
  int64_t available = std::min(kilobytes << 10, LeftOfGroup("/sys/fs/cgroup"));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::/")) {
      available = std::min(available, LeftOfGroup("/sys/fs/cgroup" + line.substr(3)));
    }
  }
  return std::max<int64_t>(available, 0);
}

CacheBudget::CacheBudget(int64_t limit, std::function<int64_t()> available)
    : limit_(limit), available_(std::move(available)), reserve_(available_() / 10) {}

bool CacheBudget::Take(int64_t bytes) {
  if (exhausted_) return false;
  const int64_t before = used_.fetch_add(bytes), after = before + bytes;
  const bool over_limit = limit_ > 0 && after > limit_;
  const bool step = before == 0 || before / kStep != after / kStep;
  if (!over_limit && !(step && available_() - bytes < reserve_)) return true;
  used_ -= bytes;
  exhausted_ = true;
  return false;
}

ImageCache::ImageCache(std::shared_ptr<const EncodedImages> source,
                       std::shared_ptr<CacheBudget> budget)
    : source_(std::move(source)),
      budget_(std::move(budget)),
      slots_(std::make_unique<std::atomic<const Bytes*>[]>(static_cast<size_t>(source_->count()))) {
}

ImageCache::~ImageCache() {
  for (int64_t i = 0; i < count(); ++i) delete slots_[static_cast<size_t>(i)].load();
}

std::span<const uint8_t> ImageCache::Read(int64_t index, std::vector<uint8_t>& buffer) const {
  std::atomic<const Bytes*>& slot = slots_[static_cast<size_t>(index)];
  if (const Bytes* const cached = slot.load()) return *cached;
  const std::span<const uint8_t> bytes = source_->Read(index, buffer);
  const int64_t cost = std::ssize(bytes) + kOverhead;
  if (!budget_->Take(cost)) return bytes;
  auto copy = std::make_unique<const Bytes>(bytes.begin(), bytes.end());
  const Bytes* present = nullptr;
  if (!slot.compare_exchange_strong(present, copy.get())) {
    budget_->GiveBack(cost);  // another thread was faster
    return *present;
  }
  ++cached_;
  return *copy.release();
}

}  // namespace thinwire
