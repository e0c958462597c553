// The table of effective settings that a run prints first.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "train/settings.h"

namespace thinwire {
namespace {

constexpr size_t kColumns = 3;
constexpr size_t kCellWidth = 32;  // three and the indent fit into 100 columns
constexpr size_t kNameWidth = 20;

/// One setting: "batch-size*           128". The star follows the name, so that values line up.
std::string Cell(const SettingEntry& entry, const Settings& settings,
                 const SettingSources& sources) {
  const std::string value = ValueAsText(entry, settings);
  const std::string name = std::string(entry.name) + (sources.count(entry.name) ? "*" : "");
  return fmt::format("{:<{}} {}", name, kNameWidth, value.empty() ? "-" : value);
}

/// Cells in rows of three columns; a wide cell takes several columns, or a row of its own.
std::string Grid(const std::vector<std::string>& cells) {
  std::string text, row;
  size_t used = 0;  // columns of this row
  const auto end_row = [&] {
    if (used == 0) return;
    text += "  " + row.substr(0, row.find_last_not_of(' ') + 1) + "\n";
    row.clear();
    used = 0;
  };
  for (const std::string& cell : cells) {
    const size_t columns = (cell.size() + 1 + kCellWidth - 1) / kCellWidth;  // 1: a gap
    if (used + columns > kColumns) end_row();
    row += fmt::format("{:<{}}", cell, columns * kCellWidth);
    used += columns;
  }
  end_row();
  return text;
}

}  // namespace

std::string SettingsTable(const Settings& settings, const SettingSources& sources) {
  std::string text;
  std::vector<std::string> cells;
  const std::vector<SettingEntry>& entries = SettingEntries();
  for (size_t i = 0; i < entries.size(); ++i) {
    cells.push_back(Cell(entries[i], settings, sources));
    const bool section_ends = i + 1 == entries.size() || std::string_view(entries[i + 1].section) !=
                                                             std::string_view(entries[i].section);
    if (!section_ends) continue;
    text += fmt::format("{}\n{}", entries[i].section, Grid(cells));
    cells.clear();
  }
  if (!sources.empty()) text += "* given by a flag or a recipe\n";
  return text;
}

}  // namespace thinwire
