#include "train/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <string_view>

#include "train/plot_axis.h"

namespace thinwire {
namespace {

// All lengths are in pixels.
constexpr double kPanelWidth = 340, kPanelHeight = 240;  // between the axes
constexpr double kLeft = 66, kRight = 18, kBottom = 48;  // around each panel
constexpr double kTopMargin = 14, kTitleHeight = 26, kLegendLine = 20;
constexpr double kFontSize = 13, kTickFontSize = 11.5;
constexpr double kLegendSample = 30, kLegendGap = 22;

/// Okabe and Ito's colours, without yellow, which is too light for lines.
constexpr std::array<const char*, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#e69f00", "#56b4e9", "#000000"};
constexpr std::array<const char*, 4> kDashes = {"", "6 3", "2 2", "8 3 2 3"};

struct Point {
  double x = 0, y = 0;
};

/// Text as XML has it: its own characters escaped, what XML 1.0 or UTF-8 does not know replaced.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // Bytes of this character, were it whole: RFC 3629.
    const size_t length = byte < 0x80                    ? 1
                          : byte >= 0xc2 && byte <= 0xdf ? 2
                          : byte >= 0xe0 && byte <= 0xef ? 3
                          : byte >= 0xf0 && byte <= 0xf4 ? 4
                                                         : 0;
    const auto follower = [&](size_t k) { return static_cast<unsigned char>(text[i + k]); };
    bool whole = length > 0 && i + length <= text.size();
    for (size_t k = 1; whole && k < length; ++k) whole = (follower(k) & 0xc0) == 0x80;
    if (whole && length > 2) {
      const unsigned char second = follower(1);
      whole = !(byte == 0xe0 && second < 0xa0) && !(byte == 0xed && second > 0x9f) &&
              !(byte == 0xf0 && second < 0x90) && !(byte == 0xf4 && second > 0x8f) &&
              !(byte == 0xef && second == 0xbf && follower(2) >= 0xbe);
    }
    if (!whole || (byte < ' ' && byte != '\t' && byte != '\n') || byte == 0x7f) {
      escaped += "\xef\xbf\xbd";  // U+FFFD
      ++i;
      continue;
    }
    switch (text[i]) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&apos;";
        break;
      default:
        escaped += text.substr(i, length);
    }
    i += length;
  }
  return escaped;
}

/// About as wide as the text will be in the legend.
double WidthOf(std::string_view text) {
  const auto characters = std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  });
  return 0.56 * kFontSize * static_cast<double>(characters);
}

std::string Superscript(const std::string& exponent) {
  if (exponent.empty()) return "";
  return fmt::format(R"(<tspan dy="-4.5" font-size="8.5">{}</tspan>)", exponent);
}

/// How series number `index` looks.
std::string Stroke(size_t index) {
  const char* dash = kDashes[index / kColours.size() % kDashes.size()];
  return fmt::format(R"(stroke="{}"{})", kColours[index % kColours.size()],
                     *dash == '\0' ? "" : fmt::format(R"( stroke-dasharray="{}")", dash));
}

std::string Marker(size_t index, Point at) {
  const char* colour = kColours[index % kColours.size()];
  const auto shape = [&](const char* path) {
    return fmt::format(R"svg(<path transform="translate({:.2f} {:.2f})" d="{}" fill="{}"/>)svg",
                       at.x, at.y, path, colour);
  };
  switch (index % 5) {
    case 0:
      return fmt::format(R"(<circle cx="{:.2f}" cy="{:.2f}" r="3" fill="{}"/>)", at.x, at.y,
                         colour);
    case 1:
      return shape("M-2.8-2.8h5.6v5.6h-5.6z");
    case 2:
      return shape("M0-3.6L3.4 2.6H-3.4z");
    case 3:
      return shape("M0-3.9L3.9 0L0 3.9L-3.9 0z");
    default:
      return shape("M0 3.6L3.4-2.6H-3.4z");
  }
}

/// Of each run of points in the same half pixel of x: the first, the lowest, the highest and the
/// last.
std::vector<Point> Thinned(const std::vector<Point>& points) {
  std::vector<Point> kept;
  const auto column = [&](size_t i) { return std::floor(2 * points[i].x); };
  for (size_t begin = 0; begin < points.size();) {
    size_t end = begin + 1, lowest = begin, highest = begin;
    for (; end < points.size() && column(end) == column(begin); ++end) {
      if (points[end].y < points[lowest].y) lowest = end;
      if (points[end].y > points[highest].y) highest = end;
    }
    std::array<size_t, 4> order = {begin, lowest, highest, end - 1};
    std::sort(order.begin(), order.end());
    const auto* last = std::unique(order.begin(), order.end());
    for (const size_t* i = order.begin(); i != last; ++i) kept.push_back(points[*i]);
    begin = end;
  }
  return kept;
}

/// A series in a panel: its line and a few markers.
std::string DrawSeries(size_t index, size_t count, const std::vector<std::vector<Point>>& lines) {
  std::string svg;
  double first = 0, last = 0;
  bool any = false;
  for (const std::vector<Point>& line : lines) {
    const std::vector<Point> points = Thinned(line);
    // A point alone is a line of no length, which round ends make visible.
    std::string path = fmt::format("M{:.2f} {:.2f}", points[0].x, points[0].y);
    if (points.size() == 1) path += "h0";
    for (size_t i = 1; i < points.size(); ++i) {
      path += fmt::format("L{:.2f} {:.2f}", points[i].x, points[i].y);
    }
    svg += fmt::format(R"(<path d="{}" fill="none" {} stroke-width="1.6" stroke-linejoin="round" )"
                       "stroke-linecap=\"round\"/>\n",
                       path, Stroke(index));
    for (const Point& point : line) {
      first = any ? std::min(first, point.x) : point.x;
      last = any ? std::max(last, point.x) : point.x;
      any = true;
    }
  }
  // Markers lie between those of the other series.
  constexpr double kDistance = 60;
  double next = first + kDistance * (static_cast<double>(index) + 0.5) / static_cast<double>(count);
  for (const std::vector<Point>& line : lines) {
    for (const Point& point : line) {
      if (point.x < next) continue;
      svg += Marker(index, point) + "\n";
      next += kDistance * (1 + std::floor((point.x - next) / kDistance));
    }
  }
  return svg;
}

/// One panel with its axes; (left, top) is the corner of the plotted area.
class PanelDrawing {
 public:
  PanelDrawing(const PlotPanel& panel, double left, double top)
      : panel_(panel),
        left_(left),
        top_(top),
        x_(Shown(panel, true), panel.log_x, /*snug=*/true),
        y_(Shown(panel, false), panel.log_y, /*snug=*/false) {}

  std::string Draw() const {
    std::string svg = DrawAxes();
    for (size_t i = 0; i < panel_.series.size(); ++i) {
      svg += DrawSeries(i, panel_.series.size(), Lines(panel_.series[i]));
    }
    return svg;
  }

 private:
  /// One coordinate of the points whose coordinates can both be shown.
  static std::vector<double> Shown(const PlotPanel& panel, bool x) {
    const PlotAxis any_x({}, panel.log_x, true), any_y({}, panel.log_y, true);
    std::vector<double> values;
    for (const PlotSeries& series : panel.series) {
      assert(series.x.size() == series.y.size());
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (!any_x.Shows(series.x[i]) || !any_y.Shows(series.y[i])) continue;
        values.push_back(x ? series.x[i] : series.y[i]);
      }
    }
    return values;
  }

  double PlaceX(double value) const { return left_ + kPanelWidth * x_.Position(value); }
  double PlaceY(double value) const { return top_ + kPanelHeight * (1 - y_.Position(value)); }

  std::vector<std::vector<Point>> Lines(const PlotSeries& series) const {
    std::vector<std::vector<Point>> lines;
    bool begun = false;
    for (size_t i = 0; i < series.x.size(); ++i) {
      const bool shown = x_.Shows(series.x[i]) && y_.Shows(series.y[i]);
      if (shown && !begun) lines.emplace_back();
      if (shown) lines.back().push_back({PlaceX(series.x[i]), PlaceY(series.y[i])});
      begun = shown;
    }
    return lines;
  }

  std::string DrawAxes() const {
    const double right = left_ + kPanelWidth, bottom = top_ + kPanelHeight;
    std::string grid, marks, labels;
    const auto label = [&](double x, double y, const char* anchor, const TickLabel& text) {
      labels += fmt::format(R"(<text x="{:.2f}" y="{:.2f}" text-anchor="{}">{}{}</text>)"
                            "\n",
                            x, y, anchor, Escaped(text.base), Superscript(text.exponent));
    };
    for (const Tick& tick : x_.ticks()) {
      const double at = PlaceX(tick.value);
      if (tick.labelled) grid += fmt::format("M{:.2f} {:.2f}V{:.2f}", at, top_, bottom);
      marks += fmt::format("M{:.2f} {:.2f}v{}", at, bottom, tick.labelled ? 5 : 3);
      if (tick.labelled) label(at, bottom + 18, "middle", tick.label);
    }
    for (const Tick& tick : y_.ticks()) {
      const double at = PlaceY(tick.value);
      if (tick.labelled) grid += fmt::format("M{:.2f} {:.2f}H{:.2f}", left_, at, right);
      marks += fmt::format("M{:.2f} {:.2f}h{}", left_, at, tick.labelled ? -5 : -3);
      if (tick.labelled) label(left_ - 8, at + 4, "end", tick.label);
    }
    std::string svg = fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"#e0e0e0\"/>\n", grid);
    svg += fmt::format(R"(<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#333"/>)"
                       "\n",
                       left_, top_, kPanelWidth, kPanelHeight);
    svg += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"#333\"/>\n", marks);
    svg += fmt::format("<g font-size=\"{}\" fill=\"#333\">\n{}</g>\n", kTickFontSize, labels);
    const double middle_x = left_ + kPanelWidth / 2, middle_y = top_ + kPanelHeight / 2;
    svg += fmt::format(R"(<text x="{:.2f}" y="{:.2f}" text-anchor="middle">{}</text>)"
                       "\n",
                       middle_x, bottom + 38, AxisTitle(panel_.x_title, x_));
    svg += fmt::format(
        R"svg(<text transform="translate({:.2f} {:.2f}) rotate(-90)" text-anchor="middle">)svg"
        "{}</text>"
        "\n",
        left_ - 50, middle_y, AxisTitle(panel_.y_title, y_));
    return svg;
  }

  static std::string AxisTitle(const std::string& title, const PlotAxis& axis) {
    if (axis.exponent() == 0) return Escaped(title);
    const std::string sign = axis.exponent() < 0 ? "−" : "";
    return Escaped(title) + " (×10" +
           Superscript(sign + fmt::format("{}", std::abs(axis.exponent()))) +
           R"(<tspan dy="4.5">)</tspan>)";
  }

  const PlotPanel& panel_;
  double left_, top_;
  PlotAxis x_, y_;
};

/// The legend's lines, centred within `width`, from `top` on; `height` grows by theirs.
std::string DrawLegend(const std::vector<PlotSeries>& series, double width, double top,
                       double& height) {
  std::string svg;
  for (size_t begin = 0, end = 0; begin < series.size(); begin = end) {
    double used = 0;
    for (; end < series.size(); ++end) {
      const double more = kLegendSample + WidthOf(series[end].label) + kLegendGap;
      if (end > begin && used + more - kLegendGap > width - kRight) break;
      used += more;
    }
    double x = std::max(0.0, (width - used + kLegendGap) / 2);
    const double y = top + height + kLegendLine / 2;
    for (size_t i = begin; i < end; ++i) {
      svg += fmt::format(R"(<path d="M{:.2f} {:.2f}h24" {} stroke-width="1.6"/>)", x, y, Stroke(i));
      svg += Marker(i, {x + 12, y});
      svg += fmt::format("<text x=\"{:.2f}\" y=\"{:.2f}\">{}</text>\n", x + kLegendSample, y + 4.5,
                         Escaped(series[i].label));
      x += kLegendSample + WidthOf(series[i].label) + kLegendGap;
    }
    height += kLegendLine;
  }
  return svg;
}

}  // namespace

std::string DrawSvg(const Plot& plot) {
  const double panel_width = kLeft + kPanelWidth + kRight;
  const double row_height = kPanelHeight + kBottom + kTopMargin;
  const size_t panels = std::max<size_t>(1, plot.panels.size());
  const size_t columns = plot.columns == 0 ? panels : plot.columns;
  const size_t rows = (panels + columns - 1) / columns;
  const double width = panel_width * static_cast<double>(columns);
  std::string body;
  double top = kTopMargin;
  if (!plot.title.empty()) {
    body +=
        fmt::format(R"(<text x="{:.2f}" y="{:.2f}" text-anchor="middle" font-size="15">{}</text>)"
                    "\n",
                    width / 2, top + 10, Escaped(plot.title));
    top += kTitleHeight;
  }
  double legend_height = 0;
  if (!plot.panels.empty()) body += DrawLegend(plot.panels[0].series, width, top, legend_height);
  top += legend_height + 8;
  for (size_t i = 0; i < plot.panels.size(); ++i) {
    const double left = panel_width * static_cast<double>(i % columns) + kLeft;
    body += PanelDrawing(plot.panels[i], left, top + row_height * static_cast<double>(i / columns))
                .Draw();
  }
  const double height = top + row_height * static_cast<double>(rows) - kTopMargin;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
      "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"{2}\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{3}</svg>\n",
      width, height, kFontSize, body);
}

}  // namespace thinwire
