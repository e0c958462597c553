#include "train/settings_value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "kernels/error.h"
#include "kernels/text.h"

namespace thinwire {
namespace {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsList : std::false_type {};
template <typename T>
struct IsList<std::vector<T>> : std::true_type {};

/// The scalar inside T, std::optional<T> or std::vector<T>.
template <typename T>
struct ScalarOf {
  using Type = T;
};
template <typename T>
struct ScalarOf<std::optional<T>> {
  using Type = T;
};
template <typename T>
struct ScalarOf<std::vector<T>> {
  using Type = T;
};

/// Calls function.operator()<T>(member) with the type of the entry's field.
template <typename Function>
auto VisitField(const SettingEntry& entry, const Function& function) {
  return std::visit(
      [&]<typename T>(T Settings::*member) { return function.template operator()<T>(member); },
      entry.field);
}

[[noreturn]] void ThrowUnfit(const SettingEntry& entry, const RawValue& value,
                             const std::string& source, const std::string& why) {
  throw Error(fmt::format("{}: {} {}", source, Quoted(value.text), why),
              "give " + Expectation(entry), Error::Kind::kUsage);
}

/// A raw scalar as a T, if it is one. Whole numbers are numbers, too.
template <typename T>
std::optional<T> ScalarAs(const RawScalar& raw) {
  if (const T* value = std::get_if<T>(&raw)) return *value;
  if constexpr (std::is_same_v<T, double>) {
    if (const int64_t* value = std::get_if<int64_t>(&raw)) return static_cast<double>(*value);
  }
  return std::nullopt;
}

/// Well-formed UTF-8 without NUL, so that every text can be written into a recipe and read again.
bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int length = lead < 0x80            ? 1
                       : lead >> 5 == 0b110   ? 2
                       : lead >> 4 == 0b1110  ? 3
                       : lead >> 3 == 0b11110 ? 4
                                              : 0;
    if (length == 0 || i + length > text.size() || lead == 0) return false;
    uint32_t point = length == 1 ? lead : lead & (0xFF >> (length + 1));
    for (int k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if (byte >> 6 != 0b10) return false;
      point = point << 6 | (byte & 0x3F);
    }
    constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
      return false;
    }
    i += length;
  }
  return true;
}

template <typename T>
T CheckedScalar(const SettingEntry& entry, const RawScalar& raw, const RawValue& value,
                const std::string& source) {
  const std::optional<T> scalar = ScalarAs<T>(raw);
  if (!scalar) ThrowUnfit(entry, value, source, "is not valid");
  if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
    const auto number = static_cast<double>(*scalar);
    if (!std::isfinite(number)) ThrowUnfit(entry, value, source, "is not a finite number");
    if (!entry.range.contains(number)) ThrowUnfit(entry, value, source, "is out of range");
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!IsUtf8(*scalar)) ThrowUnfit(entry, value, source, "is not valid UTF-8");
    if (entry.choices != nullptr) {
      const std::vector<std::string> choices = entry.choices();
      if (std::find(choices.begin(), choices.end(), *scalar) == choices.end()) {
        throw Error(fmt::format("{}: there is no {}", source, Quoted(*scalar)),
                    SuggestName(*scalar, choices), Error::Kind::kUsage);
      }
    }
  }
  return *scalar;
}

/// A flag's text as the raw scalar that a field of type T expects; other text stays text, which
/// CheckedScalar then refuses.
template <typename T>
RawScalar ScalarFromText(const std::string& text) {
  if constexpr (std::is_same_v<T, bool>) {
    if (text == "on" || text == "true") return true;
    if (text == "off" || text == "false") return false;
  } else if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, double>) {
    T number{};
    const char* const end = text.data() + text.size();
    const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [stop, error] = std::from_chars(begin, end, number);
    if (error == std::errc() && stop == end) return number;
  }
  return text;
}

std::string ScalarAsText(bool value) { return value ? "on" : "off"; }
std::string ScalarAsText(const std::string& value) { return value; }
template <typename T>
std::string ScalarAsText(T value) {
  return fmt::format("{}", value);  // the shortest text that reads back as the same number
}

std::string ScalarAsToml(bool value) { return value ? "true" : "false"; }
std::string ScalarAsToml(const std::string& value) {
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}
template <typename T>
std::string ScalarAsToml(T value) {
  return fmt::format("{}", value);
}

const char* ScalarExpectation(bool) { return "on or off"; }
const char* ScalarExpectation(int64_t) { return "a whole number"; }
const char* ScalarExpectation(double) { return "a number"; }
const char* ScalarExpectation(const std::string&) { return "text"; }

/// ", at least 1", ", from 0 to 1", ", above 0 and below 1", or nothing.
std::string RangeExpectation(const NumberRange& range) {
  const bool has_minimum = range.minimum != NumberRange{}.minimum;
  const bool has_maximum = range.maximum != NumberRange{}.maximum;
  if (has_minimum && has_maximum && !range.minimum_excluded && !range.maximum_excluded) {
    return fmt::format(", from {} to {}", range.minimum, range.maximum);
  }
  std::vector<std::string> bounds;
  if (has_minimum) {
    bounds.push_back(
        fmt::format("{} {}", range.minimum_excluded ? "above" : "at least", range.minimum));
  }
  if (has_maximum) {
    bounds.push_back(
        fmt::format("{} {}", range.maximum_excluded ? "below" : "at most", range.maximum));
  }
  return bounds.empty() ? "" : fmt::format(", {}", fmt::join(bounds, " and "));
}

}  // namespace

void SetValue(const SettingEntry& entry, const RawValue& value, const std::string& source,
              Settings& settings) {
  VisitField(entry, [&]<typename T>(T Settings::*member) {
    using Scalar = typename ScalarOf<T>::Type;
    if (value.list != IsList<T>::value) ThrowUnfit(entry, value, source, "is not valid");
    if constexpr (IsList<T>::value) {
      T list;
      for (const RawScalar& element : value.elements) {
        list.push_back(CheckedScalar<Scalar>(entry, element, value, source));
      }
      settings.*member = std::move(list);
    } else {
      const RawScalar& raw = value.elements.front();
      if constexpr (IsOptional<T>::value) {
        if (raw == RawScalar(entry.empty)) {
          (settings.*member).reset();
          return;
        }
      }
      settings.*member = CheckedScalar<Scalar>(entry, raw, value, source);
    }
  });
}

void SetFromText(const SettingEntry& entry, const std::string& text, const std::string& source,
                 Settings& settings) {
  RawValue value;
  value.text = text;
  VisitField(entry, [&]<typename T>(T Settings::*) {
    using Scalar = typename ScalarOf<T>::Type;
    value.list = IsList<T>::value;
    if (!value.list) {
      value.elements = {ScalarFromText<Scalar>(text)};
      return;
    }
    if (text.empty()) return;
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      value.elements.push_back(ScalarFromText<Scalar>(text.substr(begin, end - begin)));
      begin = end + 1;
    }
  });
  SetValue(entry, value, source, settings);
}

std::string ValueAsToml(const SettingEntry& entry, const Settings& settings) {
  return VisitField(entry, [&]<typename T>(T Settings::*member) -> std::string {
    const T& value = settings.*member;
    if constexpr (IsList<T>::value) {
      std::vector<std::string> elements;
      for (const auto& element : value) elements.push_back(ScalarAsToml(element));
      return fmt::format("[{}]", fmt::join(elements, ", "));
    } else if constexpr (IsOptional<T>::value) {
      return value ? ScalarAsToml(*value) : ScalarAsToml(std::string(entry.empty));
    } else {
      return ScalarAsToml(value);
    }
  });
}

std::string ValueAsText(const SettingEntry& entry, const Settings& settings) {
  return VisitField(entry, [&]<typename T>(T Settings::*member) -> std::string {
    const T& value = settings.*member;
    if constexpr (IsList<T>::value) {
      std::vector<std::string> elements;
      for (const auto& element : value) elements.push_back(ScalarAsText(element));
      return fmt::format("{}", fmt::join(elements, ","));
    } else if constexpr (IsOptional<T>::value) {
      return value ? ScalarAsText(*value) : entry.empty;
    } else {
      return ScalarAsText(value);
    }
  });
}

std::string Expectation(const SettingEntry& entry) {
  if (entry.choices != nullptr) return fmt::format("one of {}", fmt::join(entry.choices(), ", "));
  return VisitField(entry, [&]<typename T>(T Settings::*) {
    std::string text = ScalarExpectation(typename ScalarOf<T>::Type{});
    text += RangeExpectation(entry.range);
    if (IsOptional<T>::value) text += fmt::format(", or {}", entry.empty);
    if (IsList<T>::value) text = "a list, each element " + text;
    return text;
  });
}

std::string Quoted(const std::string& text) {
  constexpr size_t kLongest = 80;
  size_t length = std::min(text.size(), kLongest);
  while (length > 0 && length < text.size() && (text[length] & 0xC0) == 0x80) --length;  // UTF-8
  std::string quoted = "'";
  for (size_t i = 0; i < length; ++i) {
    if (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7F) {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(text[i]));
    } else {
      quoted += text[i];
    }
  }
  return quoted + (length < text.size() ? "…'" : "'");
}

}  // namespace thinwire
