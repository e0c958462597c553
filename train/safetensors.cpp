#include "train/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "files are little-endian");

constexpr char kMetadata[] = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr uint64_t kLargestHeader = 100'000'000;  // the format's own bound
constexpr int kDeepestHeader = 3;                 // {"name": {"shape": [1, 2]}}

/// Bytes of an element; 0 for an unknown type.
int64_t ElementBytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, int64_t> kTypes[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},      {"U16", 2},     {"I16", 2},    {"F16", 2},
      {"BF16", 2}, {"U32", 4}, {"I32", 4},     {"F32", 4},     {"U64", 8},    {"I64", 8},
      {"F64", 8},  {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};
  for (const auto& [name, bytes] : kTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

/// A name from a file, fit for a message: on one line and not too long.
std::string Quoted(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string quoted = "'";
  for (const char c : name.substr(0, kLongest)) {
    quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  return quoted + (name.size() > kLongest ? "…'" : "'");
}

/// Parses one file; throws Error with the file's name in it.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  SafetensorsFile Parse() {
    const json header = ParseHeader();
    SafetensorsFile file;
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadata) {
        file.metadata = ParseMetadata(value);
      } else {
        file.tensors.emplace(name, ParseTensor(name, value));
      }
    }
    CheckCoverage();
    return file;
  }

 private:
  struct Range {
    uint64_t begin, end;
    std::string tensor;
  };

  [[noreturn]] void Fail(
      const std::string& problem,
      const std::string& remedy = "the file is damaged or not of this format: get it again") const {
    throw Error(fmt::format("cannot read {}: {}", name_, problem), remedy);
  }

  json ParseHeader() {
    if (bytes_.size() < kLengthBytes) {
      Fail(fmt::format("a safetensors file has 8 bytes or more, this one has {}", bytes_.size()));
    }
    uint64_t length;
    std::memcpy(&length, bytes_.data(), kLengthBytes);
    const std::span<const std::byte> rest = bytes_.subspan(kLengthBytes);
    if (length > kLargestHeader) {
      Fail(fmt::format("not a safetensors file (its header would have {} bytes)", length));
    }
    if (length > rest.size()) {
      Fail(fmt::format("it is cut short: the header should have {} bytes, {} are there", length,
                       rest.size()));
    }
    data_ = rest.subspan(length);
    const std::string_view text(reinterpret_cast<const char*>(rest.data()), length);
    if (!text.starts_with('{')) Fail("not a safetensors file (its header is not a JSON object)");

    // JSON lets a name occur twice, and one of the two would silently win.
    std::vector<std::set<std::string>> names;
    const auto check = [this, &names](int depth, json::parse_event_t event, json& value) {
      switch (event) {
        case json::parse_event_t::object_start:
        case json::parse_event_t::array_start:
          if (depth >= kDeepestHeader) Fail("its header is nested too deeply");
          names.resize(static_cast<size_t>(depth) + 1);
          names.back().clear();
          break;
        case json::parse_event_t::key:
          if (!names.back().insert(value.get_ref<const std::string&>()).second) {
            Fail(fmt::format("{} occurs twice in its header",
                             Quoted(value.get_ref<const std::string&>())));
          }
          break;
        case json::parse_event_t::object_end:
        case json::parse_event_t::array_end:
          names.pop_back();
          break;
        case json::parse_event_t::value:
          break;
      }
      return true;
    };
    try {
      return json::parse(text, check);
    } catch (const json::exception&) {
      Fail("its header is not valid JSON");
    }
  }

  std::map<std::string, std::string> ParseMetadata(const json& value) const {
    if (!value.is_object()) Fail("its __metadata__ is not an object");
    std::map<std::string, std::string> metadata;
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) Fail(fmt::format("its __metadata__ {} is not a string", Quoted(key)));
      metadata.emplace(key, text.get<std::string>());
    }
    return metadata;
  }

  StoredTensor ParseTensor(const std::string& name, const json& value) {
    const auto fail = [&](const std::string& problem) {
      Fail(fmt::format("tensor {} {}", Quoted(name), problem));
    };
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
        !value.contains("shape") || !value.contains("data_offsets")) {
      fail("is not described by dtype, shape and data_offsets alone");
    }
    StoredTensor tensor;
    if (!value["dtype"].is_string()) fail("has a dtype that is not a string");
    tensor.dtype = value["dtype"].get<std::string>();
    const auto element_bytes = static_cast<uint64_t>(ElementBytes(tensor.dtype));
    if (element_bytes == 0) {
      Fail(fmt::format("tensor {} has the unknown type {}", Quoted(name), Quoted(tensor.dtype)),
           "convert it to F32, F16 or BF16 first");
    }

    uint64_t size = element_bytes;
    bool overflow = false, empty = false;
    for (const uint64_t extent : Naturals(name, value["shape"], "shape")) {
      if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) overflow = true;
      if (extent == 0) {
        empty = true;
      } else {
        overflow = overflow || __builtin_mul_overflow(size, extent, &size);
      }
      tensor.shape.push_back(static_cast<int64_t>(extent));
    }
    if (overflow) fail("has a shape too large for any file");
    if (empty) size = 0;

    const std::vector<uint64_t> offsets = Naturals(name, value["data_offsets"], "data_offsets");
    if (offsets.size() != 2 || offsets[0] > offsets[1]) fail("has data_offsets that are no range");
    if (offsets[1] > data_.size()) {
      fail(fmt::format("ends at byte {} of the data, of which there are {}: the file is cut short",
                       offsets[1], data_.size()));
    }
    if (offsets[1] - offsets[0] != size) {
      fail(fmt::format("has {} bytes, its shape and type need {}", offsets[1] - offsets[0], size));
    }
    ranges_.push_back({offsets[0], offsets[1], name});
    const auto bytes = data_.subspan(offsets[0], size);
    tensor.bytes.assign(bytes.begin(), bytes.end());
    return tensor;
  }

  /// An array of integers >= 0.
  std::vector<uint64_t> Naturals(const std::string& name, const json& value,
                                 const char* what) const {
    const auto fail = [&] {
      Fail(fmt::format("tensor {} has a {} that is not a list of natural numbers", Quoted(name),
                       what));
    };
    if (!value.is_array()) fail();
    std::vector<uint64_t> numbers;
    for (const json& number : value) {
      if (!number.is_number_unsigned()) fail();
      numbers.push_back(number.get<uint64_t>());
    }
    return numbers;
  }

  void CheckCoverage() {
    std::sort(ranges_.begin(), ranges_.end(), [](const Range& a, const Range& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    uint64_t end = 0;
    for (const Range& range : ranges_) {
      if (range.begin != end) {
        Fail(fmt::format("tensor {} {}", Quoted(range.tensor),
                         range.begin < end ? "overlaps another" : "leaves a gap in front of it"));
      }
      end = range.end;
    }
    if (end != data_.size()) {
      Fail(fmt::format("{} bytes that belong to no tensor follow the last", data_.size() - end));
    }
  }

  std::span<const std::byte> bytes_, data_;
  const std::string& name_;
  std::vector<Range> ranges_;
};

}  // namespace

SafetensorsFile ParseSafetensors(std::span<const std::byte> bytes, const std::string& name) {
  return Parser(bytes, name).Parse();
}

SafetensorsFile ReadSafetensors(const std::string& path) {
  return ParseSafetensors(ReadFile(path), path);
}

void WriteSafetensors(const std::string& path, const SafetensorsFile& file) {
  std::vector<std::pair<const std::string*, const StoredTensor*>> tensors;
  for (const auto& [name, tensor] : file.tensors) tensors.emplace_back(&name, &tensor);
  std::stable_sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return ElementBytes(a.second->dtype) > ElementBytes(b.second->dtype);
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header[kMetadata] = file.metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    int64_t size = ElementBytes(tensor->dtype);
    for (const int64_t extent : tensor->shape) size *= extent;
    assert(ElementBytes(tensor->dtype) != 0 && size == std::ssize(tensor->bytes));
    const uint64_t end = offset + static_cast<uint64_t>(size);
    header[*name] = {
        {"dtype", tensor->dtype}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned

  const uint64_t length = text.size();
  AtomicFile out(path, static_cast<int64_t>(kLengthBytes + length + offset));
  out.Write(std::as_bytes(std::span(&length, 1)));
  out.Write(std::as_bytes(std::span(text)));
  for (const auto& [name, tensor] : tensors) out.Write(tensor->bytes);
  out.Commit();
}

}  // namespace thinwire
