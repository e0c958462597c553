// Line charts as SVG 1.1, for papers and reports: panels in rows under one legend.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace thinwire {

/// A line through (x[i], y[i]) in order; points that the axes cannot show (NaN; not positive on a
/// logarithmic axis) interrupt it.
struct PlotSeries {
  std::string label;
  std::vector<double> x, y;  // of equal length
};

struct PlotPanel {
  std::string x_title, y_title;
  bool log_x = false, log_y = false;
  std::vector<PlotSeries> series;  // of one place in the list, in all panels: one colour
};

struct Plot {
  std::string title;  // may be empty
  std::vector<PlotPanel> panels;
  size_t columns = 0;  // panels in a row; 0: all
};

/// The drawing as a whole file in UTF-8. The legend names the first panel's series. Colours are
/// told apart by the colour-blind, and in grey by their markers. Points that lie on each other in
/// print are left out, but never the extreme ones.
std::string DrawSvg(const Plot& plot);

}  // namespace thinwire
