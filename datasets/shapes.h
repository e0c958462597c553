// `shapes`: a data set that is drawn instead of read, so that training can be tried without any
// download. Ten silhouettes of random position, size, rotation, colours and texture on textured
// backgrounds with distractors and noise. Colours and textures say nothing about the class; that
// silhouettes are brighter than their background lets a linear classifier do better than chance.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "datasets/dataset.h"

namespace thinwire {

inline constexpr int64_t kShapesSize = 32;  // height and width
inline constexpr int64_t kShapesChannels = 3;
inline constexpr int64_t kShapesClasses = 10;

/// Images of all classes in turn: image i is of class i % 10, so every prefix is balanced.
constexpr int32_t ShapeLabel(int64_t index) { return static_cast<int32_t>(index % kShapesClasses); }
std::string_view ShapeName(int32_t label);

/// Draws one image, [32, 32, 3]: a pure function of (seed, split, index).
void DrawShape(uint64_t seed, Split split, int64_t index,
               std::span<uint8_t, kShapesSize * kShapesSize * kShapesChannels> image);

/// The first `count` images of a split. @throws Error (usage) unless count is in [1, 10,000,000].
Dataset MakeShapes(uint64_t seed, Split split, int64_t count);

}  // namespace thinwire
