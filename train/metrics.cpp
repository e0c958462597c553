#include "train/metrics.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

using nlohmann::ordered_json;

/// Whether a line of an older file stays; `number` counts from 1.
using KeepLine = std::function<bool(std::string_view line, int64_t number)>;

/// Opens a file of lines for appending: an empty one, or, to resume, what is there without the
/// lines that `keep` refuses and without a torn last line.
AppendFile OpenLines(const std::string& path, bool resume, const KeepLine& keep) {
  if (!resume) return AppendFile(path, AppendFile::Existing::kEmpty);
  if (std::filesystem::exists(path)) {
    const std::vector<std::byte> bytes = ReadFile(path);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::string kept;
    int64_t number = 1;
    for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
      if (keep(text.substr(begin, end - begin), number++)) {
        kept.append(text.substr(begin, end + 1 - begin));
      }
    }
    if (kept != text) WriteFileAtomically(path, std::as_bytes(std::span(kept)));
  }
  return AppendFile(path, AppendFile::Existing::kAppend);
}

[[noreturn]] void RefuseLine(const std::string& path, int64_t number, const char* expected) {
  throw Error(fmt::format("cannot resume {}: line {} is not {}", path, number, expected),
              "repair that line, or move the file away to begin a new one");
}

/// A cell as RFC 4180 has it, except that line breaks become spaces: a line is a record.
std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c == '\n' || c == '\r' ? ' ' : c;
  }
  return quoted + '"';
}

std::string CsvCell(const MetricValue& value) {
  return CsvCell(std::visit([](const auto& v) { return fmt::format("{}", v); }, value));
}

}  // namespace

JsonLinesWriter::JsonLinesWriter(const std::string& path, std::optional<int64_t> resumed_step)
    : file_(OpenLines(path, resumed_step.has_value(), [&](std::string_view line, int64_t number) {
        const auto json = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (!json.is_object()) RefuseLine(path, number, "a JSON object");
        const auto step = json.find("step");
        return step == json.end() || !step->is_number_integer() ||
               step->get<int64_t>() <= *resumed_step;
      })) {}

void JsonLinesWriter::Write(const MetricRecord& record) {
  ordered_json line = ordered_json::object();
  for (const auto& [name, value] : record) {
    std::visit([&line, &name = name](const auto& v) { line[name] = v; }, value);
  }
  // A string that is not UTF-8, say the name of a file, must not stop a run: it is repaired.
  file_.Append(line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + '\n');
}

CsvWriter::CsvWriter(const std::string& path, std::optional<int64_t> resumed_epoch)
    : file_(OpenLines(path, resumed_epoch.has_value(), [&](std::string_view line, int64_t number) {
        if (number == 1) {
          header_ = line;
          return true;
        }
        const std::string_view cell = line.substr(0, line.find(','));
        const char* const cell_end = cell.data() + cell.size();
        int64_t epoch = 0;
        const auto [end, error] = std::from_chars(cell.data(), cell_end, epoch);
        if (error != std::errc() || end != cell_end) {
          RefuseLine(path, number, "a record that begins with an epoch's number");
        }
        return epoch <= *resumed_epoch;
      })) {}

void CsvWriter::Write(const MetricRecord& record) {
  std::string names, cells;
  for (const auto& [name, value] : record) {
    if (!names.empty()) {
      names += ',';
      cells += ',';
    }
    names += CsvCell(name);
    cells += CsvCell(value);
  }
  if (header_.empty()) {
    file_.Append(names + '\n' + cells + '\n');
    header_ = names;
    return;
  }
  if (names != header_) {
    throw Error(fmt::format("cannot append to {}: its columns are {}, the new record's {}",
                            file_.path(), header_, names),
                "move the file away to begin a new one");
  }
  file_.Append(cells + '\n');
}

}  // namespace thinwire
