// The scaled sign on the wire, C(v) = scale * sign(v), one scale a group of elements.
//
// Uplink, a message to each server: the words of its shard (bit j of word w is element 32 w + j,
// 1 means >= 0), then the scales of the groups that reach into its shard.
// Downlink, two messages from each server: the float64 sums of |v| (or v²) of its part of those
// groups, and the words of its shard. Everyone adds the sums in rank order, so a scale is taken
// over the whole vector wherever its group is cut. Scales come first, so that words can be decoded
// while the wire still carries others: where that is done, words are sent when they are asked for.
// Paper bits: one an element, and 32 a scale. Without scales (a vote) neither scales nor sums are
// sent, and every scale is 1.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "optim/links.h"

namespace thinwire {

inline constexpr int64_t kWordBits = 32;
inline constexpr int64_t kWordBytes = 4;

/// The layout of a whole vector of signs over some tensors: runs and groups.
inline SignShape WholeShape(const LinkContext& context, const LinkTensors& tensors) {
  const std::string& granularity = context.options.scale_granularity;
  SignShape shape;
  shape.size = context.arena.padded_size();
  shape.type = context.type();
  if (context.options.sign_scale == "l2") shape.scale = SignShape::Scale::kRootMeanSquare;
  if (granularity == "model") shape.group_sizes = {0};
  for (const Range& range : tensors.ranges) {
    int64_t block = range.size();
    if (granularity.starts_with("block:")) block = std::stoll(granularity.substr(6));
    for (int64_t begin = range.begin; begin < range.end; begin += block) {
      const Range run{begin, std::min(begin + block, range.end)};
      if (granularity != "model") shape.group_sizes.push_back(0);
      shape.runs.push_back({run, shape.groups() - 1});
      shape.group_sizes.back() += run.size();
    }
  }
  return shape;
}

/// What of the whole shape lies in one shard. Elements and groups are counted from its own first.
struct ShardShape {
  ShardShape(const SignShape& whole, const Range& shard, bool scaled) : words(shard.size() / 32) {
    shape.size = shard.size();
    shape.scale = whole.scale;
    shape.type = whole.type;
    for (const ScaleRun& run : whole.runs) {
      const Range part{std::max(run.range.begin, shard.begin), std::min(run.range.end, shard.end)};
      if (part.begin >= part.end) continue;
      if (shape.runs.empty()) first_group = run.group;
      groups = run.group - first_group + 1;
      shape.runs.push_back(
          {{part.begin - shard.begin, part.end - shard.begin}, run.group - first_group});
    }
    const auto first = whole.group_sizes.begin() + first_group;
    shape.group_sizes.assign(first, first + groups);
    sent_groups = scaled ? groups : 0;
  }
  int64_t uplink_bytes() const { return words * kWordBytes + sent_groups * SizeOf(shape.type); }

  SignShape shape;
  int64_t words;
  int64_t first_group = 0, groups = 0;  // in the whole shape
  int64_t sent_groups = 0;              // scales or sums in a message
};

inline std::vector<ShardShape> ShardShapes(const LinkContext& context, const SignShape& whole,
                                           bool scaled) {
  std::vector<ShardShape> shapes;
  for (int rank = 0; rank < context.shards.ranks(); ++rank) {
    shapes.emplace_back(whole, context.shards[rank], scaled);
  }
  return shapes;
}

/// `count` elements of `type`, so many bytes behind the start.
inline View Typed(View bytes, int64_t offset, int64_t count, DataType type) {
  return {bytes.as<std::byte>() + offset, count, type};
}

/// Buffers of one vector of signs.
struct Signs {
  Signs(Device& device, const SignShape& shape)
      : compression(device.MakeSignCompression(shape)),
        bits_buffer(device.Allocate(shape.words() * kWordBytes)),
        sums_buffer(device.Allocate(shape.groups() * SizeOf(DataType::kFloat64))),
        scales_buffer(device.Allocate(shape.groups() * SizeOf(shape.type))),
        bits(bits_buffer.view(DataType::kInt32).Slice(0, shape.words())),
        sums(sums_buffer.view(DataType::kFloat64).Slice(0, shape.groups())),
        scales(scales_buffer.view(shape.type).Slice(0, shape.groups())) {}
  SignMessage message() const { return {bits, scales}; }
  void SetScalesToOne(Device& device) {
    const std::vector<float> floats(static_cast<size_t>(scales.size), 1);
    const std::vector<double> doubles(static_cast<size_t>(scales.size), 1);
    const bool wide = scales.type == DataType::kFloat64;
    device.CopyFromHost(wide ? static_cast<const void*>(doubles.data()) : floats.data(), scales);
  }

  std::unique_ptr<SignCompression> compression;
  Buffer bits_buffer, sums_buffer, scales_buffer;
  View bits, sums, scales;
};

}  // namespace thinwire
