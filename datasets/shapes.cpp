#include "datasets/shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "kernels/error.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

struct Point {
  float x, y;
};

float Length(Point p) { return std::sqrt(p.x * p.x + p.y * p.y); }

// Signed distances, negative inside, in coordinates where the silhouette's radius is about 1.

float Disc(Point p, float radius) { return Length(p) - radius; }

float Box(Point p, float half_width, float half_height) {
  const float x = std::abs(p.x) - half_width, y = std::abs(p.y) - half_height;
  return Length({std::max(x, 0.0f), std::max(y, 0.0f)}) + std::min(std::max(x, y), 0.0f);
}

float Triangle(Point p) {
  constexpr float kCos30 = 0.8660254f;
  return std::max(-p.y, kCos30 * std::abs(p.x) + 0.5f * p.y) - 0.55f;
}

float Cross(Point p) { return std::min(Box(p, 0.95f, 0.26f), Box(p, 0.26f, 0.95f)); }

// Half of one of the five points, to which mirroring in the axes at 0, 36 and 72 degrees folds all.
float Star(Point p) {
  constexpr float kCos36 = 0.8090170f, kSin36 = 0.5877853f;
  constexpr float kCos18 = 0.9510565f, kSin18 = 0.3090170f;
  const auto fold = [&p](float normal_x, float normal_y) {
    const float behind = std::max(normal_x * p.x + normal_y * p.y, 0.0f);
    p = {p.x - 2 * behind * normal_x, p.y - 2 * behind * normal_y};
  };
  p.x = std::abs(p.x);
  fold(kCos36, -kSin36);
  fold(-kCos36, -kSin36);
  p.x = std::abs(p.x);
  // The edge runs from the tip at (0, 1) straight to the second next one.
  return kCos18 * p.x + kSin18 * p.y - kSin18;
}

float Crescent(Point p) { return std::max(Disc(p, 0.9f), 0.7f - Length({p.x - 0.5f, p.y})); }

float Dumbbell(Point p) {
  return std::min(Disc({std::abs(p.x) - 0.6f, p.y}, 0.4f), Box(p, 0.6f, 0.13f));
}

float Distance(int32_t label, Point p) {
  switch (label) {
    case 0:
      return Disc(p, 0.8f);
    case 1:
      return Box(p, 0.72f, 0.72f);
    case 2:
      return Triangle(p);
    case 3:
      return std::abs(Disc(p, 0.7f)) - 0.18f;
    case 4:
      return Cross(p);
    case 5:
      return Star(p);
    case 6:
      return Crescent(p);
    case 7:
      return Box(p, 1.0f, 0.25f);
    case 8:
      return Dumbbell(p);
    case 9:
      return std::abs(Box(p, 0.65f, 0.65f)) - 0.16f;
  }
  assert(false);
  return 0;
}

constexpr std::array<std::string_view, kShapesClasses> kNames = {
    "disc", "square", "triangle", "ring", "cross", "star", "crescent", "bar", "dumbbell", "frame"};

constexpr float kMiddle = (kShapesSize - 1) / 2.0f;  // of an image, in pixels

using Colour = std::array<float, kShapesChannels>;

float Between(RandomStream& random, float low, float high) {
  return low + (high - low) * random.Uniform();
}

/// A colour whose luminance is `luminance` but for clipping.
Colour RandomColour(RandomStream& random, float luminance) {
  Colour colour;
  for (float& value : colour) value = Between(random, -60, 60);
  const float shift = luminance - (0.30f * colour[0] + 0.59f * colour[1] + 0.11f * colour[2]);
  for (float& value : colour) value = std::clamp(value + shift, 0.0f, 255.0f);
  return colour;
}

/// Stripes of soft edges between two colours, about one colour.
class Texture {
 public:
  Texture(RandomStream& random, const Colour& colour) : colour_(colour) {
    const float angle = Between(random, 0, 2 * std::numbers::pi_v<float>);
    const float frequency = Between(random, 0.04f, 0.25f);  // stripes per pixel
    step_ = {frequency * std::cos(angle), frequency * std::sin(angle)};
    phase_ = 64 + random.Uniform();  // above zero on the whole image
    for (float& value : amplitude_) value = Between(random, -28, 28);
  }

  Colour At(Point p) const {
    const float turns = step_.x * p.x + step_.y * p.y + phase_;
    const float fraction = turns - static_cast<float>(static_cast<int>(turns));
    const float wave = 4 * std::abs(fraction - 0.5f) - 1;  // a triangle between -1 and 1
    Colour colour;
    for (size_t c = 0; c < colour.size(); ++c) colour[c] = colour_[c] + wave * amplitude_[c];
    return colour;
  }

 private:
  Colour colour_, amplitude_;
  Point step_;
  float phase_;
};

/// A random pose: pixel coordinates to the coordinates of Distance.
class Pose {
 public:
  /// The centre is at most `spread` pixels beside and `spread` above or below the image's.
  Pose(RandomStream& random, float radius, float spread) : radius_(radius) {
    centre_.x = kMiddle + Between(random, -spread, spread);
    centre_.y = kMiddle + Between(random, -spread, spread);
    const float angle = Between(random, 0, 2 * std::numbers::pi_v<float>);
    cos_ = std::cos(angle) / radius;
    sin_ = std::sin(angle) / radius;
  }

  Point ToShape(Point p) const {
    const float x = p.x - centre_.x, y = p.y - centre_.y;
    return {cos_ * x + sin_ * y, cos_ * y - sin_ * x};
  }
  float radius() const { return radius_; }
  Point centre() const { return centre_; }

 private:
  float radius_, cos_, sin_;
  Point centre_;
};

using Canvas = std::array<Colour, kShapesSize * kShapesSize>;

/// Lays `texture` over the pixels where `distance` is negative, with edges one pixel soft.
template <typename Function>
void Paint(Canvas& canvas, const Pose& pose, const Texture& texture, const Function& distance) {
  const float reach = pose.radius() * 1.5f;  // the corners of the square
  const auto first = [&](float centre) { return std::max(0, static_cast<int>(centre - reach)); };
  const auto last = [&](float centre) {
    return std::min(static_cast<int>(kShapesSize) - 1, static_cast<int>(centre + reach) + 1);
  };
  for (int y = first(pose.centre().y); y <= last(pose.centre().y); ++y) {
    for (int x = first(pose.centre().x); x <= last(pose.centre().x); ++x) {
      const Point p = {static_cast<float>(x), static_cast<float>(y)};
      const float inside = 0.5f - distance(pose.ToShape(p)) * pose.radius();
      if (inside <= 0) continue;
      const float cover = std::min(inside, 1.0f);
      const Colour over = texture.At(p);
      Colour& pixel = canvas[static_cast<size_t>(y * kShapesSize + x)];
      for (size_t c = 0; c < pixel.size(); ++c) pixel[c] += cover * (over[c] - pixel[c]);
    }
  }
}

/// Rounds the canvas to bytes, with noise of a triangular distribution in ±amplitude.
void AddNoise(RandomStream& random, float amplitude, const Canvas& canvas, uint8_t* image) {
  const float scale = amplitude / 255;
  uint32_t word = 0;
  for (size_t i = 0; i < canvas.size() * kShapesChannels; ++i) {
    word = i % 2 == 0 ? random.Next() : word >> 16;  // two bytes a value
    const auto low = static_cast<int>(word & 255), high = static_cast<int>(word >> 8 & 255);
    const float value =
        canvas[i / kShapesChannels][i % kShapesChannels] + scale * static_cast<float>(low - high);
    image[i] = static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
  }
}

}  // namespace

std::string_view ShapeName(int32_t label) {
  assert(label >= 0 && label < kShapesClasses);
  return kNames[static_cast<size_t>(label)];
}

void DrawShape(uint64_t seed, Split split, int64_t index,
               std::span<uint8_t, kShapesSize * kShapesSize * kShapesChannels> image) {
  assert(index >= 0);
  RandomStream random(seed, static_cast<uint64_t>(index) << 1 | (split == Split::kTest ? 1 : 0));
  const float contrast = Between(random, 45, 120);
  const float background = Between(random, 20, 235 - contrast);

  Canvas canvas;
  const Texture behind(random, RandomColour(random, background));
  const Texture woven(random, Colour{});
  for (int64_t i = 0; i < std::ssize(canvas); ++i) {
    const int64_t x = i % kShapesSize, y = i / kShapesSize;
    const Point p = {static_cast<float>(x), static_cast<float>(y)};
    const Colour first = behind.At(p), second = woven.At(p);
    Colour& pixel = canvas[static_cast<size_t>(i)];
    for (size_t c = 0; c < pixel.size(); ++c) pixel[c] = first[c] + second[c];
  }

  for (uint32_t distractors = 2 + random.Below(3); distractors > 0; --distractors) {
    const Pose pose(random, Between(random, 1.5f, 3.5f), kMiddle);
    const Texture texture(random, RandomColour(random, Between(random, 20, 235)));
    const bool round = random.Below(2) == 0;
    Paint(canvas, pose, texture,
          [&](Point p) { return round ? Disc(p, 0.7f) : Box(p, 1.0f, 0.25f); });
  }

  const float radius = Between(random, 8, 13);
  const Pose pose(random, radius, 0.6f * (kMiddle - radius));
  const Texture texture(random, RandomColour(random, background + contrast));
  const int32_t label = ShapeLabel(index);
  Paint(canvas, pose, texture, [&](Point p) { return Distance(label, p); });

  AddNoise(random, Between(random, 10, 45), canvas, image.data());
}

Dataset MakeShapes(uint64_t seed, Split split, int64_t count) {
  constexpr int64_t kMaxCount = 10'000'000;
  if (count < 1 || count > kMaxCount) {
    throw Error(fmt::format("cannot draw {} images of the data set shapes", count),
                fmt::format("ask for 1 to {} images", kMaxCount), Error::Kind::kUsage);
  }
  Dataset dataset{.name = "shapes",
                  .count = count,
                  .height = kShapesSize,
                  .width = kShapesSize,
                  .channels = kShapesChannels,
                  .classes = kShapesClasses};
  constexpr size_t kBytes = kShapesSize * kShapesSize * kShapesChannels;
  dataset.images.resize(static_cast<size_t>(count) * kBytes);
  dataset.labels.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    DrawShape(seed, split, i,
              std::span<uint8_t, kBytes>(&dataset.images[static_cast<size_t>(i) * kBytes], kBytes));
    dataset.labels[static_cast<size_t>(i)] = ShapeLabel(i);
  }
  return dataset;
}

}  // namespace thinwire
