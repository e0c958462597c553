// Compressors in float64, straight from kernels/compression.h. Vectors are whole, padding included.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/compression.h"

namespace thinwire::reference {

/// CompressionInput's fields; `parameters` and `added` are empty where there are none.
struct Input {
  std::vector<double> values;
  double factor = 1;
  double gradient_scale = 1;
  std::vector<double> parameters{};
  double weight_decay = 0;
  int64_t decayed_size = 0;
  std::vector<double> added{};
  double added_factor = 1;
};
std::vector<double> Evaluate(const Input& input);

/// A SignMessage: 32 signs a word, and the scales.
struct Message {
  std::vector<int32_t> bits;
  std::vector<double> scales;
};

/// Of each element its group, or -1 in padding.
std::vector<int64_t> Groups(const SignShape& shape);

std::vector<int32_t> Signs(const SignShape& shape, const std::vector<double>& v);
/// A group's sum of |v|, or of v² for kRootMeanSquare.
std::vector<double> Sums(const SignShape& shape, const std::vector<double>& v);
std::vector<double> Scales(const SignShape& shape, const std::vector<double>& sums);
/// Zero in padding.
std::vector<double> Decode(const SignShape& shape, const Message& message);
std::vector<double> Mean(const SignShape& shape, const std::vector<Message>& messages);
/// error - scales * sign(error), zero in padding.
std::vector<double> Settle(const SignShape& shape, const std::vector<double>& scales,
                           const std::vector<double>& error);

/// Top-K: what is chosen, in rising order.
struct Selection {
  std::vector<int32_t> indices;
  std::vector<double> values;
};
Selection SelectTopK(const TopKShape& shape, const std::vector<double>& v);

}  // namespace thinwire::reference
