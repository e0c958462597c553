#include "train/arena_vectors.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.h"

namespace thinwire {
namespace {

template <typename T>
std::map<std::string, std::vector<T>>& VectorsOf(Checkpoint& checkpoint) {
  if constexpr (std::is_same_v<T, double>) {
    return checkpoint.wide_vectors;
  } else {
    return checkpoint.vectors;
  }
}

template <typename T>
void Store(const std::string& name, Device& device, ConstView values, Checkpoint& checkpoint) {
  std::vector<T>& stored = VectorsOf<T>(checkpoint)[name];
  stored.resize(static_cast<size_t>(values.size));
  device.CopyToHost(values, stored.data());
}

template <typename T>
void Load(const Checkpoint& checkpoint, const std::string& prefix,
          const std::vector<Segment>& segments, Device& device, View vector) {
  std::vector<T> values(static_cast<size_t>(vector.size));
  for (const Segment& segment : segments) {
    const std::vector<T>& stored =
        FindVector<T>(checkpoint, prefix + segment.spec.name, segment.size);
    std::copy(stored.begin(), stored.end(), values.begin() + segment.offset);
  }
  device.CopyFromHost(values.data(), vector);
}

}  // namespace

void StoreVector(const std::string& name, Device& device, ConstView values,
                 Checkpoint& checkpoint) {
  if (values.type == DataType::kFloat64) {
    Store<double>(name, device, values, checkpoint);
  } else {
    Store<float>(name, device, values, checkpoint);
  }
}

void StoreVectors(const std::string& prefix, const std::vector<Segment>& segments, Device& device,
                  ConstView vector, Checkpoint& checkpoint) {
  for (const Segment& segment : segments) {
    StoreVector(prefix + segment.spec.name, device, vector.Slice(segment.offset, segment.size),
                checkpoint);
  }
}

template <typename T>
const std::vector<T>& FindVector(const Checkpoint& checkpoint, const std::string& name,
                                 int64_t size) {
  const auto& vectors = VectorsOf<T>(const_cast<Checkpoint&>(checkpoint));
  const auto stored = vectors.find(name);
  if (stored == vectors.end()) {
    throw Error(fmt::format("the checkpoint lacks {}", name),
                "it belongs to another model or optimizer; use the run's own settings");
  }
  if (std::ssize(stored->second) != size) {
    throw Error(fmt::format("{} has {} elements in the checkpoint and {} in the model", name,
                            stored->second.size(), size),
                "it belongs to another model; use the run's own settings");
  }
  return stored->second;
}
template const std::vector<float>& FindVector(const Checkpoint&, const std::string&, int64_t);
template const std::vector<double>& FindVector(const Checkpoint&, const std::string&, int64_t);

void LoadVectors(const Checkpoint& checkpoint, const std::string& prefix,
                 const std::vector<Segment>& segments, Device& device, View vector) {
  if (vector.type == DataType::kFloat64) {
    Load<double>(checkpoint, prefix, segments, device, vector);
  } else {
    Load<float>(checkpoint, prefix, segments, device, vector);
  }
}

bool HoldsVectors(const Checkpoint& checkpoint, const std::string& prefix) {
  const auto holds = [&prefix](const auto& vectors) {
    const auto first = vectors.lower_bound(prefix);
    return first != vectors.end() && first->first.starts_with(prefix);
  };
  return holds(checkpoint.vectors) || holds(checkpoint.wide_vectors);
}

int64_t FindInteger(const Checkpoint& checkpoint, const std::string& name) {
  const auto found = checkpoint.integers.find(name);
  if (found == checkpoint.integers.end() || found->second < 0) {
    throw Error("the checkpoint to resume from lacks " + name, "resume from another one");
  }
  return found->second;
}

double FindNumber(const Checkpoint& checkpoint, const std::string& name) {
  const auto found = checkpoint.numbers.find(name);
  if (found == checkpoint.numbers.end()) {
    throw Error("the checkpoint to resume from lacks " + name, "resume from another one");
  }
  return found->second;
}

}  // namespace thinwire
