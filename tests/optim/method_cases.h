// Every method, with the variations that have code of their own.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace thinwire {

struct MethodCase {
  std::string label;  // letters, digits and underscores
  OptimizerOptions options;
};

inline void PrintTo(const MethodCase& method, std::ostream* out) { *out << method.label; }

/// Each name of OptimizerNames() as it comes.
std::vector<MethodCase> PlainMethodCases();
/// And with other compressors, scales, codings, single-way, with momentum, decay and averaging.
std::vector<MethodCase> AllMethodCases();

/// Tensors of odd sizes, 4,831 parameters: a number that no number of ranks here divides.
std::vector<TensorSpec> OddSpecs();

/// What a rank sees as its gradient: pulled towards a point of its own, with noise; a pure function
/// of the arguments. Sets the arena's gradients; padding stays zero.
void SetGradient(ParameterArena& arena, int rank, int64_t step);
/// Random values, the same on all ranks.
void SetStart(ParameterArena& arena);

/// float32 or float64 of a device in host memory, as float64.
std::vector<double> ReadDoubles(Device& device, ConstView view);
/// So the arena's values.
std::vector<double> Values(const ParameterArena& arena);
/// A checksum of the values' bits, padding included.
uint64_t Checksum(const ParameterArena& arena);

}  // namespace thinwire
