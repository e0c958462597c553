#include "datasets/idx.h"

#include <gtest/gtest.h>

#include <numeric>

#include "datasets/byte_reader.h"
#include "datasets/dataset.h"
#include "kernels/random.h"
#include "tests/datasets/gzip.h"
#include "tests/datasets/testing.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes Idx(const std::vector<uint32_t>& dimensions, const Bytes& values) {
  Bytes bytes = {0, 0, 8, static_cast<uint8_t>(dimensions.size())};
  for (const uint32_t size : dimensions) {
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<uint8_t>(size >> shift));
  }
  bytes.insert(bytes.end(), values.begin(), values.end());
  return bytes;
}

Bytes Counting(size_t count) {
  Bytes values(count);
  std::iota(values.begin(), values.end(), uint8_t{0});
  return values;
}

Bytes Join(const Bytes& a, const Bytes& b) {
  Bytes joined = a;
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}

TEST(Idx, ReadsByHand) {
  const Bytes bytes = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 10, 11, 12, 13, 14, 15};
  const IdxArray array = ParseIdx(bytes, "x", 3);
  EXPECT_EQ(array.dimensions, (std::vector<int64_t>{2, 1, 3}));
  EXPECT_EQ(array.values, (Bytes{10, 11, 12, 13, 14, 15}));
}

TEST(Idx, CompressedIsTheSameAsPlain) {
  for (const size_t count : {1u, 31u, 32u, 33u, 127u, 70'001u}) {
    const Bytes plain = Idx({static_cast<uint32_t>(count)}, Counting(count));
    EXPECT_EQ(ParseIdx(plain, "x", 1).values, Counting(count));
    EXPECT_EQ(ParseIdx(Gzip(plain), "x", 1).values, Counting(count));
    // Several members, also empty ones, cut anywhere.
    for (const size_t cut : {size_t{0}, size_t{3}, size_t{8}, plain.size() - 1, plain.size()}) {
      const Bytes members =
          Join(Gzip(std::span(plain).first(cut)), Gzip(std::span(plain).subspan(cut)));
      EXPECT_EQ(ParseIdx(members, "x", 1).values, Counting(count)) << "cut at " << cut;
    }
  }
}

TEST(Idx, EveryTruncationIsAnError) {
  const Bytes plain = Idx({2, 3, 4}, Counting(24));
  for (size_t size = 0; size < plain.size(); ++size) {
    ExpectError([&] { ParseIdx(std::span(plain).first(size), "cut", 3); }, {"cut"});
    ExpectError([&] { ParseIdx(Gzip(std::span(plain).first(size)), "cut", 3); }, {"cut"});
  }
  const Bytes packed = Gzip(plain);
  for (size_t size = 0; size < packed.size(); ++size) {
    ExpectError([&] { ParseIdx(std::span(packed).first(size), "cut.gz", 3); }, {"cut.gz"});
  }
}

TEST(Idx, WhatFollowsIsAnError) {
  const Bytes plain = Idx({5}, Counting(5));
  ExpectError([&] { ParseIdx(Join(plain, {0}), "long", 1); }, {"long", "more follows"});
  ExpectError([&] { ParseIdx(Gzip(Join(plain, {0})), "long", 1); }, {"long", "more follows"});
  ExpectError([&] { ParseIdx(Join(Gzip(plain), Gzip(plain)), "twice", 1); },
              {"twice", "more follows"});
  ExpectError([&] { ParseIdx(Join(Gzip(plain), {1, 2}), "tail", 1); }, {"tail", "2 bytes"});
}

TEST(Idx, CorruptCompressionIsAnError) {
  const Bytes packed = Gzip(Idx({200}, Bytes(200, 7)));
  int errors = 0;
  for (size_t i = 0; i < packed.size(); ++i) {
    Bytes corrupt = packed;
    corrupt[i] ^= 0x55;
    try {
      // Some header bytes (time, system) mean nothing; all else is caught, at last by the checksum.
      EXPECT_EQ(ParseIdx(corrupt, "bad.gz", 1).values, Bytes(200, 7)) << "byte " << i;
    } catch (const Error&) {
      ++errors;
    }
  }
  EXPECT_GE(errors, static_cast<int>(packed.size()) - 6);
}

TEST(Idx, NamesWhatTheHeaderSays) {
  ExpectError([] { ParseIdx(Bytes{0, 0, 13, 3, 0, 0, 0, 1}, "f", 3); }, {"f", "00 00 0d 03"});
  ExpectError([] { ParseIdx(Bytes(100, 'A'), "text", 1); }, {"text", "41 41 41 41"});
  ExpectError([] { ParseIdx(Idx({1}, {1}), "labels", 3); }, {"labels", "1 dimensions", "3"});
  ExpectError([] { ParseIdx(Idx({2, 0, 4}, {}), "none", 3); }, {"none", "dimension 1 is 0"});
}

TEST(Idx, HugeHeadersTakeNoMemory) {
  constexpr uint32_t kMax = 0xffffffff;
  ExpectError([] { ParseIdx(Idx({kMax, kMax, kMax}, {}), "huge", 3); }, {"huge", "2^32"});
  ExpectError([] { ParseIdx(Idx({kMax, kMax, 1}, {}), "huge", 3); }, {"huge", "2^32"});
  ExpectError([] { ParseIdx(Idx({kMax}, {}), "huge", 1); }, {"huge", "truncated"});
  ExpectError([] { ParseIdx(Gzip(Idx({kMax}, {})), "huge", 1); }, {"huge", "truncated"});
}

TEST(Idx, ABombIsNotUnpackedBeyondItsHeader) {
  // 8 MiB of zeros pack into some 8 KB; the header announces ten elements.
  const Bytes bomb = Gzip(Join(Idx({10}, {}), Bytes(size_t{8} << 20, 0)));
  ASSERT_LT(bomb.size(), 10'000u);
  ExpectError([&] { ParseIdx(bomb, "bomb", 1); }, {"bomb", "more follows the 10 elements"});
}

TEST(ByteReader, BoundsWhatCanBeLeft) {
  // The best that deflate can do must still pass: a long run of zeros.
  const Bytes packed = Gzip(Bytes(size_t{4} << 20, 0));
  ByteReader reader(packed, "zeros");
  Bytes piece(1021);
  int64_t left = int64_t{4} << 20;
  while (left > 0) {
    ASSERT_GE(reader.max_remaining(), left);
    const int64_t got = reader.Read(piece);
    ASSERT_GT(got, 0);
    left -= got;
  }
  EXPECT_EQ(reader.Read(piece), 0);
  EXPECT_EQ(left, 0);
}

TEST(ByteReader, PlainBytesOfEverySize) {
  const Bytes bytes = Counting(33);
  for (size_t size = 1; size <= 34; ++size) {
    ByteReader reader(bytes, "x");
    Bytes all, piece(size);
    while (const int64_t got = reader.Read(piece)) {
      all.insert(all.end(), piece.begin(), piece.begin() + got);
      ASSERT_EQ(reader.max_remaining(), std::ssize(bytes) - std::ssize(all));
    }
    EXPECT_EQ(all, bytes);
  }
}

TEST(Mnist, CountsAndLabelsMustFit) {
  const auto images = [] { return ParseIdx(Idx({3, 2, 2}, Counting(12)), "images", 3); };
  const auto labels = [](const Bytes& values) {
    return ParseIdx(Idx({static_cast<uint32_t>(values.size())}, values), "labels", 1);
  };
  const Dataset dataset = CombineIdx(images(), labels({9, 0, 4}), "images", "labels", 10);
  EXPECT_EQ(dataset.count, 3);
  EXPECT_EQ(dataset.height, 2);
  EXPECT_EQ(dataset.width, 2);
  EXPECT_EQ(dataset.channels, 1);
  EXPECT_EQ(dataset.labels, (std::vector<int32_t>{9, 0, 4}));
  EXPECT_EQ(dataset.images, Counting(12));
  ExpectError(
      [&] {
        CombineIdx(images(), labels({1, 2}), "images", "labels", 10);
      },
      {"labels", "2 labels", "3 images"});
  ExpectError(
      [&] {
        CombineIdx(images(), labels({1, 10, 2}), "images", "labels", 10);
      },
      {"labels", "label 1 is 10"});
  ExpectError(
      [&] {
        CombineIdx(ParseIdx(Idx({1, 5000, 1}, Counting(5000)), "wide", 3), labels({1}), "wide",
                   "labels", 10);
      },
      {"wide", "5000x1"});
}

TEST(Mnist, FilesHaveStandardNames) {
  const TemporaryFolder folder;
  // A name may lie about compression: the content decides.
  folder.Write("train-images-idx3-ubyte.gz", Idx({2, 1, 1}, {5, 6}));
  folder.Write("train-labels-idx1-ubyte", Gzip(Idx({2}, {3, 4})));
  folder.Write("my-images-idx3-ubyte", Idx({1, 1, 1}, {7}));
  folder.Write("my-labels", Idx({1}, {8}));
  const auto load = [&](Split split, std::vector<std::string> files) {
    return LoadDataset({.name = "mnist", .data_dir = folder.path(), .files = std::move(files)},
                       split);
  };
  EXPECT_EQ(load(Split::kTrain, {}).images, (Bytes{5, 6}));
  EXPECT_EQ(load(Split::kTrain, {}).labels, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(load(Split::kTest, {"my-images-idx3-ubyte", "my-labels"}).labels,
            (std::vector<int32_t>{8}));
  ExpectError([&] { load(Split::kTrain, {"train-images-idx3-ubyte.gz"}); }, {"two"},
              Error::Kind::kUsage);
  ExpectError(
      [&] {
        load(Split::kTrain, {"train-labels-idx1-ubyte", "train-images-idx3-ubyte.gz"});
      },
      {"train-labels-idx1-ubyte", "images' file (3 dimensions) first"});
}

TEST(Mnist, DotsInFileNames) {
  const TemporaryFolder folder;
  folder.Write("t10k-images.idx3-ubyte", Idx({1, 1, 1}, {7}));
  folder.Write("t10k-labels.idx1-ubyte.gz", Gzip(Idx({1}, {8})));
  const DatasetOptions options{.name = "mnist", .data_dir = folder.path()};
  EXPECT_EQ(LoadDataset(options, Split::kTest).labels, (std::vector<int32_t>{8}));
  ExpectError([&] { LoadDataset(options, Split::kTrain); },
              {"train-images-idx3-ubyte", "train-images.idx3-ubyte.gz"});
}

}  // namespace
}  // namespace thinwire
