// When gradients are final: ranges of the arena, and what a backward pass says of them.
#include "layers/gradient_buckets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "kernels/arena_buckets.h"
#include "layers/initialization.h"
#include "layers/network.h"
#include "tests/device_test.h"
#include "tests/layers/small_graphs.h"

namespace thinwire {
namespace {

// Tensors of 300, 100 and 260 elements and two of one, with padding between them. A pass writes the
// third and the last, then the second, then the others.
TEST(GradientBucketsTest, AreFinalAfterTheLastWrite) {
  const std::vector<std::vector<Range>> written = {
      {}, {{512, 772}, {1024, 1025}}, {{384, 484}}, {}, {{0, 300}, {896, 897}}};
  const auto buckets = [&](const std::vector<Range>& ranges) {
    return MakeGradientBuckets(ranges, written);
  };
  EXPECT_EQ(buckets({}), (std::vector<GradientBucket>{}));
  EXPECT_EQ(buckets({{0, 896}, {896, 1152}}),
            (std::vector<GradientBucket>{{{0, 896}, 4}, {{896, 1152}, 4}}));
  EXPECT_EQ(buckets({{0, 128}, {128, 512}, {512, 896}, {896, 1152}}),
            (std::vector<GradientBucket>{
                {{512, 896}, 1}, {{0, 128}, 4}, {{128, 512}, 4}, {{896, 1152}, 4}}));
  // The range from 768 holds the last four elements of the third, and padding.
  EXPECT_EQ(buckets({{256, 384}, {384, 512}, {512, 640}, {768, 896}, {896, 1024}, {1024, 1152}}),
            (std::vector<GradientBucket>{{{512, 640}, 1},
                                         {{768, 896}, 1},
                                         {{1024, 1152}, 1},
                                         {{384, 512}, 2},
                                         {{256, 384}, 4},
                                         {{896, 1024}, 4}}));
}

template <typename Backend>
class GradientCallbackTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(GradientCallbackTest, Backends);

/// What the callback is told in a pass, with the layers before it and the values that it finds.
struct Call {
  Range range;
  std::vector<std::string> layers;
  std::vector<float> values;
};

TYPED_TEST(GradientCallbackTest, ComesOnceNothingWritesTheRangeAnyMore) {
  Device& device = *this->device_;
  // Buckets of one tensor at most, and of several.
  for (const int64_t elements : {ParameterArena::kAlignment, 5 * ParameterArena::kAlignment}) {
    for (const LayerGraph& graph : SmallGraphs()) {
      SCOPED_TRACE(graph.name() + ", " + std::to_string(elements));
      ParameterArena arena(device, graph.tensor_specs());
      InitializeParameters(graph, arena, 3, {});
      Network network(graph, arena, {.batch_size = 2});
      const std::vector<float> images = RandomNormal(network.images().size, 5);
      device.CopyFromHost(images.data(), network.images());
      const std::vector<int32_t> labels = {0, 1};
      device.CopyFromHost(labels.data(), network.labels());

      std::vector<std::string> layers;
      std::vector<Call> calls;
      network.set_layer_callback([&](const std::string& layer, LayerPhase phase) {
        if (phase == LayerPhase::kBackward) layers.push_back(layer);
      });
      network.set_gradient_callback(CutEvenly(arena, elements), [&](const Range& range) {
        Call call{range, layers, std::vector<float>(static_cast<size_t>(range.size()))};
        device.CopyToHost(arena.gradients().Slice(range.begin, range.size()), call.values.data());
        calls.push_back(std::move(call));
      });
      network.ForwardBackward(0.5f, 1);
      network.set_gradient_callback(CutEvenly(arena, elements), {});
      const size_t count = calls.size();
      network.ForwardBackward(0.5f, 1);
      EXPECT_EQ(calls.size(), count) << "an empty callback was called";

      std::vector<float> gradients(static_cast<size_t>(arena.padded_size()));
      device.CopyToHost(arena.gradients(), gradients.data());
      std::sort(calls.begin(), calls.end(),
                [](const Call& a, const Call& b) { return a.range.begin < b.range.begin; });
      int64_t end = 0;
      for (const Call& call : calls) {
        EXPECT_EQ(call.range.begin, end);
        end = call.range.end;
        const auto first = gradients.begin() + call.range.begin;
        EXPECT_TRUE(std::equal(call.values.begin(), call.values.end(), first))
            << "elements from " << call.range.begin << " have changed since";
      }
      EXPECT_EQ(end, arena.padded_size());
      // It does not wait for the pass's end where it need not: the first layer's gradients are
      // last.
      const auto first_to_come = std::min_element(
          calls.begin(), calls.end(),
          [](const Call& a, const Call& b) { return a.layers.size() < b.layers.size(); });
      const auto last_to_come = std::max_element(
          calls.begin(), calls.end(),
          [](const Call& a, const Call& b) { return a.layers.size() < b.layers.size(); });
      size_t with_tensors = 0;
      for (const auto& layer : graph.layers()) with_tensors += !layer->tensors().empty();
      if (with_tensors > 1 && elements == ParameterArena::kAlignment) {
        EXPECT_LT(first_to_come->layers.size(), last_to_come->layers.size());
      }
    }
  }
}

}  // namespace
}  // namespace thinwire
