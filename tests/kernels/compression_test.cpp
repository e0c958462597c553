// The scaled sign's packing passes against float64 loops.
#include "kernels/compression.h"

#include "tests/kernels/compression_testing.h"

namespace thinwire {
namespace {

TYPED_TEST_SUITE(CompressionTest, Backends);

TYPED_TEST(CompressionTest, Pack) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    for (const reference::Input& wanted : Inputs(layout.shape.size)) {
      const TestInput<T> input(device, layout, wanted);
      const Output output(device, layout.shape);
      const TestBuffer<T> scales(device, layout.shape.groups());
      compression.Pack(input, output.bits, output.sums, scales);
      ExpectPacked(layout, output, input.expected);
      ExpectExact(scales.Read(), reference::Scales(layout.shape, output.sums.Read()));
    }
  });
}

TYPED_TEST(CompressionTest, PackDifference) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    const Message pending = RandomMessage(layout, 5, true);
    const Values later = Plus(start, reference::Decode(layout.shape, pending));
    for (const reference::Input& wanted : Inputs(layout.shape.size)) {
      const TestInput<T> input(device, layout, wanted);
      for (const bool has_pending : {false, true}) {
        for (const bool in_place : {false, true}) {
          const DeviceMessage<T> message(device, pending);
          const TestBuffer<T> state(device, As<T>(WithPadding(layout, start, kMark)), 3);
          const Output output =
              in_place ? Output(device, layout.shape, pending.bits) : Output(device, layout.shape);
          const SignMessage applied = {in_place ? output.bits.view() : message.bits.view(),
                                       message.scales.view()};
          // The new scales may take the place of those that are pending.
          const View scales = in_place ? message.scales.view() : View{};
          compression.PackDifference(input, has_pending ? applied : SignMessage{}, state,
                                     output.bits, output.sums, scales);
          const Values& expected = has_pending ? later : start;
          ExpectExact(state.Read(), WithPadding(layout, expected, kMark));
          ExpectPacked(layout, output, Plus(input.expected, expected, -1));
          if (in_place) {
            ExpectExact(message.scales.Read(), reference::Scales(layout.shape, output.sums.Read()));
          }
        }
      }
    }
  });
}

TYPED_TEST(CompressionTest, PackSum) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    const Values scales = RandomMessage(layout, 5, true).scales;
    for (const reference::Input& wanted : Inputs(layout.shape.size)) {
      const TestInput<T> input(device, layout, wanted);
      for (const bool has_pending : {false, true}) {
        const TestBuffer<T> device_scales(device, As<T>(scales));
        const TestBuffer<T> error(device, As<T>(WithPadding(layout, start, kMark)), 3);
        const Output output(device, layout.shape);
        compression.PackSum(input, has_pending ? ConstView(device_scales) : ConstView{}, error,
                            output.bits, output.sums, device_scales);
        const Values settled = has_pending ? reference::Settle(layout.shape, scales, start) : start;
        const Values p = Plus(input.expected, settled);
        ExpectExact(error.Read(), WithPadding(layout, p, kMark));
        ExpectPacked(layout, output, p);
        ExpectExact(device_scales.Read(), reference::Scales(layout.shape, output.sums.Read()));
      }
    }
  });
}

TYPED_TEST(CompressionTest, PackMeanDifference) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3), target = Quarters(layout.shape.size, 4);
    const TestBuffer<T> device_target(device, As<T>(WithPadding(layout, target, std::nan(""))), 1);
    for (const int count : kCounts) {
      SCOPED_TRACE(count);
      const Messages<T> messages(device, layout, count, Exact(count));
      const TestBuffer<T> estimate(device, As<T>(WithPadding(layout, start, kMark)));
      const Output output(device, layout.shape);
      compression.PackMeanDifference(messages.views, estimate, device_target, output.bits,
                                     output.sums);
      const Values expected = Plus(start, messages.mean);
      const Values v = Plus(expected, target, -1);
      if (Exact(count)) {
        ExpectExact(estimate.Read(), WithPadding(layout, expected, kMark));
        ExpectPacked(layout, output, v);
      } else {
        const double tolerance = messages.Tolerance(16);
        reference::ExpectNear(estimate.Read(), WithPadding(layout, expected, kMark),
                              [&](size_t) { return tolerance; });
        ExpectPackedNearly(layout, output, v, tolerance);
      }
    }
  });
}

TYPED_TEST(CompressionTest, PackMeanSum) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    const Values scales = RandomMessage(layout, 5, true).scales;
    const TestBuffer<T> device_scales(device, As<T>(scales));
    const Values settled = reference::Settle(layout.shape, scales, start);
    for (const int count : kCounts) {
      SCOPED_TRACE(count);
      const Messages<T> messages(device, layout, count, Exact(count));
      for (const bool has_pending : {false, true}) {
        const TestBuffer<T> error(device, As<T>(WithPadding(layout, start, kMark)), 1);
        const Output output(device, layout.shape);
        compression.PackMeanSum(messages.views,
                                has_pending ? ConstView(device_scales) : ConstView{}, error,
                                output.bits, output.sums);
        const Values p = Plus(has_pending ? settled : start, messages.mean);
        if (Exact(count)) {
          ExpectExact(error.Read(), WithPadding(layout, p, kMark));
          ExpectPacked(layout, output, p);
        } else {
          const double tolerance = messages.Tolerance(16);
          reference::ExpectNear(error.Read(), WithPadding(layout, p, kMark),
                                [&](size_t) { return tolerance; });
          ExpectPackedNearly(layout, output, p, tolerance);
        }
      }
    }
  });
}

TYPED_TEST(CompressionTest, Scales) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    Values sums = Normal(layout.shape.groups(), 1);
    for (double& sum : sums) sum = std::abs(sum);
    const TestBuffer<double> device_sums(device, sums);
    const TestBuffer<T> scales(device, layout.shape.groups());
    compression.Scales(device_sums, scales);
    ExpectExact(scales.Read(), reference::Scales(layout.shape, sums));
  });
}

TYPED_TEST(CompressionTest, ZerosOfBothSignsArePositiveAndTheSmallestNumbersAreNot) {
  Device& device = *this->device_;
  auto run = [&]<typename T>() {
    const auto compression = device.MakeSignCompression(
        {.size = 32, .runs = {{{0, 4}, 0}}, .group_sizes = {4}, .type = DataTypeOf<T>()});
    const T least = std::numeric_limits<T>::denorm_min();
    const std::vector<T> values = {T{0}, -T{0}, -least, least};
    std::vector<T> padded = values;
    padded.resize(32);
    const TestBuffer<T> input(device, padded), scales(device, std::vector<T>{1});
    const TestBuffer<int32_t> bits(device, 1);
    const TestBuffer<double> sums(device, 1);
    compression->Pack({.values = input}, bits, sums);
    EXPECT_EQ(bits.Read()[0], 0b1011);
    EXPECT_EQ(sums.Read()[0], 2.0 * static_cast<double>(least));
    const TestBuffer<T> error(device, padded);
    compression->SettleError(scales, error);
    EXPECT_EQ(error.Read()[0], -1);
    EXPECT_EQ(error.Read()[1], -1);
    EXPECT_EQ(error.Read()[2], 1);
    EXPECT_EQ(error.Read()[3], -1);
  };
  run.template operator()<float>();
  run.template operator()<double>();
}

TYPED_TEST(CompressionTest, NaNAndInfinityShowInTheSumOfTheirGroupAlone) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    if (layout.shape.groups() < 2) return;
    for (const double awkward : {std::nan(""), double{INFINITY}, -double{INFINITY}}) {
      Values v = Quarters(layout.shape.size, 1);
      const size_t group = layout.shape.group_sizes.size() / 2;
      const auto first =
          std::find(layout.groups.begin(), layout.groups.end(), static_cast<int64_t>(group));
      v[static_cast<size_t>(first - layout.groups.begin())] = awkward;
      const TestInput<T> input(device, layout, {.values = v});
      const Output output(device, layout.shape);
      compression.Pack(input, output.bits, output.sums);
      const Values expected = reference::Sums(layout.shape, v), sums = output.sums.Read();
      EXPECT_EQ(output.bits.Read(), reference::Signs(layout.shape, v));
      for (size_t i = 0; i < sums.size(); ++i) {
        if (i == group) {
          EXPECT_TRUE(std::isnan(awkward) ? std::isnan(sums[i]) : sums[i] == INFINITY);
        } else {
          EXPECT_EQ(sums[i], expected[i]);
        }
      }
    }
  });
}

/// What all passes make of inexact numbers on a device: bits, sums and states one after another.
template <typename T>
struct AllPasses {
  AllPasses(Device& on, const Layout& layout, SignCompression& compression, bool fused) {
    const int64_t size = layout.shape.size;
    const TestInput<T> input(on, layout,
                             {.values = Normal(size, 1),
                              .factor = 0.7,
                              .gradient_scale = 0.3,
                              .parameters = Normal(size, 2),
                              .weight_decay = fused ? 0.1 : 0,
                              .decayed_size = size * 5 / 9});
    const DeviceMessage<T> pending(on, RandomMessage(layout, 3, false));
    const SignMessage message = pending;
    const Messages<T> three(on, layout, 3, false), four(on, layout, 4, false);
    const auto state = [&](uint64_t seed) {
      return TestBuffer<T>(on, As<T>(WithPadding(layout, Normal(size, seed), kMark)), 3);
    };
    const auto pack = [&](uint64_t seed, const auto& pass) {
      const TestBuffer<T> vector = state(seed);
      const Output output(on, layout.shape);
      pass(vector.view(), output);
      states.push_back(vector.Read());
      bits.push_back(output.bits.Read());
      sums.push_back(output.sums.Read());
      const TestBuffer<T> scales(on, layout.shape.groups());
      compression.Scales(output.sums, scales);
      states.push_back(scales.Read());
    };
    pack(4, [&](View, const Output& out) { compression.Pack(input, out.bits, out.sums); });
    pack(5, [&](View vector, const Output& out) {
      compression.PackDifference(input, message, vector, out.bits, out.sums);
    });
    pack(6, [&](View vector, const Output& out) {
      compression.PackSum(input, message.scales, vector, out.bits, out.sums);
    });
    pack(7, [&](View vector, const Output& out) {
      const TestBuffer<T> target = state(8);
      compression.PackMeanDifference(three.views, vector, target, out.bits, out.sums);
    });
    pack(9, [&](View vector, const Output& out) {
      compression.PackMeanSum(four.views, message.scales, vector, out.bits, out.sums);
    });
    const TestBuffer<T> y = state(10);
    compression.Mean(three.views, true, y);
    compression.Add(message, -0.3, y);
    compression.SettleError(message.scales, y);
    states.push_back(y.Read());
    AdamUpdate update{.common = {.learning_rate = 0.01, .weight_decay = 0.1}, .step = 3};
    const TestBuffer<T> scale(on, std::vector<T>{static_cast<T>(0.7)});
    update.common.gradient_scale = scale;
    const TestBuffer<T> estimate = state(11), momentum = state(12), variance(on, size),
                        largest(on, size), x = state(13);
    compression.AddAndUpdate(message, update, estimate, momentum, variance, largest, x);
    for (const auto* buffer : {&estimate, &momentum, &variance, &largest, &x}) {
      states.push_back(buffer->Read());
    }
  }

  std::vector<std::vector<int32_t>> bits;
  std::vector<std::vector<double>> sums;
  std::vector<std::vector<T>> states;
};

TYPED_TEST(CompressionTest, HasTheSameBitsOnEveryDevice) {
  Device& device = *this->device_;
  const auto cpu = MakeCpuDevice(2);
  const bool fused = HasFusedMultiplyAdd(*cpu);
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const AllPasses<T> here(device, layout, compression, fused);
    const AllPasses<T> there(*cpu, layout, *cpu->MakeSignCompression(layout.shape), fused);
    EXPECT_EQ(here.bits, there.bits);
    EXPECT_EQ(here.sums, there.sums);
    EXPECT_EQ(here.states, there.states);
  });
}

TEST(CpuCompression, SumsDoNotDependOnTheNumberOfThreads) {
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(layout.name);
    std::vector<std::vector<double>> sums;
    for (const int threads : {1, 2, 3}) {
      const auto device = MakeCpuDevice(threads);
      const TestInput<float> input(*device, layout, {.values = Normal(layout.shape.size, 1)});
      const Output output(*device, layout.shape);
      device->MakeSignCompression(layout.shape)->Pack(input, output.bits, output.sums);
      sums.push_back(output.sums.Read());
    }
    EXPECT_EQ(sums[0], sums[1]);
    EXPECT_EQ(sums[0], sums[2]);
  }
  MakeCpuDevice(2);
}

}  // namespace
}  // namespace thinwire
