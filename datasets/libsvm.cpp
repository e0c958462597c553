#include "datasets/libsvm.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "datasets/data_files.h"
#include "datasets/unpack.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 36;
constexpr int64_t kMaxTextBytes = int64_t{1} << 36;  // unpacked
constexpr int64_t kMaxLineBytes = int64_t{1} << 26;
constexpr int64_t kMaxIndex = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxClasses = 10'000;

int64_t HalfOfMemory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * int64_t{sysconf(_SC_PAGESIZE)} / 2;
}

/// Text from a file for a message, short and printable.
std::string Quoted(std::string_view text) {
  constexpr size_t kMaxLength = 40;
  std::string quoted = "'";
  for (const char c : text.substr(0, kMaxLength)) {
    quoted += c >= ' ' && c <= '~' ? std::string(1, c)
                                   : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return quoted + (text.size() > kMaxLength ? "…'" : "'");
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

/// Takes the next word from the front of `line`; empty at its end.
std::string_view TakeWord(std::string_view& line) {
  const auto* begin = std::find_if_not(line.begin(), line.end(), IsBlank);
  const auto* end = std::find_if(begin, line.end(), IsBlank);
  line = {end, line.end()};
  return {begin, end};
}

/// Whether all of `text` is one finite decimal number, which goes to `value`.
bool ParseNumber(std::string_view text, double& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const auto [end, code] = std::from_chars(text.begin(), text.end(), value);
  return code == std::errc() && end == text.end() && std::isfinite(value);
}

/// Collects the rows of files.
class LibsvmParser {
 public:
  void ParseFile(std::span<const uint8_t> bytes, const std::string& name) {
    name_ = name;
    line_ = 0;
    const auto unpacker = MakeUnpacker(bytes, name);
    constexpr size_t kPieceBytes = size_t{1} << 18;
    std::vector<uint8_t> piece(kPieceBytes);
    std::string begun;  // a line whose end is yet to come
    int64_t total = 0;
    while (const int64_t count = unpacker->Read(piece)) {
      total += count;
      if (total > kMaxTextBytes) Fail("it holds more than 64 GiB of text", "split it");
      std::string_view text(reinterpret_cast<const char*>(piece.data()),
                            static_cast<size_t>(count));
      for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n')) {
        ParseLine(begun.empty() ? text.substr(0, end) : begun.append(text, 0, end));
        begun.clear();
        text.remove_prefix(end + 1);
      }
      begun += text;
      if (std::ssize(begun) > kMaxLineBytes) {
        ++line_;
        Fail("it is longer than 64 MiB", "name a file in LIBSVM's format");
      }
    }
    if (!begun.empty()) ParseLine(begun);
  }

  SparseDataset Finish(const std::string& name, const LibsvmOptions& options) {
    data_.name = name;
    data_.rows = std::ssize(row_labels_);
    data_.features = std::max(data_.features, options.min_features);
    if (data_.rows == 0) {
      throw Error(fmt::format("the LIBSVM data {} holds no row", name), "name another file");
    }
    data_.label_values = options.label_values;
    if (data_.label_values.empty()) FindClasses();
    data_.classes = std::ssize(data_.label_values);
    const auto& values = data_.label_values;
    for (const double label : row_labels_) {
      const auto found = std::lower_bound(values.begin(), values.end(), label);
      if (found == values.end() || *found != label) {
        throw Error(fmt::format("the LIBSVM data {} has the label {}, and the training data has {}",
                                name, label, fmt::join(values, ", ")),
                    "name files of the same data set");
      }
      data_.labels.push_back(static_cast<int32_t>(found - values.begin()));
    }
    return std::move(data_);
  }

 private:
  /// The labels of the rows themselves.
  void FindClasses() {
    std::vector<double>& values = data_.label_values;
    for (const double label : row_labels_) {
      const auto at = std::lower_bound(values.begin(), values.end(), label);
      if (at == values.end() || *at != label) values.insert(at, label);
      if (std::ssize(values) > kMaxClasses) {
        throw Error(fmt::format("the LIBSVM data {} has more than {} different labels", data_.name,
                                kMaxClasses),
                    "name data for classification");
      }
    }
    if (values.size() < 2) {
      throw Error(
          fmt::format("all rows of the LIBSVM data {} have the label {}", data_.name, values[0]),
          "name data with two classes at least");
    }
  }

  void ParseLine(std::string_view line) {
    ++line_;
    line = line.substr(0, line.find('#'));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const std::string_view label = TakeWord(line);
    if (label.empty()) return;
    double label_value = 0;
    if (!ParseNumber(label, label_value)) {
      Fail(fmt::format("the label {} is not a finite number", Quoted(label)),
           "a row is 'label index:value index:value …'");
    }
    int64_t last = 0;
    for (std::string_view word = TakeWord(line); !word.empty(); word = TakeWord(line)) {
      last = ParseFeature(word, last);
    }
    row_labels_.push_back(label_value + 0.0);  // -0 becomes 0
    data_.starts.push_back(std::ssize(data_.columns));
    const int64_t stored = std::ssize(data_.columns), rows = std::ssize(row_labels_);
    constexpr int64_t kBytesStored = sizeof(int32_t) + sizeof(double);
    constexpr int64_t kBytesOfRow = sizeof(int64_t) + sizeof(int32_t) + sizeof(double);
    if (stored * kBytesStored + rows * kBytesOfRow > max_bytes_) {
      Fail(fmt::format("{} rows with {} values take more than half of this machine's memory", rows,
                       stored),
           "use a part of the file");
    }
  }

  /// "index:value", behind a feature of index `last`. @return its index.
  int64_t ParseFeature(std::string_view word, int64_t last) {
    const size_t colon = word.find(':');
    if (colon == word.npos) {
      Fail(fmt::format("{} is not index:value", Quoted(word)),
           "a row is 'label index:value index:value …'");
    }
    const std::string_view index_text = word.substr(0, colon), value_text = word.substr(colon + 1);
    int64_t index = 0;
    const auto [end, code] = std::from_chars(index_text.begin(), index_text.end(), index);
    if (code != std::errc() || end != index_text.end() || index < 1 || index > kMaxIndex) {
      Fail(fmt::format("the index of {} is not a whole number from 1 to {}", Quoted(word),
                       kMaxIndex),
           index == 0 ? "count features from 1" : "correct the file");
    }
    if (index <= last) {
      Fail(fmt::format("index {} follows index {}", index, last), "let indices rise within a row");
    }
    double value = 0;
    if (!ParseNumber(value_text, value)) {
      Fail(fmt::format("the value of {} is not a finite decimal number", Quoted(word)),
           "correct the file");
    }
    data_.columns.push_back(static_cast<int32_t>(index - 1));
    data_.values.push_back(value);
    data_.features = std::max(data_.features, index);
    return index;
  }

  [[noreturn]] void Fail(const std::string& problem, const std::string& remedy) const {
    throw Error(fmt::format("cannot read the LIBSVM file {}: line {}: {}", name_, line_, problem),
                remedy);
  }

  const int64_t max_bytes_ = HalfOfMemory();
  std::string name_;  // of the file, and
  int64_t line_ = 0;  // the line that is being read, from 1
  SparseDataset data_;
  std::vector<double> row_labels_;
};

}  // namespace

SparseDataset ParseLibsvm(std::span<const uint8_t> bytes, const std::string& name,
                          const LibsvmOptions& options) {
  LibsvmParser parser;
  parser.ParseFile(bytes, name);
  return parser.Finish(name, options);
}

SparseDataset LoadLibsvm(const std::string& data_dir, const std::vector<std::string>& files,
                         const LibsvmOptions& options) {
  if (files.empty()) {
    throw Error("the data set libsvm has no standard files",
                "name some of --data-dir with --train-files", Error::Kind::kUsage);
  }
  LibsvmParser parser;
  for (const std::string& file : files) {
    const std::string path =
        FindDataFile(data_dir, {file, file + ".xz", file + ".bz2", file + ".gz"});
    parser.ParseFile(ReadDataFile(path, kMaxFileBytes), path);
  }
  return parser.Finish(fmt::format("{}", fmt::join(files, "+")), options);
}

SparseDataset MakeSparseDataset(const Dataset& images) {
  assert(!images.encoded);
  SparseDataset data{.name = images.name,
                     .rows = images.count,
                     .features = images.image_bytes(),
                     .classes = images.classes,
                     .labels = images.labels};
  for (int64_t row = 0; row < images.count; ++row) {
    const uint8_t* pixels = images.image(row);
    for (int64_t j = 0; j < data.features; ++j) {
      if (pixels[j] == 0) continue;
      data.columns.push_back(static_cast<int32_t>(j));
      data.values.push_back(pixels[j] / 255.0);
    }
    data.starts.push_back(std::ssize(data.columns));
  }
  for (int64_t k = 0; k < images.classes; ++k) {
    data.label_values.push_back(static_cast<double>(k));
  }
  return data;
}

std::pair<int64_t, int64_t> RowsOfRank(int64_t rows, int rank, int ranks) {
  assert(rank >= 0 && rank < ranks);
  const int64_t whole = rows / ranks, extra = rows % ranks;
  const auto begin = [&](int64_t r) { return r * whole + std::min(r, extra); };
  return {begin(rank), begin(rank + 1)};
}

}  // namespace thinwire
