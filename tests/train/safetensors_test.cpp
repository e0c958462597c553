#include "train/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "tests/train/temporary_folder.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

std::string FileText(const std::string& header, const std::string& data) {
  std::string text(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(text.data(), &length, 8);
  return text + header + data;
}

SafetensorsFile Parse(const std::string& text) {
  return ParseSafetensors(std::as_bytes(std::span(text)), "file.safetensors");
}

StoredTensor Tensor(const std::string& dtype, std::vector<int64_t> shape, const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {dtype, std::move(shape), {bytes.begin(), bytes.end()}};
}

// Written by hand from the format's description.
TEST(Safetensors, ReadsAnExample) {
  const SafetensorsFile file = Parse(FileText(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},)"
      R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
      R"("s":{"dtype":"U16","shape":[],"data_offsets":[10,12]},)"
      R"("e":{"dtype":"F64","shape":[3,0],"data_offsets":[12,12]}}   )",
      std::string("\x01\x02\0\0\x80\x3F\0\0\0\xC0\x05\x06", 12)));
  EXPECT_EQ(file.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  ASSERT_EQ(file.tensors.size(), 4u);
  EXPECT_EQ(file.tensors.at("a").dtype, "U8");
  EXPECT_EQ(file.tensors.at("a").bytes, (std::vector{std::byte{1}, std::byte{2}}));
  const StoredTensor& b = file.tensors.at("b");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 1}));
  float values[2];
  ASSERT_EQ(b.bytes.size(), sizeof(values));
  std::memcpy(values, b.bytes.data(), sizeof(values));
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_TRUE(file.tensors.at("s").shape.empty());
  EXPECT_EQ(file.tensors.at("e").shape, (std::vector<int64_t>{3, 0}));
  EXPECT_TRUE(file.tensors.at("e").bytes.empty());
}

TEST(Safetensors, EmptyFile) { EXPECT_TRUE(Parse(FileText("{}", "")).tensors.empty()); }

TEST(Safetensors, WritesTheseBytes) {
  const TemporaryFolder folder;
  SafetensorsFile file;
  file.metadata = {{"b", "2"}, {"a", "1"}};
  file.tensors["z"] = Tensor("F32", {1}, "zzzz");
  file.tensors["a"] = Tensor("U8", {3}, "aaa");
  file.tensors["b"] = Tensor("I64", {}, "bbbbbbbb");
  file.tensors["c"] = Tensor("F32", {0, 2}, "");
  WriteSafetensors(folder / "file", file);
  std::string header =
      R"({"__metadata__":{"a":"1","b":"2"},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
      R"("c":{"dtype":"F32","shape":[0,2],"data_offsets":[8,8]},)"
      R"("z":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("a":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(ReadText(folder / "file"), FileText(header, "bbbbbbbbzzzzaaa"));
}

TEST(Safetensors, RoundTripsAllSizes) {
  const TemporaryFolder folder;
  SafetensorsFile file;
  for (const int64_t size : {0, 1, 31, 32, 33, 127, 100003}) {
    std::string data(static_cast<size_t>(size), '\0');
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7 + 1);
    file.tensors["tensor" + std::to_string(size)] = Tensor("I8", {size}, data);
  }
  file.metadata["naïve \"name\"\n"] = "\xE2\x82\xAC";
  WriteSafetensors(folder / "file", file);
  const SafetensorsFile back = ReadSafetensors(folder / "file");
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(back.tensors.at(name).dtype, tensor.dtype) << name;
    EXPECT_EQ(back.tensors.at(name).shape, tensor.shape) << name;
    EXPECT_EQ(back.tensors.at(name).bytes, tensor.bytes) << name;
  }
}

struct Malformed {
  const char* header;
  size_t data_bytes;
  const char* message;
};

TEST(Safetensors, RefusesMalformedHeaders) {
  const Malformed cases[] = {
      {R"([])", 0, "not a JSON object"},
      {R"({"a":)", 0, "not valid JSON"},
      {R"({}x)", 0, "not valid JSON"},
      {"{\"\xFF\":1}", 0, "not valid JSON"},
      {R"({"a":[[[[1]]]]})", 0, "nested too deeply"},
      {R"({"a":1})", 0, "'a' is not described"},
      {R"({"a":{"dtype":"U8","shape":[1]}})", 1, "'a' is not described"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1, "'a' is not described"},
      {R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1, "dtype that is not a string"},
      {R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,1]}})", 1, "unknown type 'Q4'"},
      {R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1, "shape that is not a list"},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "shape that is not a list"},
      {R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, "shape that is not a list"},
      {R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1, "shape that is not a list"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "data_offsets that are no"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, "data_offsets that are no"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1, "cut short"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]}})",
       1, "cut short"},
      {R"({"a":{"dtype":"U16","shape":[1],"data_offsets":[0,1]}})", 1, "its shape and type need 2"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "too large"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
       "too large"},
      {R"({"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}})", 0,
       "too large"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2, "1 bytes that belong to no"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2, "leaves a gap"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
       R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "'b' overlaps"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
       R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "'a' occurs twice"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
       "'dtype' occurs twice"},
      {R"({"__metadata__":1})", 0, "__metadata__ is not an object"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__ 'a' is not a string"},
      {R"({"a\nb":1})", 0, "'a?b' is not described"},
  };
  for (const Malformed& malformed : cases) {
    SCOPED_TRACE(malformed.header);
    EXPECT_ERROR(Parse(FileText(malformed.header, std::string(malformed.data_bytes, 'x'))),
                 malformed.message);
    EXPECT_ERROR(Parse(FileText(malformed.header, std::string(malformed.data_bytes, 'x'))),
                 "cannot read file.safetensors: ");
  }
}

TEST(Safetensors, RefusesWrongLengths) {
  EXPECT_ERROR(Parse(""), "8 bytes or more, this one has 0");
  EXPECT_ERROR(Parse("1234567"), "this one has 7");
  EXPECT_ERROR(Parse(FileText("{}", "").substr(0, 9)), "cut short");
  EXPECT_ERROR(Parse(std::string(8, '\xFF') + "{}"), "not a safetensors file");
  EXPECT_ERROR(Parse(std::string(8, '\0')), "not a JSON object");
}

TEST(Safetensors, EveryPrefixOfAFileIsRefused) {
  const std::string whole =
      FileText(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "12345678");
  EXPECT_EQ(Parse(whole).tensors.size(), 1u);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(Parse(whole.substr(0, size)), Error) << size;
  }
}

TEST(Safetensors, ReadsTheFileOfAPublishedModel) {
  const char* data = std::getenv("THINWIRE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "THINWIRE_TEST_DATA names no folder of test data";
  const std::string path = std::string(data) + "/weights/resnet20-cifar10.safetensors";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is absent";
  const SafetensorsFile file = ReadSafetensors(path);
  EXPECT_EQ(file.tensors.size(), 97u);
  size_t numbers = 0;
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(tensor.dtype, "F32") << name;
    numbers += tensor.bytes.size() / sizeof(float);
  }
  EXPECT_EQ(numbers, 271098u);

  const TemporaryFolder folder;
  WriteSafetensors(folder / "copy", file);
  const SafetensorsFile copy = ReadSafetensors(folder / "copy");
  EXPECT_EQ(copy.metadata, file.metadata);
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_EQ(copy.tensors.at(name).bytes, tensor.bytes) << name;
  }
}

}  // namespace
}  // namespace thinwire
