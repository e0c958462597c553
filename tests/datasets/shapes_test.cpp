#include "datasets/shapes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "kernels/random.h"
#include "tests/datasets/testing.h"

namespace thinwire {
namespace {

constexpr int64_t kPixelBytes = kShapesSize * kShapesSize * kShapesChannels;
constexpr int64_t kPixels = kShapesSize * kShapesSize;

std::string Image(const Dataset& dataset, int64_t index) {
  return {reinterpret_cast<const char*>(dataset.image(index)), static_cast<size_t>(kPixelBytes)};
}

TEST(Shapes, AreBalancedAndOfTheRightShape) {
  const Dataset dataset = MakeShapes(1, Split::kTrain, 200);
  EXPECT_EQ(dataset.count, 200);
  EXPECT_EQ(dataset.image_bytes(), kPixelBytes);
  EXPECT_EQ(std::ssize(dataset.images), 200 * kPixelBytes);
  EXPECT_EQ(dataset.classes, 10);
  for (int32_t label = 0; label < 10; ++label) {
    EXPECT_EQ(std::count(dataset.labels.begin(), dataset.labels.end(), label), 20);
  }
}

TEST(Shapes, AnImageDependsOnSeedSplitAndIndexAlone) {
  const Dataset few = MakeShapes(5, Split::kTrain, 33), many = MakeShapes(5, Split::kTrain, 127);
  for (int64_t i = 0; i < few.count; ++i) EXPECT_EQ(Image(few, i), Image(many, i)) << i;
  std::set<std::string> different;
  for (const uint64_t seed : {0, 5, 6}) {
    for (const Split split : {Split::kTrain, Split::kTest}) {
      const Dataset dataset = MakeShapes(seed, split, 127);
      for (int64_t i = 0; i < dataset.count; ++i) different.insert(Image(dataset, i));
    }
  }
  EXPECT_EQ(different.size(), 3u * 2u * 127u);
}

TEST(Shapes, CountsHaveBounds) {
  for (const int64_t count : {int64_t{-1}, int64_t{0}, int64_t{10'000'001}}) {
    ExpectError([&] { MakeShapes(0, Split::kTrain, count); }, {std::to_string(count), "shapes"},
                Error::Kind::kUsage);
  }
}

TEST(Shapes, HaveUsualCounts) {
  EXPECT_EQ(LoadDataset({.name = "shapes"}, Split::kTest).count, 2000);
  EXPECT_EQ(LoadDataset({.name = "shapes", .count = 7}, Split::kTrain).count, 7);
}

TEST(Shapes, DefaultNormalizationFits) {
  const Dataset dataset = MakeShapes(3, Split::kTrain, 1000);
  const Normalization normalization = DefaultNormalization("shapes");
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (int64_t i = c; i < std::ssize(dataset.images); i += 3) {
      const double value = dataset.images[static_cast<size_t>(i)] / 255.0;
      sum += value;
      squares += value * value;
    }
    const auto n = static_cast<double>(dataset.count * kPixels);
    EXPECT_NEAR(sum / n, normalization.mean[static_cast<size_t>(c)], 0.03);
    EXPECT_NEAR(std::sqrt(squares / n - sum * sum / n / n),
                normalization.deviation[static_cast<size_t>(c)], 0.03);
  }
}

/// Share of `test` that `predict(image)` gets right.
template <typename Function>
double Accuracy(const Dataset& test, const Function& predict) {
  int64_t right = 0;
  for (int64_t i = 0; i < test.count; ++i) {
    right += predict(test.image(i)) == test.labels[static_cast<size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(test.count);
}

TEST(Shapes, MeanColourDoesNotTellTheClass) {
  using Colour = std::array<double, 3>;
  const auto mean_colour = [](const uint8_t* image) {
    Colour sum{};
    for (int64_t i = 0; i < kPixelBytes; ++i) sum[static_cast<size_t>(i % 3)] += image[i];
    for (double& value : sum) value /= kPixels;
    return sum;
  };
  const Dataset train = MakeShapes(0, Split::kTrain, 2000),
                test = MakeShapes(0, Split::kTest, 1000);
  std::array<Colour, 10> centres{};
  for (int64_t i = 0; i < train.count; ++i) {
    const Colour colour = mean_colour(train.image(i));
    for (size_t c = 0; c < 3; ++c) {
      centres[static_cast<size_t>(ShapeLabel(i))][c] += colour[c] / 200;  // images of a class
    }
  }
  const double accuracy = Accuracy(test, [&](const uint8_t* image) {
    const Colour colour = mean_colour(image);
    double nearest = std::numeric_limits<double>::infinity();
    int32_t label = -1;
    for (size_t k = 0; k < 10; ++k) {
      double distance = 0;
      for (size_t c = 0; c < 3; ++c) distance += std::pow(colour[c] - centres[k][c], 2);
      if (distance < nearest) {
        nearest = distance;
        label = static_cast<int32_t>(k);
      }
    }
    return label;
  });
  EXPECT_LT(accuracy, 0.2);
}

/// Softmax regression on pixels, trained by plain stochastic gradient descent.
class LinearClassifier {
 public:
  LinearClassifier() : weights_(static_cast<size_t>(kPixelBytes)) {}

  void Train(const Dataset& dataset, int epochs, float rate) {
    RandomStream random(1, 2);
    for (int64_t step = 0; step < epochs * dataset.count; ++step) {
      const int64_t i = random.Below(static_cast<uint32_t>(dataset.count));
      Scores gradient = Evaluate(dataset.image(i));
      const float largest = *std::max_element(gradient.begin(), gradient.begin() + 10);
      float sum = 0;
      for (size_t k = 0; k < 10; ++k) sum += gradient[k] = std::exp(gradient[k] - largest);
      for (size_t k = 0; k < 10; ++k) gradient[k] /= sum;
      gradient[static_cast<size_t>(ShapeLabel(i))] -= 1;
      for (size_t k = 10; k < gradient.size(); ++k) gradient[k] = 0;
      for (size_t j = 0; j < weights_.size(); ++j) {
        const float scaled = rate * Input(dataset.image(i)[j]);
        for (size_t k = 0; k < gradient.size(); ++k) weights_[j][k] -= scaled * gradient[k];
      }
    }
  }

  int32_t Predict(const uint8_t* image) const {
    const Scores scores = Evaluate(image);
    return static_cast<int32_t>(std::max_element(scores.begin(), scores.begin() + 10) -
                                scores.begin());
  }

 private:
  using Scores = std::array<float, 12>;  // ten classes, and two idle ones to fill vectors

  static float Input(uint8_t pixel) { return (static_cast<float>(pixel) - 100.0f) / 60.0f; }
  Scores Evaluate(const uint8_t* image) const {
    Scores scores{};
    for (size_t j = 0; j < weights_.size(); ++j) {
      const float input = Input(image[j]);
      for (size_t k = 0; k < scores.size(); ++k) scores[k] += input * weights_[j][k];
    }
    return scores;
  }

  std::vector<Scores> weights_;
};

TEST(Shapes, ALinearClassifierLearnsSomethingButNotTheShapes) {
  const Dataset train = MakeShapes(0, Split::kTrain, 3000),
                test = MakeShapes(0, Split::kTest, 1000);
  LinearClassifier classifier;
  classifier.Train(train, 2, 1e-4f);
  const double accuracy =
      Accuracy(test, [&](const uint8_t* image) { return classifier.Predict(image); });
  RecordProperty("accuracy", std::to_string(accuracy));
  EXPECT_LT(accuracy, 0.6);
  // By chance a tenth, with a standard deviation of 1 % on a thousand images.
  EXPECT_GT(accuracy, 0.15);
}

}  // namespace
}  // namespace thinwire
