#include "datasets/libsvm.h"

#include <bzlib.h>
#include <gtest/gtest.h>
#include <lzma.h>

#include <string>

#include "datasets/unpack.h"
#include "kernels/random.h"
#include "tests/datasets/gzip.h"
#include "tests/datasets/testing.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes ToBytes(const std::string& text) { return {text.begin(), text.end()}; }

Bytes PackBzip2(Bytes bytes) {
  auto size = static_cast<unsigned>(bytes.size() + bytes.size() / 100 + 600);
  Bytes packed(size);
  bytes.reserve(1);
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(packed.data()), &size,
                                     reinterpret_cast<char*>(bytes.data()),
                                     static_cast<unsigned>(bytes.size()), 1, 0, 0),
            BZ_OK);
  packed.resize(size);
  return packed;
}

Bytes PackXz(const Bytes& bytes) {
  Bytes packed(lzma_stream_buffer_bound(bytes.size()));
  size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr, bytes.data(), bytes.size(),
                                    packed.data(), &size, packed.size()),
            LZMA_OK);
  packed.resize(size);
  return packed;
}

struct Packing {
  const char* name;
  Bytes (*pack)(const Bytes&);
};
const Packing kPackings[] = {{"gz", [](const Bytes& bytes) { return Gzip(bytes); }},
                             {"bz2", [](const Bytes& bytes) { return PackBzip2(bytes); }},
                             {"xz", PackXz}};

Bytes Join(const Bytes& a, const Bytes& b) {
  Bytes joined = a;
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}

Bytes UnpackAll(const Bytes& bytes, size_t piece_bytes) {
  const auto unpacker = MakeUnpacker(bytes, "packed");
  Bytes all, piece(piece_bytes);
  while (const int64_t count = unpacker->Read(piece)) {
    all.insert(all.end(), piece.begin(), piece.begin() + count);
  }
  return all;
}

SparseDataset Parse(const std::string& text, const LibsvmOptions& options = {}) {
  return ParseLibsvm(ToBytes(text), "data", options);
}

void ExpectParseError(const std::string& text, std::initializer_list<std::string> parts) {
  ExpectError([&] { Parse(text); }, parts);
}

TEST(Unpacker, PackedIsTheSameAsPlain) {
  RandomStream random(1, 0);
  for (const size_t size : {0u, 1u, 31u, 33u, 127u, 70'001u}) {
    Bytes plain(size);
    for (uint8_t& byte : plain) byte = static_cast<uint8_t>('a' + random.Below(4));
    EXPECT_EQ(UnpackAll(plain, 17), plain);
    for (const Packing& packing : kPackings) {
      SCOPED_TRACE(::testing::Message() << packing.name << " of " << size);
      const Bytes packed = packing.pack(plain);
      for (const size_t piece : {size_t{1}, size_t{17}, size_t{4096}, size + 1}) {
        EXPECT_EQ(UnpackAll(packed, piece), plain);
      }
      EXPECT_EQ(UnpackAll(Join(packed, Join(packing.pack({}), packed)), 17), Join(plain, plain));
    }
  }
}

TEST(Unpacker, EveryTruncationIsAnError) {
  for (const Packing& packing : kPackings) {
    const Bytes packed = packing.pack(Bytes(300, 'x'));
    for (size_t size = 6; size < packed.size(); ++size) {
      const Bytes cut(packed.begin(), packed.begin() + static_cast<int64_t>(size));
      ExpectError([&] { UnpackAll(cut, 64); }, {"packed", "truncated", "download it again"});
    }
  }
}

TEST(Unpacker, WhatFollowsIsAnError) {
  for (const Packing& packing : kPackings) {
    ExpectError(
        [&] {
          UnpackAll(Join(packing.pack(Bytes(300, 'x')), ToBytes("something of another kind")), 64);
        },
        {"packed", "something else"});
  }
}

TEST(Unpacker, CorruptionIsAnError) {
  RandomStream random(2, 0);
  Bytes plain(500);
  for (uint8_t& byte : plain) byte = static_cast<uint8_t>(random.Below(256));
  for (const Packing& packing : kPackings) {
    const Bytes packed = packing.pack(plain);
    int errors = 0;
    for (size_t i = 6; i < packed.size(); ++i) {
      Bytes corrupt = packed;
      corrupt[i] ^= 0x55;
      try {
        // Some header bytes of gzip (time, system) mean nothing.
        EXPECT_EQ(UnpackAll(corrupt, 64), plain) << packing.name << " byte " << i;
      } catch (const Error&) {
        ++errors;
      }
    }
    EXPECT_GE(errors, static_cast<int>(packed.size()) - 6 - 4) << packing.name;
  }
}

TEST(Libsvm, ReadsByHand) {
  const SparseDataset data = Parse("+1 1:0.5 3:-2e1\n-1\n+1 2:+7 4:0 \n");
  EXPECT_EQ(data.rows, 3);
  EXPECT_EQ(data.features, 4);
  EXPECT_EQ(data.classes, 2);
  EXPECT_EQ(data.starts, (std::vector<int64_t>{0, 2, 2, 4}));
  EXPECT_EQ(data.columns, (std::vector<int32_t>{0, 2, 1, 3}));
  EXPECT_EQ(data.values, (std::vector<double>{0.5, -20, 7, 0}));
  EXPECT_EQ(data.labels, (std::vector<int32_t>{1, 0, 1}));
  EXPECT_EQ(data.label_values, (std::vector<double>{-1, 1}));
}

TEST(Libsvm, LabelsAreNumberedByValue) {
  const SparseDataset data = Parse("10\n2\n-0.5\n2\n-0\n0\n");
  EXPECT_EQ(data.label_values, (std::vector<double>{-0.5, 0, 2, 10}));
  EXPECT_EQ(data.labels, (std::vector<int32_t>{3, 2, 0, 2, 1, 1}));
  EXPECT_EQ(data.features, 0);
}

TEST(Libsvm, ForgivesWhatMeansNothing) {
  const SparseDataset plain = Parse("0 1:1 2:2\n1 3:3\n");
  for (const std::string text :
       {"0 1:1 2:2\r\n1 3:3\r\n", "0 1:1 2:2\n1 3:3", "0 1:1 2:2\n1 3:3\n\n",
        "\n0 1:1 2:2\n\n1 3:3", "# made by hand\n0 1:1 2:2 # first: 9:9\n1 3:3#\n",
        "  0\t1:1  2:2 \t\n 1 3:3 \r\n \t \n", "+0 1:1. 2:2.0\n1e0 3:30e-1\n"}) {
    const SparseDataset data = Parse(text);
    EXPECT_EQ(data.labels, plain.labels) << text;
    EXPECT_EQ(data.starts, plain.starts) << text;
    EXPECT_EQ(data.columns, plain.columns) << text;
    EXPECT_EQ(data.values, plain.values) << text;
  }
}

TEST(Libsvm, ErrorsNameFileAndLine) {
  ExpectParseError("0 1:1\nx 1:1\n", {"data", "line 2", "label 'x'", "finite"});
  ExpectParseError("0 1:1\n\n\n1:1\n", {"line 4", "label '1:1'"});
  ExpectParseError("nan 1:1\n", {"line 1", "label 'nan'"});
  ExpectParseError("inf 1:1\n", {"label 'inf'"});
  ExpectParseError("+-1 1:1\n", {"label '+-1'"});
  ExpectParseError("0x10 1:1\n", {"label '0x10'"});
  ExpectParseError("1e999\n", {"label '1e999'"});
  ExpectParseError("0 1:1 word\n", {"line 1", "'word' is not index:value"});
  ExpectParseError("0 0:1\n", {"'0:1'", "count features from 1"});
  ExpectParseError("0 -1:1\n", {"'-1:1'", "from 1 to 2147483647"});
  ExpectParseError("0 2147483648:1\n", {"'2147483648:1'"});
  ExpectParseError("0 99999999999999999999:1\n", {"from 1 to 2147483647"});
  ExpectParseError("0 qid:3 1:1\n", {"'qid:3'"});
  ExpectParseError("0 1.5:1\n", {"'1.5:1'"});
  ExpectParseError("0 :1\n", {"':1'"});
  ExpectParseError("0 1:1 1:2\n", {"line 1", "index 1 follows index 1", "rise"});
  ExpectParseError("0 3:1 2:2\n", {"index 2 follows index 3"});
  for (const std::string value : {"", "nan", "-inf", "1e999", "1,5", "0x1", "1:2", "--1", "1f"}) {
    ExpectParseError("0 1:" + value + "\n", {"line 1", "value of '1:" + value + "'"});
  }
  ExpectParseError(std::string("0 1:1\0\n", 7), {"'1:1\\x00'"});
  ExpectParseError("\x1b[31m" + std::string(100, 'z') + "\n", {"'\\x1b[31mzz", "z…'"});
  ExpectParseError("", {"data", "holds no row"});
  ExpectParseError("# nothing\n\n", {"holds no row"});
  ExpectParseError("1 1:1\n1 2:2\n", {"all rows", "label 1", "two classes"});
}

TEST(Libsvm, LargestSizes) {
  const SparseDataset data = Parse("0 2147483647:1\n1\n");
  EXPECT_EQ(data.features, 2147483647);
  EXPECT_EQ(data.columns[0], 2147483646);
  std::string labels;
  for (int i = 0; i < 10'001; ++i) labels += std::to_string(i) + "\n";
  ExpectParseError(labels, {"more than 10000 different labels"});
  // A line without an end is refused, not gathered.
  ExpectError([&] { ParseLibsvm(Gzip(Bytes(size_t{80} << 20, ' ')), "bomb"); },
              {"bomb", "line 1", "64 MiB"});
}

TEST(Libsvm, LinesMayLieAcrossPieces) {
  RandomStream random(3, 0);
  std::string text;
  std::vector<int32_t> columns;
  for (int row = 0; row < 3000; ++row) {
    text += std::to_string(row % 2);
    const auto length = row == 1000 ? 100'000u : random.Below(40);  // one longer than a piece
    for (uint32_t i = 0; i < length; ++i) {
      text += " " + std::to_string(i + 1) + ":0.25";
      columns.push_back(static_cast<int32_t>(i));
    }
    text += "\n";
  }
  ASSERT_GT(text.size(), size_t{1} << 20);
  const SparseDataset data = Parse(text);
  EXPECT_EQ(data.rows, 3000);
  EXPECT_EQ(data.columns, columns);
  for (const Packing& packing : kPackings) {
    const SparseDataset same = ParseLibsvm(packing.pack(ToBytes(text)), packing.name);
    EXPECT_EQ(same.columns, columns) << packing.name;
    EXPECT_EQ(same.starts, data.starts) << packing.name;
  }
}

TEST(Libsvm, TestDataTakesOverFeaturesAndClasses) {
  const SparseDataset train = Parse("-1 5:1\n0 1:1\n3\n");
  const LibsvmOptions options{.min_features = train.features, .label_values = train.label_values};
  const SparseDataset fewer = Parse("3 2:1\n3 1:1\n", options);
  EXPECT_EQ(fewer.features, 5);
  EXPECT_EQ(fewer.classes, 3);
  EXPECT_EQ(fewer.labels, (std::vector<int32_t>{2, 2}));
  EXPECT_EQ(Parse("0 9:1\n", options).features, 9);
  ExpectError([&] { Parse("-1\n2 1:1\n", options); }, {"label 2", "-1, 0, 3", "same data set"});
}

TEST(Libsvm, FilesAreFoundUnderTheirPackedNames) {
  const TemporaryFolder folder;
  folder.Write("a", ToBytes("0 1:1\n1 2:1\n"));
  folder.Write("b.xz", PackXz(ToBytes("5 7:1\n")));
  folder.Write("c.bz2", PackBzip2(ToBytes("1\n")));
  folder.Write("d.gz", ToBytes("0\n"));  // the content decides
  folder.Write("bad.xz", ToBytes("zero\n"));
  const SparseDataset data = LoadLibsvm(folder.path(), {"a", "b", "c", "d", "b.xz"});
  EXPECT_EQ(data.name, "a+b+c+d+b.xz");
  EXPECT_EQ(data.label_values, (std::vector<double>{0, 1, 5}));
  EXPECT_EQ(data.labels, (std::vector<int32_t>{0, 1, 2, 1, 0, 2}));
  EXPECT_EQ(data.starts, (std::vector<int64_t>{0, 1, 2, 3, 3, 3, 4}));
  EXPECT_EQ(data.features, 7);
  ExpectError([&] { LoadLibsvm(folder.path(), {"e"}); }, {"e, e.xz, e.bz2, e.gz"});
  ExpectError([&] { LoadLibsvm(folder.path(), {"a", "bad"}); }, {"bad.xz", "line 1"});
  ExpectError([&] { LoadLibsvm(folder.path(), {}); }, {"--train-files"}, Error::Kind::kUsage);
  ExpectError([&] { LoadLibsvm(folder.path() + "/none", {"a"}); }, {"none"}, Error::Kind::kUsage);
}

TEST(SparseDataset, OfImages) {
  const Dataset images{.name = "two",
                       .count = 2,
                       .height = 1,
                       .width = 2,
                       .channels = 2,
                       .classes = 3,
                       .images = {0, 255, 51, 0, 0, 0, 0, 1},
                       .labels = {2, 0}};
  const SparseDataset data = MakeSparseDataset(images);
  EXPECT_EQ(data.name, "two");
  EXPECT_EQ(data.rows, 2);
  EXPECT_EQ(data.features, 4);
  EXPECT_EQ(data.classes, 3);
  EXPECT_EQ(data.starts, (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(data.columns, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(data.values, (std::vector<double>{1, 0.2, 1.0 / 255}));
  EXPECT_EQ(data.labels, (std::vector<int32_t>{2, 0}));
  EXPECT_EQ(data.label_values, (std::vector<double>{0, 1, 2}));
}

TEST(SparseDataset, RowsOfRanks) {
  using Rows = std::pair<int64_t, int64_t>;
  EXPECT_EQ(RowsOfRank(10, 0, 4), (Rows{0, 3}));
  EXPECT_EQ(RowsOfRank(10, 1, 4), (Rows{3, 6}));
  EXPECT_EQ(RowsOfRank(10, 2, 4), (Rows{6, 8}));
  EXPECT_EQ(RowsOfRank(10, 3, 4), (Rows{8, 10}));
  EXPECT_EQ(RowsOfRank(2, 2, 3), (Rows{2, 2}));
  EXPECT_EQ(RowsOfRank(32561, 0, 20), (Rows{0, 1629}));
  EXPECT_EQ(RowsOfRank(32561, 19, 20), (Rows{30933, 32561}));
}

}  // namespace
}  // namespace thinwire
