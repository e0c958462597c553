#include "kernels/cpu/top_k.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <vector>

#include "kernels/cpu/compression_input.h"

namespace thinwire {
namespace {

template <typename T>
class CpuTopK : public TopK {
 public:
  explicit CpuTopK(const TopKShape& shape) : shape_(shape) {}

  void Select(const CompressionInput& input, ConstView state, int state_factor, View indices,
              View values) override {
    using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    struct Candidate {
      Bits magnitude;  // as integers magnitudes have the order of their numbers, NaN last
      int32_t index;
      T value;
    };
    const cpu::TypedInput<T> in(input);
    std::vector<Candidate> candidates;
    for (const Range& range : shape_.ranges) {
      for (int64_t i = range.begin; i < range.end; ++i) {
        T v = in(i);
        if (state_factor != 0) v += static_cast<T>(state_factor) * state.as<T>()[i];
        candidates.push_back({std::bit_cast<Bits>(v) << 1, static_cast<int32_t>(i), v});
      }
    }
    assert(shape_.k <= static_cast<int64_t>(candidates.size()));
    const auto end = candidates.begin() + shape_.k;
    std::nth_element(
        candidates.begin(), end, candidates.end(), [](const Candidate& a, const Candidate& b) {
          return a.magnitude != b.magnitude ? a.magnitude > b.magnitude : a.index < b.index;
        });
    std::sort(candidates.begin(), end,
              [](const Candidate& a, const Candidate& b) { return a.index < b.index; });
    for (int64_t i = 0; i < shape_.k; ++i) {
      indices.as<int32_t>()[i] = candidates[static_cast<size_t>(i)].index;
      values.as<T>()[i] = candidates[static_cast<size_t>(i)].value;
    }
  }

 private:
  TopKShape shape_;
};

}  // namespace

std::unique_ptr<TopK> MakeCpuTopK(const TopKShape& shape) {
  if (shape.type == DataType::kFloat64) return std::make_unique<CpuTopK<double>>(shape);
  return std::make_unique<CpuTopK<float>>(shape);
}

}  // namespace thinwire
