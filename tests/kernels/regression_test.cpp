// Logistic regression against the plain loops.
#include "tests/reference/regression.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/error.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

template <typename Backend>
class RegressionTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(RegressionTest, Backends);

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Rows that own their memory.
struct OwnedRows {
  int64_t features = 0;
  std::vector<int64_t> starts = {0};
  std::vector<int32_t> columns = {}, labels = {};
  std::vector<double> values = {};

  SparseRows view() const {
    return {std::ssize(labels), features, starts, columns, values, labels};
  }
  void Add(int32_t label, const std::vector<std::pair<int32_t, double>>& row) {
    for (const auto& [column, value] : row) {
      columns.push_back(column);
      values.push_back(value);
    }
    starts.push_back(std::ssize(columns));
    labels.push_back(label);
  }
};

/// Rows of at most `longest` values from [-1, 1), some of them empty.
OwnedRows RandomRows(int64_t rows, int64_t features, int64_t classes, int64_t longest) {
  OwnedRows data{.features = features};
  RandomStream random(3, static_cast<uint64_t>(rows * features));
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<std::pair<int32_t, double>> entries;
    const int64_t length = random.Below(static_cast<uint32_t>(longest + 1));
    int64_t column = random.Below(3);
    for (int64_t i = 0; i < length && column < features; ++i) {
      entries.emplace_back(static_cast<int32_t>(column), 2 * double{random.Uniform()} - 1);
      column += 1 + random.Below(1 + static_cast<uint32_t>(features / longest));
    }
    data.Add(static_cast<int32_t>(random.Below(static_cast<uint32_t>(classes))), entries);
  }
  return data;
}

template <typename T>
std::vector<T> RandomWeights(int64_t size) {
  RandomStream random(4, 0);
  std::vector<T> weights(static_cast<size_t>(size));
  for (T& weight : weights) weight = T{2} * static_cast<T>(random.Uniform()) - T{1};
  return weights;
}

std::vector<int64_t> Consecutive(int64_t begin, int64_t end) {
  std::vector<int64_t> rows(static_cast<size_t>(end - begin));
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

template <typename T>
struct Outcome {
  RegressionResult result;
  std::vector<T> gradient;
};

/// `rows...` is one list of rows, or a begin and an end.
template <typename T, typename... Rows>
Outcome<T> Evaluate(Device& device, RegressionShape shape, const std::vector<T>& weights,
                    const Rows&... rows) {
  shape.type = DataTypeOf<T>();
  const auto regression = device.MakeRegression(shape);
  TestBuffer<T> x(device, weights, 1);
  TestBuffer<T> gradient(device, std::vector<T>(weights.size(), T{7}), 3);
  const RegressionResult result = regression->Evaluate(rows..., x, gradient);
  const RegressionResult alone = regression->Evaluate(rows..., x, {});
  EXPECT_TRUE(alone.loss_sum == result.loss_sum || std::isnan(result.loss_sum));
  EXPECT_EQ(alone.correct, result.correct);
  return {result, gradient.Read()};
}

template <typename T>
void ExpectAgreement(Device& device, const OwnedRows& data, int64_t classes, int64_t longest,
                     const std::vector<int64_t>& rows, bool consecutive) {
  const RegressionShape shape{.data = data.view(), .classes = classes};
  const std::vector<T> weights = RandomWeights<T>(shape.weights());
  const auto actual = consecutive
                          ? Evaluate(device, shape, weights, int64_t{0}, std::ssize(rows))
                          : Evaluate(device, shape, weights, std::span<const int64_t>(rows));
  const auto expected =
      reference::EvaluateRegression(shape, rows, {weights.begin(), weights.end()});
  EXPECT_EQ(actual.result.rows, expected.result.rows);
  EXPECT_EQ(actual.result.correct, expected.result.correct);
  // Values and weights are at most 1, so a score of `longest` products is wrong by at most
  // eps * longest², and so are, by their slope of at most 1, the loss and the row's factor; a
  // handful of roundings more, and the sum over the rows, whose errors add up like a random walk.
  const auto n = static_cast<double>(rows.size()), l = static_cast<double>(longest);
  const double eps = std::numeric_limits<double>::epsilon();
  const double tolerance = eps * (l * l + 8 + 4 * std::sqrt(n));
  EXPECT_NEAR(actual.result.loss_sum, expected.result.loss_sum, n * (l + 1) * tolerance);
  for (size_t j = 0; j < weights.size(); ++j) {
    const double wanted = expected.gradient[j];
    const double rounding = std::is_same_v<T, float> ? 0x1p-24 * std::abs(wanted) : 0;
    ASSERT_NEAR(static_cast<double>(actual.gradient[j]), wanted, tolerance + rounding) << j;
  }
}

TYPED_TEST(RegressionTest, AgreesWithTheReference) {
  for (const int64_t rows : {0, 1, 31, 32, 33, 127, 129, 5003}) {
    for (const int64_t features : {1, 31, 33, 128, 1009}) {
      for (const int64_t classes : {2, 3, 33}) {
        if (rows > 1000 && features * classes > 1000) continue;  // plain loops are slow
        SCOPED_TRACE(::testing::Message() << rows << " x " << features << ", " << classes);
        constexpr int64_t longest = 12;
        const OwnedRows data = RandomRows(rows, features, classes, longest);
        const auto all = Consecutive(0, rows);
        ExpectAgreement<double>(*this->device_, data, classes, longest, all, true);
        ExpectAgreement<float>(*this->device_, data, classes, longest, all, true);
        std::vector<int64_t> some;  // in any order, some twice
        for (int64_t i = 0; i < std::min<int64_t>(rows, 100); ++i) some.push_back(i * i % rows);
        ExpectAgreement<double>(*this->device_, data, classes, longest, some, false);
        ExpectAgreement<float>(*this->device_, data, classes, longest, some, false);
      }
    }
  }
}

TYPED_TEST(RegressionTest, AgreesOnAMillionRows) {
  const int64_t rows = (1 << 20) + 7;
  const OwnedRows data = RandomRows(rows, 5, 3, 2);
  ExpectAgreement<double>(*this->device_, data, 3, 2, Consecutive(0, rows), true);
  OwnedRows two = data;
  for (int32_t& label : two.labels) label = label > 0;
  ExpectAgreement<float>(*this->device_, two, 2, 2, Consecutive(0, rows), true);
}

TYPED_TEST(RegressionTest, IsExactAtZero) {
  // At weights of 0 every row's factor is 1/2, so that all sums are exact. Feature 3 is absent.
  OwnedRows data{.features = 5};
  std::vector<double> sums(5);
  for (int32_t i = 0; i < 1024; ++i) {
    const int32_t label = i % 3 == 0;
    const double first = i % 7 - 3, second = i % 11;
    data.Add(label, {{i % 3, first}, {4, second}});
    sums[static_cast<size_t>(i % 3)] += (label == 1 ? -0.5 : 0.5) * first;
    sums[4] += (label == 1 ? -0.5 : 0.5) * second;
  }
  const auto out = Evaluate<double>(*this->device_, {.data = data.view()}, std::vector<double>(5),
                                    int64_t{0}, int64_t{1024});
  for (size_t j = 0; j < 5; ++j) EXPECT_EQ(out.gradient[j], sums[j] / 1024) << j;
  EXPECT_FALSE(std::signbit(out.gradient[3]));
  // Far fewer than 256 additions follow one another, each off by half an ulp of the whole.
  EXPECT_NEAR(out.result.loss_sum, 1024 * std::log(2.0), 256 * 0x1p-53 * 710);
  EXPECT_EQ(out.result.correct, std::count(data.labels.begin(), data.labels.end(), 0));
}

TYPED_TEST(RegressionTest, LargeMarginsKeepTheirDigits) {
  OwnedRows data{.features = 1};
  for (const int32_t label : {1, 0}) {
    for (const double value : {40.0, 700.0, 1e6}) data.Add(label, {{0, value}});
  }
  for (const int64_t classes : {2, 3}) {
    // In three classes, the third is out of reach.
    const std::vector<double> weights =
        classes == 2 ? std::vector<double>{1} : std::vector<double>{0, 1, -1e9};
    const RegressionShape shape{.data = data.view(), .classes = classes};
    const size_t own = classes == 2 ? 0 : 1;
    const std::vector<double> margins = {40, 700, 1e6, -40, -700, -1e6};
    for (size_t i = 0; i < margins.size(); ++i) {
      const std::vector<int64_t> row = {static_cast<int64_t>(i)};
      const auto out = Evaluate(*this->device_, shape, weights, std::span<const int64_t>(row));
      const double m = margins[i], e = std::exp(-std::abs(m));
      const double loss = std::log1p(e) + (m < 0 ? -m : 0);
      EXPECT_NEAR(out.result.loss_sum, loss, 4e-16 * loss) << m;
      const double factor = m > 0 ? -e / (1 + e) : 1 / (1 + e);
      const double expected = factor * std::abs(m);
      EXPECT_NEAR(out.gradient[own], expected, 1e-15 * std::abs(expected)) << m;
      EXPECT_EQ(out.result.correct, m > 0);
    }
  }
}

TYPED_TEST(RegressionTest, ListedRowsAreTheSameAsARange) {
  const OwnedRows data = RandomRows(30'000, 50, 2, 10);
  const RegressionShape shape{.data = data.view()};
  const auto weights = RandomWeights<double>(50);
  const auto listed = Consecutive(100, 29'000);
  const auto a = Evaluate(*this->device_, shape, weights, std::span<const int64_t>(listed));
  const auto b = Evaluate(*this->device_, shape, weights, int64_t{100}, int64_t{29'000});
  EXPECT_EQ(a.gradient, b.gradient);
  EXPECT_EQ(a.result.loss_sum, b.result.loss_sum);
  // More rows than there are.
  std::vector<int64_t> twice = Consecutive(0, 30'000);
  twice.insert(twice.end(), twice.begin(), twice.end());
  const auto c = Evaluate(*this->device_, shape, weights, std::span<const int64_t>(twice));
  const auto d = Evaluate(*this->device_, shape, weights, int64_t{0}, int64_t{30'000});
  EXPECT_EQ(c.result.rows, 60'000);
  EXPECT_EQ(c.result.correct, 2 * d.result.correct);
  for (size_t j = 0; j < 50; ++j) EXPECT_NEAR(c.gradient[j], d.gradient[j], 1e-13);
}

TYPED_TEST(RegressionTest, NonFiniteWeightsGiveANonFiniteLossAndCountAsWrong) {
  OwnedRows data{.features = 2};
  data.Add(0, {{0, 1.0}});
  data.Add(0, {{1, 1.0}});
  for (const int64_t classes : {2, 3}) {
    const RegressionShape shape{.data = data.view(), .classes = classes};
    std::vector<double> weights(static_cast<size_t>(shape.weights()));
    weights[0] = kNaN;
    const auto out = Evaluate(*this->device_, shape, weights, int64_t{0}, int64_t{2});
    EXPECT_TRUE(std::isnan(out.result.loss_sum));
    EXPECT_EQ(out.result.correct, 1);
    EXPECT_TRUE(std::isnan(out.gradient[0]));
    EXPECT_TRUE(std::isfinite(out.gradient[1]));
  }
}

TYPED_TEST(RegressionTest, Regulariser) {
  for (const int64_t size : {0, 1, 31, 33, 128, 1009}) {
    OwnedRows data{.features = size};
    const RegressionShape shape{.data = data.view(), .type = DataType::kFloat64};
    const auto regression = this->device_->MakeRegression(shape);
    std::vector<double> weights = RandomWeights<double>(size), expected(weights.size(), 0.5);
    for (double& weight : weights) weight *= 5;
    TestBuffer<double> x(*this->device_, weights, 1), gradient(*this->device_, expected, 3);
    const double value = reference::AddRegulariser(0.1, weights, expected);
    EXPECT_NEAR(regression->AddRegulariser(0.1, x, gradient), value, 1e-13);
    EXPECT_NEAR(regression->AddRegulariser(0.1, x, {}), value, 1e-13);
    const auto actual = gradient.Read();
    for (size_t j = 0; j < expected.size(); ++j) EXPECT_NEAR(actual[j], expected[j], 3e-16);
  }
}

TYPED_TEST(RegressionTest, RefusesImpossibleRows) {
  Device& device = *this->device_;
  const auto refuse = [&](OwnedRows data, int64_t classes = 2) {
    EXPECT_THROW(device.MakeRegression({.data = data.view(), .classes = classes}), Error);
  };
  OwnedRows good{.features = 3};
  good.Add(0, {{0, 1.0}, {2, 1.0}});
  good.Add(1, {});
  device.MakeRegression({.data = good.view()});
  refuse(good, 1);
  EXPECT_THROW(device.MakeRegression({.data = good.view(), .type = DataType::kInt32}), Error);
  OwnedRows bad = good;
  bad.features = 2;
  refuse(bad);
  bad = good;
  bad.labels[1] = 2;
  refuse(bad);
  bad = good;
  bad.labels[1] = -1;
  refuse(bad);
  for (const int32_t column : {2, 0, -1}) {
    bad = good;
    bad.columns[0] = column;
    if (column == 0) bad.columns[1] = 0;
    refuse(bad);
  }
  for (const std::vector<int64_t>& starts :
       {std::vector<int64_t>{0, 2}, {0, 3, 2}, {0, -1, 2}, {1, 2, 2}, {0, 2, 3}, {}}) {
    bad = good;
    bad.starts = starts;
    refuse(bad);
  }
}

TEST(CpuRegression, DoesNotDependOnThreads) {
  const OwnedRows data = RandomRows(30'000, 50, 4, 10);
  OwnedRows two = data;
  for (int32_t& label : two.labels) label %= 2;
  for (const int64_t classes : {2, 4}) {
    const RegressionShape shape{.data = (classes == 2 ? two : data).view(), .classes = classes};
    const auto weights = RandomWeights<double>(shape.weights());
    const auto one = Evaluate(*MakeCpuDevice(1), shape, weights, int64_t{1}, int64_t{29'999});
    for (const int threads : {2, 3, 7}) {
      const auto many =
          Evaluate(*MakeCpuDevice(threads), shape, weights, int64_t{1}, int64_t{29'999});
      EXPECT_EQ(one.gradient, many.gradient);
      EXPECT_EQ(one.result.loss_sum, many.result.loss_sum);
    }
  }
}

}  // namespace
}  // namespace thinwire
