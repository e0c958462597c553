#include "models/logistic_regression.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "datasets/libsvm.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

/// Rows with all kinds of values.
SparseDataset SmallData(int32_t classes) {
  SparseDataset data{.rows = 9, .features = 4, .classes = classes};
  RandomStream random(1, 0);
  for (int32_t row = 0; row < 9; ++row) {
    for (int32_t column = row % 2; column < 4; column += 2) {
      data.columns.push_back(column);
      data.values.push_back(random.Normal());
    }
    data.starts.push_back(std::ssize(data.columns));
    data.labels.push_back(row % classes);
  }
  return data;
}

TEST(LogisticRegression, HasOneTensor) {
  const auto binary = LogisticRegression::TensorSpecs(7, 2);
  ASSERT_EQ(binary.size(), 1u);
  EXPECT_EQ(binary[0].name, "x");
  EXPECT_EQ(binary[0].shape, (std::vector<int64_t>{7}));
  EXPECT_EQ(LogisticRegression::TensorSpecs(7, 3)[0].shape, (std::vector<int64_t>{3, 7}));
}

TEST(LogisticRegression, GradientIsTheLosssSlope) {
  const auto device = MakeCpuDevice(1);
  for (const int32_t classes : {2, 3}) {
    const SparseDataset data = SmallData(classes);
    ParameterArena arena(*device, LogisticRegression::TensorSpecs(4, classes), DataType::kFloat64);
    LogisticRegression model(arena, data.view(), classes, 0.1);
    const View x = arena.value("x");
    RandomStream random(2, 0);
    for (int64_t j = 0; j < x.size; ++j) x.as<double>()[j] = random.Normal();
    RegressionResult sums;
    const double loss = model.LossAndGradient(2, 9, &sums);
    EXPECT_EQ(sums.rows, 7);
    EXPECT_EQ(model.Loss(2, 9), loss);
    const std::vector<int64_t> listed = {2, 3, 4, 5, 6, 7, 8};
    const double* gradient = arena.gradient("x").as<double>();
    const std::vector<double> of_range(gradient, gradient + x.size);
    EXPECT_EQ(model.LossAndGradient(listed), loss);
    for (int64_t j = 0; j < x.size; ++j) {
      EXPECT_EQ(gradient[j], of_range[static_cast<size_t>(j)]);
      // Central differences: an error of h² times the third derivative, of the order of 1, and of
      // the loss's rounding divided by h.
      constexpr double h = 1e-5;
      const double at = x.as<double>()[j];
      x.as<double>()[j] = at + h;
      const double above = model.Loss(2, 9);
      x.as<double>()[j] = at - h;
      const double below = model.Loss(2, 9);
      x.as<double>()[j] = at;
      EXPECT_NEAR(gradient[j], (above - below) / (2 * h), 1e-9) << j;
    }
    // Padding is not touched.
    for (int64_t j = x.size; j < arena.padded_size(); ++j) {
      EXPECT_EQ(arena.gradients().as<double>()[j], 0);
    }
  }
}

TEST(LogisticRegression, OfNoRowsIsTheRegulariser) {
  const auto device = MakeCpuDevice(1);
  const SparseDataset data = SmallData(2);
  ParameterArena arena(*device, LogisticRegression::TensorSpecs(4, 2));
  LogisticRegression model(arena, data.view(), 2, 0.5);
  arena.value("x").as<float>()[1] = 1;
  EXPECT_EQ(model.LossAndGradient(4, 4), 0.25);
  EXPECT_EQ(arena.gradient("x").as<float>()[0], 0.0f);
  EXPECT_EQ(arena.gradient("x").as<float>()[1], 0.25f);
}

/// The start of the papers' problem, from an independent implementation.
class GoldenStart : public ::testing::Test {
 protected:
  static std::string FolderOf(const char* variable) {
    const char* folder = std::getenv(variable);
    return folder == nullptr ? "" : folder;
  }

  static void Expect(const SparseDataset& data, double loss, double norm) {
    const auto device = MakeCpuDevice(2);
    ParameterArena arena(*device, LogisticRegression::TensorSpecs(data.features, data.classes),
                         DataType::kFloat64);
    LogisticRegression model(arena, data.view(), data.classes, 0.1);
    const View gradient = arena.gradient("x");
    constexpr int workers = 20;
    double mean_loss = 0;
    std::vector<double> mean(static_cast<size_t>(gradient.size));
    for (int worker = 0; worker < workers; ++worker) {
      const auto [begin, end] = RowsOfRank(data.rows, worker, workers);
      mean_loss += model.LossAndGradient(begin, end) / workers;
      for (size_t j = 0; j < mean.size(); ++j) mean[j] += gradient.as<double>()[j] / workers;
    }
    double squares = 0;
    for (const double value : mean) squares += value * value;
    EXPECT_NEAR(mean_loss, loss, 1e-13 * loss);
    EXPECT_NEAR(std::sqrt(squares), norm, 1e-13 * norm);
  }
};

TEST_F(GoldenStart, OfRealData) {
  const std::string folder = FolderOf("THINWIRE_TEST_DATA") + "/libsvm";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "there is no folder " << folder;
  Expect(LoadLibsvm(folder, {"phishing"}), std::log(2.0), 0.087618772833296887);
  const SparseDataset a9a = LoadLibsvm(folder, {"a9a"});
  EXPECT_EQ(a9a.features, 123);
  Expect(a9a, std::log(2.0), 0.67377046425739651);
}

TEST_F(GoldenStart, OfDrawnData) {
  const std::string folder = FolderOf("THINWIRE_TEST_ORACLE");
  if (!std::filesystem::exists(folder + "/dense100.xz")) {
    GTEST_SKIP() << "THINWIRE_TEST_ORACLE does not name the folder of golden values";
  }
  Expect(LoadLibsvm(folder, {"dense100"}), std::log(2.0), 0.15189739521898082);
}

}  // namespace
}  // namespace thinwire
