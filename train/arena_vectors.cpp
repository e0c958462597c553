#include "train/arena_vectors.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace thinwire {

void StoreVectors(const std::string& prefix, const std::vector<Segment>& segments, Device& device,
                  ConstView vector, Checkpoint& checkpoint) {
  for (const Segment& segment : segments) {
    std::vector<float>& stored = checkpoint.vectors[prefix + segment.spec.name];
    stored.resize(static_cast<size_t>(segment.size));
    device.CopyToHost(vector.Slice(segment.offset, segment.size), stored.data());
  }
}

void LoadVectors(const Checkpoint& checkpoint, const std::string& prefix,
                 const std::vector<Segment>& segments, Device& device, View vector) {
  std::vector<float> values(static_cast<size_t>(vector.size));
  for (const Segment& segment : segments) {
    const std::string name = prefix + segment.spec.name;
    const auto stored = checkpoint.vectors.find(name);
    if (stored == checkpoint.vectors.end()) {
      throw Error(fmt::format("the checkpoint lacks {}", name),
                  "it belongs to another model or optimizer; use the run's own settings");
    }
    if (static_cast<int64_t>(stored->second.size()) != segment.size) {
      throw Error(fmt::format("{} has {} elements in the checkpoint and {} in the model", name,
                              stored->second.size(), segment.size),
                  "it belongs to another model; use the run's own settings");
    }
    std::copy(stored->second.begin(), stored->second.end(), values.begin() + segment.offset);
  }
  device.CopyFromHost(values.data(), vector);
}

bool HoldsVectors(const Checkpoint& checkpoint, const std::string& prefix) {
  const auto first = checkpoint.vectors.lower_bound(prefix);
  return first != checkpoint.vectors.end() && first->first.starts_with(prefix);
}

}  // namespace thinwire
