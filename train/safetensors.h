// safetensors files (github.com/huggingface/safetensors): named tensors behind a JSON header.
//
// The format: the header's length (8 bytes, little-endian), the header, a JSON object that maps
// each name to {"dtype", "shape", "data_offsets": [begin, end)}, and the tensors' bytes, which the
// offsets cover without overlap or gap. "__metadata__" maps strings to strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// A tensor of a file: "F32", "I64", …, its shape (empty: a scalar) and its little-endian bytes.
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
/// JSON, no name twice, known types, shape against length, offsets without overlap or gap, nothing
/// behind. @throws Error naming the file, the tensor and the remedy.
SafetensorsFile ParseSafetensors(std::span<const std::byte> bytes, const std::string& name);
SafetensorsFile ReadSafetensors(const std::string& path);

/// Atomic: written beside, synced, renamed. Equal contents give equal bytes: tensors are sorted by
/// size of their elements, largest first, so that each is aligned, then by name.
/// @pre Each tensor's bytes are as many as its type and shape say.
void WriteSafetensors(const std::string& path, const SafetensorsFile& file);

}  // namespace thinwire
