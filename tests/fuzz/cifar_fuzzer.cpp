// Any bytes as a CIFAR file: either a data set that keeps its promises or an Error.
#include <cstdint>
#include <cstdlib>

#include "datasets/cifar.h"
#include "kernels/error.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thinwire;
  for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100}) {
    Dataset dataset = EmptyCifar(kind);
    try {
      ParseCifar({data, size}, "fuzz", kind, dataset);
      Require(dataset.count > 0);
    } catch (const Error&) {
      Require(dataset.count == 0);
    }
    Require(std::ssize(dataset.images) == dataset.count * dataset.image_bytes());
    Require(std::ssize(dataset.labels) == dataset.count);
    for (const int32_t label : dataset.labels) Require(label >= 0 && label < dataset.classes);
  }
  return 0;
}
