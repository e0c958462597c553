#include "kernels/regression.h"

#include <fmt/format.h>

#include <string>

#include "kernels/error.h"

namespace thinwire {

void CheckShape(const RegressionShape& shape) {
  const auto require = [](bool condition, const std::string& problem) {
    if (!condition) {
      throw Error("cannot plan a logistic regression: " + problem, "check the data set");
    }
  };
  const SparseRows& data = shape.data;
  require(shape.classes >= 2, fmt::format("it has {} classes", shape.classes));
  require(shape.type == DataType::kFloat32 || shape.type == DataType::kFloat64,
          "its weights are neither float32 nor float64");
  require(data.rows >= 0 && data.features >= 0 && std::ssize(data.starts) == data.rows + 1 &&
              std::ssize(data.labels) == data.rows && data.columns.size() == data.values.size() &&
              data.starts.front() == 0 && data.starts.back() == std::ssize(data.columns),
          "its arrays do not fit together");
  for (int64_t row = 0; row < data.rows; ++row) {
    const auto at = static_cast<size_t>(row);
    const int64_t label = data.labels[at];
    require(label >= 0 && label < shape.classes,
            fmt::format("row {} has label {} of {} classes", row, label, shape.classes));
    const int64_t begin = data.starts[at], end = data.starts[at + 1];
    require(begin <= end && end <= std::ssize(data.columns), "its arrays do not fit together");
    for (int64_t i = begin, last = -1; i < end; ++i) {
      const int64_t column = data.columns[static_cast<size_t>(i)];
      require(column > last && column < data.features,
              fmt::format("row {} has column {} behind column {} of {} features", row, column, last,
                          data.features));
      last = column;
    }
  }
}

}  // namespace thinwire
