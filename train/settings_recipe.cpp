// Recipes: settings as flat TOML files.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace {

/// What a failed assertion of toml++ throws.
struct TomlAssertion {};
[[noreturn]] void ThrowTomlAssertion() { throw TomlAssertion(); }

}  // namespace

// Some texts that are not TOML, as "[=" and "x = [}", fail assertions of toml++ instead of giving
// an error, and with NDEBUG it goes on as if they held. So its assertions stay on here, and throw.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(condition) \
  (static_cast<bool>(condition) ? static_cast<void>(0) : ThrowTomlAssertion())
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

#include "kernels/error.h"
#include "kernels/text.h"
#include "train/settings.h"
#include "train/settings_value.h"

namespace thinwire {
namespace {

constexpr int64_t kLargestRecipe = 1 << 20;  // bytes

std::optional<RawScalar> RawScalarOf(const toml::node& node) {
  if (const auto* value = node.as_boolean()) return value->get();
  if (const auto* value = node.as_integer()) return value->get();
  if (const auto* value = node.as_floating_point()) return value->get();
  if (const auto* value = node.as_string()) return value->get();
  return std::nullopt;  // a date, a table, a nested list
}

/// The value's own characters, for messages. Those of a list or table are its whole line.
std::string TextOf(const toml::node& node, const std::vector<std::string_view>& lines) {
  const toml::source_region& place = node.source();
  if (place.begin.line == 0 || place.begin.line > lines.size()) return {};
  std::string_view line = lines[place.begin.line - 1];
  if (node.is_value()) {
    // Columns count characters, so they find the value only in a line of ASCII alone.
    const bool ascii = std::all_of(line.begin(), line.end(), [](char c) { return c > 0; });
    if (ascii && place.begin.column >= 1 && place.begin.column <= line.size() &&
        place.end.line == place.begin.line) {
      return std::string(
          line.substr(place.begin.column - 1, place.end.column - place.begin.column));
    }
  }
  return std::string(line);
}

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

const SettingEntry& EntryOf(const std::string& key, bool is_table, const std::string& place) {
  const SettingEntry* entry = FindSetting(key);
  if (entry != nullptr) return *entry;
  if (is_table) {
    Fail(fmt::format("{}: {} is a table", place, Quoted(key)),
         "write the settings without [tables], each as key = value");
  }
  std::vector<std::string> known;
  for (const SettingEntry& candidate : SettingEntries()) known.push_back(candidate.name);
  Fail(fmt::format("{}: unknown setting {}", place, Quoted(key)), SuggestName(key, known));
}

toml::table ParseToml(std::string_view text, const std::string& name) {
  const char* const remedy = "write each setting as key = value, text in quotes";
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    Fail(fmt::format("{}:{}: not valid TOML: {}", name, error.source().begin.line,
                     error.description()),
         remedy);
  } catch (const TomlAssertion&) {
    Fail(fmt::format("{}: not valid TOML", name), remedy);
  }
}

}  // namespace

void ApplyRecipe(std::string_view text, const std::string& name, Settings& settings,
                 SettingSources* sources) {
  const toml::table table = ParseToml(text, name);
  const std::vector<std::string_view> lines = LinesOf(text);

  // toml++ sorts by key; in the order of lines the first error is the file's first.
  std::vector<std::pair<const toml::key*, const toml::node*>> pairs;
  for (auto&& [key, node] : table) pairs.emplace_back(&key, &node);
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
    return a.first->source().begin < b.first->source().begin;
  });

  Settings changed = settings;
  SettingSources changed_sources;
  for (const auto& [toml_key, node] : pairs) {
    std::string key(toml_key->str());
    std::replace(key.begin(), key.end(), '_', '-');
    const std::string place = fmt::format("{}:{}", name, toml_key->source().begin.line);
    const SettingEntry& entry = EntryOf(key, node->is_table(), place);
    if (!changed_sources.emplace(key, place).second) {
      Fail(fmt::format("{}: {} is given twice", place, key),
           "keep one of the spellings with - and _");
    }

    RawValue value;
    value.text = TextOf(*node, lines);
    value.list = node->is_array();
    const auto add = [&](const toml::node& element) {
      const std::optional<RawScalar> scalar = RawScalarOf(element);
      if (!scalar) {
        Fail(fmt::format("{}: {}: {} is not valid", place, key, Quoted(value.text)),
             "give " + Expectation(entry));
      }
      value.elements.push_back(*scalar);
    };
    if (const toml::array* array = node->as_array()) {
      for (const toml::node& element : *array) add(element);
    } else {
      add(*node);
    }
    SetValue(entry, value, fmt::format("{}: {}", place, key), changed);
  }

  settings = std::move(changed);
  if (sources != nullptr) {
    for (const auto& [key, place] : changed_sources) (*sources)[key] = place;
  }
}

Settings ParseRecipe(std::string_view text, const std::string& name) {
  Settings settings;
  ApplyRecipe(text, name, settings);
  return settings;
}

void ApplyRecipeFile(const std::string& path, Settings& settings, SettingSources* sources) {
  const std::string remedy = "give the path of a TOML file, as recipes/shapes_demo.toml";
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    Fail(fmt::format("cannot read recipe {}: there is no such file", Quoted(path)), remedy);
  }
  if (std::filesystem::is_directory(path, error)) {
    Fail(fmt::format("cannot read recipe {}: it is a folder", Quoted(path)), remedy);
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestRecipe + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || (!file.eof() && text.empty())) {
    Fail(fmt::format("cannot read recipe {}", Quoted(path)), "see that you may read it");
  }
  if (text.size() > kLargestRecipe) {
    Fail(fmt::format("recipe {} is larger than 1 MiB", Quoted(path)), remedy);
  }
  ApplyRecipe(text, path, settings, sources);
}

std::string WriteRecipe(const Settings& settings) {
  std::string text;
  const char* section = "";
  for (const SettingEntry& entry : SettingEntries()) {
    if (std::string_view(section) != entry.section) {
      text += fmt::format("{}# {}\n", text.empty() ? "" : "\n", entry.section);
      section = entry.section;
    }
    text += fmt::format("{} = {}\n", entry.name, ValueAsToml(entry, settings));
  }
  return text;
}

}  // namespace thinwire
