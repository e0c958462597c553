#include "kernels/finite_checks.h"

#include <utility>

namespace thinwire {
namespace {

constexpr size_t kMostChecks = 512;  // between two calls of Read
constexpr int64_t kBytes = sizeof(int64_t);

}  // namespace

void FiniteChecks::Check(ConstView x, Failure fail) {
  if (x.size == 0) return;
  Find([&](View result) { device_.FindNonFinite(x, result); }, std::move(fail));
}

void FiniteChecks::CheckMessage(ConstView indices, ConstView values, const Range& range,
                                Failure fail) {
  if (indices.size == 0) return;
  Find([&](View result) { device_.FindMalformed(indices, values, range, result); },
       std::move(fail));
}

void FiniteChecks::CheckMagnitudes(ConstView x, Failure fail) {
  if (x.size == 0) return;
  Find([&](View result) { device_.FindNonMagnitude(x, result); }, std::move(fail));
}

void FiniteChecks::Find(const std::function<void(View)>& find, Failure fail) {
  if (device_.host_visible()) {
    int64_t index = -1;
    find({&index, kBytes, DataType::kUint8});
    if (index >= 0) fail(index);
  } else {
    find(NextPlace(std::move(fail)));
  }
}

View FiniteChecks::NextPlace(Failure fail) {
  if (!found_) found_ = device_.Allocate(static_cast<int64_t>(kMostChecks) * kBytes);
  if (failures_.size() == kMostChecks) Read();
  const auto place = static_cast<int64_t>(failures_.size()) * kBytes;
  failures_.push_back(std::move(fail));
  return found_.view(DataType::kUint8).Slice(place, kBytes);
}

void FiniteChecks::Read() {
  const std::vector<Failure> failures = std::exchange(failures_, {});
  if (failures.empty()) return;
  std::vector<int64_t> found(failures.size());
  device_.CopyToHost(
      found_.view(DataType::kUint8).Slice(0, static_cast<int64_t>(found.size()) * kBytes),
      found.data());
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] < 0) continue;
    device_.ResumeUpdates();
    failures[i](found[i]);
  }
}

}  // namespace thinwire
