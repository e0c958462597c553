// Any bytes as a CIFAR file: either a data set that keeps its promises or an Error.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "datasets/cifar.h"
#include "kernels/error.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void Parse(std::span<const uint8_t> bytes, thinwire::CifarKind kind) {
  using namespace thinwire;
  Dataset dataset = EmptyCifar(kind);
  try {
    ParseCifar(bytes, "fuzz", kind, dataset);
    Require(dataset.count > 0);
  } catch (const Error&) {
    Require(dataset.count == 0);
  }
  Require(std::ssize(dataset.images) == dataset.count * dataset.image_bytes());
  Require(std::ssize(dataset.labels) == dataset.count);
  for (const int32_t label : dataset.labels) Require(label >= 0 && label < dataset.classes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using thinwire::CifarKind;
  for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100}) {
    Parse({data, size}, kind);
    // A few bytes are seldom whole records, so each input is also tried as the beginning of some.
    const size_t record = kind == CifarKind::kCifar10 ? 3073 : 3074;
    std::vector<uint8_t> whole(data, data + size);
    whole.resize((size + record) / record * record);
    Parse(whole, kind);
  }
  return 0;
}
