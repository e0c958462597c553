// safetensors files, and a model's weights in them under PyTorch's names and layouts.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/parameter_arena.h"

namespace thinwire {

/// A tensor of a file: "F32", "I64", …, its shape and little-endian bytes.
struct StoredTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

struct SafetensorsFile {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Parses a whole file's bytes; `name` is for messages. Everything is checked: header length and
/// JSON, known types, shape against length, offsets without overlap or gap, nothing behind.
/// @throws Error naming the file, the tensor and the remedy.
SafetensorsFile ParseSafetensors(std::span<const std::byte> bytes, const std::string& name);
SafetensorsFile ReadSafetensors(const std::string& path);
/// Atomic: written beside, synced, renamed.
void WriteSafetensors(const std::string& path, const SafetensorsFile& file);

/// Loads weights and running statistics into the arena: KCRS -> KRSC, flattened linear weights
/// permuted, a leading "module." dropped, the usual other names understood (linear/fc/classifier,
/// shortcut/downsample). F32, F16 and BF16 are read. Nothing is changed unless all fits.
/// @throws Error listing missing, unexpected or misshapen tensors.
void LoadWeights(const std::string& path, ParameterArena& arena);
/// The reverse: PyTorch's names, layouts and num_batches_tracked.
void SaveWeights(const std::string& path, const ParameterArena& arena);

}  // namespace thinwire
