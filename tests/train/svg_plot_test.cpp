#include "train/svg_plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <sstream>
#include <string_view>

namespace thinwire {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Checks that `text` has no "<", and "&" only as the begin of an entity.
void ExpectEscaped(std::string_view text) {
  EXPECT_EQ(text.find('<'), text.npos) << text;
  for (size_t at = text.find('&'); at != text.npos; at = text.find('&', at + 1)) {
    const std::string_view entity = text.substr(at, text.find(';', at) - at + 1);
    const std::vector<std::string_view> known = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    EXPECT_EQ(std::count(known.begin(), known.end(), entity), 1) << entity;
  }
}

/// A tag's attributes, by name. Checks their form.
std::map<std::string, std::string> Attributes(std::string_view tag) {
  std::map<std::string, std::string> attributes;
  for (size_t at = tag.find(' '); at != tag.npos && at + 1 < tag.size();) {
    const size_t name_end = tag.find("=\"", at), value_end = tag.find('"', name_end + 2);
    if (name_end == tag.npos || value_end == tag.npos) {
      ADD_FAILURE() << "odd attributes: " << tag;
      break;
    }
    const std::string_view value = tag.substr(name_end + 2, value_end - name_end - 2);
    ExpectEscaped(value);
    const std::string name(tag.substr(at + 1, name_end - at - 1));
    EXPECT_TRUE(attributes.emplace(name, value).second) << "twice: " << name;
    at = tag.find(' ', value_end);
  }
  return attributes;
}

using Visitor = std::function<void(const std::string& name,
                                   const std::map<std::string, std::string>& attributes)>;

/// Calls `visit` for each element, and checks that the whole is well-formed.
void VisitElements(std::string_view xml, const Visitor& visit) {
  const size_t declaration_end = xml.find("?>");
  ASSERT_EQ(xml.find("<?xml "), 0u);
  xml.remove_prefix(declaration_end + 2);
  std::vector<std::string> open;
  int roots = 0;
  for (size_t begin = xml.find('<'); begin != xml.npos; begin = xml.find('<')) {
    ExpectEscaped(xml.substr(0, begin));
    const size_t end = xml.find('>', begin);
    ASSERT_NE(end, xml.npos);
    std::string_view tag = xml.substr(begin + 1, end - begin - 1);
    xml.remove_prefix(end + 1);
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(tag.substr(1), open.back());
      open.pop_back();
      continue;
    }
    const bool empty = tag.ends_with('/');
    if (empty) tag.remove_suffix(1);
    const std::string name(tag.substr(0, tag.find(' ')));
    visit(name, Attributes(tag));
    roots += open.empty();
    if (!empty) open.push_back(name);
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(roots, 1);
  EXPECT_EQ(xml, "\n");
}

void ExpectWellFormed(const std::string& xml) {
  VisitElements(xml, [](const auto&, const auto&) {});
}

struct Frame {
  double left, top, width, height;
};

/// The rectangles around what is plotted.
std::vector<Frame> Frames(const std::string& svg) {
  std::vector<Frame> frames;
  VisitElements(svg, [&](const std::string& name, const auto& attributes) {
    if (name != "rect" || attributes.count("x") == 0) return;
    const auto number = [&](const char* key) { return std::stod(attributes.at(key)); };
    frames.push_back({number("x"), number("y"), number("width"), number("height")});
  });
  return frames;
}

/// A series' line, or a part of it.
struct Line {
  std::string colour;
  std::vector<std::pair<double, double>> points;
};

std::vector<Line> Lines(const std::string& svg) {
  std::vector<Line> lines;
  VisitElements(svg, [&](const std::string& name, const auto& attributes) {
    if (name != "path" || attributes.count("stroke-linejoin") == 0) return;
    lines.push_back({attributes.at("stroke"), {}});
    std::string path = attributes.at("d");
    for (char& c : path) c = c == 'M' || c == 'L' ? ' ' : c;
    std::istringstream numbers(path);
    for (double x, y; numbers >> x >> y;) lines.back().points.emplace_back(x, y);
  });
  return lines;
}

/// `x` and `y` from 0 at the axes' begin to 1 at their end.
void ExpectPoint(const std::pair<double, double>& point, const Frame& frame, double x, double y) {
  EXPECT_NEAR(point.first, frame.left + x * frame.width, 0.006);  // two decimals
  EXPECT_NEAR(point.second, frame.top + (1 - y) * frame.height, 0.006);
}

TEST(SvgPlot, PointsLieWhereTheyBelong) {
  const std::string svg = DrawSvg(
      {.title = "Two panels",
       .panels = {{.x_title = "step",
                   .y_title = "loss",
                   .series = {{"a", {0, 5, 10}, {0, 1, 0.25}}, {"b", {0, 10}, {0.5, 0.5}}}},
                  {.x_title = "bits",
                   .y_title = "norm",
                   .log_x = true,
                   .log_y = true,
                   .series = {{"a", {1, 10, 100}, {1, 1e-2, 1e-4}}, {"b", {10}, {1e-1}}}}}});
  ExpectWellFormed(svg);
  const auto frames = Frames(svg);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].top, frames[1].top);
  EXPECT_GT(frames[1].left, frames[0].left + frames[0].width);
  const auto lines = Lines(svg);
  ASSERT_EQ(lines.size(), 4u);
  ASSERT_EQ(lines[0].points.size(), 3u);
  ExpectPoint(lines[0].points[0], frames[0], 0, 0);
  ExpectPoint(lines[0].points[1], frames[0], 0.5, 1);
  ExpectPoint(lines[0].points[2], frames[0], 1, 0.25);
  ExpectPoint(lines[1].points[1], frames[0], 1, 0.5);
  // A logarithmic y axis reaches 4 % further at each end.
  const auto place = [](double logarithm) { return (logarithm + 4 + 0.16) / 4.32; };
  ASSERT_EQ(lines[2].points.size(), 3u);
  ExpectPoint(lines[2].points[0], frames[1], 0, place(0));
  ExpectPoint(lines[2].points[1], frames[1], 0.5, place(-2));
  ExpectPoint(lines[2].points[2], frames[1], 1, place(-4));
  ExpectPoint(lines[3].points[0], frames[1], 0.5, place(-1));
  // A series has one colour everywhere, and another one than its neighbour.
  EXPECT_EQ(lines[0].colour, lines[2].colour);
  EXPECT_EQ(lines[1].colour, lines[3].colour);
  EXPECT_NE(lines[0].colour, lines[1].colour);
  for (const char* text : {">Two panels<", ">step<", ">norm<", ">a</text>", ">b</text>"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
}

TEST(SvgPlot, WhatCannotBeShownInterruptsALine) {
  const PlotSeries series{"a", {1, 2, 3, 4, 5, 6, 7}, {1, 10, kNaN, 100, 0, -1, 1000}};
  PlotPanel panel{.x_title = "x", .y_title = "y", .log_y = true, .series = {series}};
  const std::string logarithmic = DrawSvg({.title = "", .panels = {panel}});
  ExpectWellFormed(logarithmic);
  EXPECT_EQ(logarithmic.find("nan"), std::string::npos);
  EXPECT_EQ(logarithmic.find("inf"), std::string::npos);
  const auto lines = Lines(logarithmic);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].points.size(), 2u);
  EXPECT_EQ(lines[1].points.size(), 1u);
  EXPECT_EQ(lines[2].points.size(), 1u);
  panel.log_y = false;
  const auto linear = Lines(DrawSvg({.title = "", .panels = {panel}}));
  ASSERT_EQ(linear.size(), 2u);
  EXPECT_EQ(linear[1].points.size(), 4u);
}

TEST(SvgPlot, NothingToDraw) {
  ExpectWellFormed(DrawSvg({}));
  for (const bool logarithmic : {false, true}) {
    for (const std::vector<PlotSeries>& series :
         {std::vector<PlotSeries>{}, {{"empty", {}, {}}}, {{"absent", {1, 2}, {kNaN, kNaN}}}}) {
      const std::string svg = DrawSvg({.title = "",
                                       .panels = {{.x_title = "x",
                                                   .y_title = "y",
                                                   .log_x = logarithmic,
                                                   .log_y = logarithmic,
                                                   .series = series}}});
      ExpectWellFormed(svg);
      EXPECT_EQ(Frames(svg).size(), 1u);
      EXPECT_TRUE(Lines(svg).empty());
    }
  }
}

TEST(SvgPlot, TextIsEscaped) {
  const auto draw = [](const std::string& label) {
    return DrawSvg(
        {.title = "", .panels = {{.x_title = "x", .y_title = "y", .series = {{label, {1}, {1}}}}}});
  };
  const std::string svg = draw("<b a=\"1\">'α' & ]]></b>");
  ExpectWellFormed(svg);
  EXPECT_NE(svg.find("&lt;b a=&quot;1&quot;&gt;&apos;α&apos; &amp; ]]&gt;&lt;/b&gt;"),
            std::string::npos);
  // What XML or UTF-8 does not know becomes U+FFFD, a byte at a time: a control character, a lone
  // follower, a torn character, an overlong one, a surrogate, one beyond U+10FFFF, U+FFFE.
  const std::string replaced = "\xef\xbf\xbd";
  for (const auto& [text, count] : std::vector<std::pair<std::string, int>>{{"\x01", 1},
                                                                            {"\x80", 1},
                                                                            {"\xe2\x88", 2},
                                                                            {"\xc0\xaf", 2},
                                                                            {"\xe0\x80\xaf", 3},
                                                                            {"\xed\xa0\x80", 3},
                                                                            {"\xf4\x90\x80\x80", 4},
                                                                            {"\xef\xbf\xbe", 3}}) {
    std::string expected = "(";
    for (int i = 0; i < count; ++i) expected += replaced;
    EXPECT_NE(draw("(" + text + ")").find(expected + ")"), std::string::npos) << count;
  }
  for (const std::string text : {"±", "∇f", "𝔼", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbd"}) {
    EXPECT_NE(draw("(" + text + ")").find("(" + text + ")"), std::string::npos) << text;
  }
}

TEST(SvgPlot, ManyPointsAreThinnedToTheirExtremes) {
  PlotSeries series{"a", {}, {}};
  for (int i = 0; i < 100'000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 77'777 ? 1000 : i == 33'333 ? -1000 : i % 100);
  }
  const std::string svg =
      DrawSvg({.title = "", .panels = {{.x_title = "x", .y_title = "y", .series = {series}}}});
  const auto lines = Lines(svg);
  ASSERT_EQ(lines.size(), 1u);
  const auto& points = lines[0].points;
  EXPECT_LT(points.size(), 3000u);
  const Frame frame = Frames(svg)[0];
  ExpectPoint(points.front(), frame, 0, 0.5);
  EXPECT_NEAR(points.back().first, frame.left + frame.width, 0.006);
  const auto [highest, lowest] = std::minmax_element(
      points.begin(), points.end(), [](auto a, auto b) { return a.second < b.second; });
  ExpectPoint(*highest, frame, 0.77777, 1);
  ExpectPoint(*lowest, frame, 0.33333, 0);
  for (size_t i = 1; i < points.size(); ++i) ASSERT_GE(points[i].first, points[i - 1].first);
}

TEST(SvgPlot, PanelsStandInRows) {
  const Plot plot{.title = "", .panels = std::vector<PlotPanel>(5), .columns = 2};
  const std::string svg = DrawSvg(plot);
  ExpectWellFormed(svg);
  const auto frames = Frames(svg);
  ASSERT_EQ(frames.size(), 5u);
  for (size_t i = 2; i < 5; ++i) {
    EXPECT_EQ(frames[i].left, frames[i - 2].left);
    EXPECT_GT(frames[i].top, frames[i - 2].top + frames[i - 2].height);
  }
}

TEST(SvgPlot, LegendsOfManySeriesWrap) {
  PlotPanel panel{.x_title = "x", .y_title = "y", .series = {}};
  for (int i = 0; i < 30; ++i) {
    panel.series.push_back({"a label of some length " + std::to_string(i), {0, 1}, {0, 1.0 * i}});
  }
  const std::string svg = DrawSvg({.title = "", .panels = {panel}});
  ExpectWellFormed(svg);
  EXPECT_GT(Frames(svg)[0].top, 150);
  // Beyond the colours, dashes tell lines apart.
  EXPECT_NE(svg.find("stroke-dasharray"), std::string::npos);
}

}  // namespace
}  // namespace thinwire
