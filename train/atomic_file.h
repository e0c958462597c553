// Files that appear whole under their final name, or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// Writes `bytes` beside `path`, syncs file and folder, and renames. On any failure (full disk,
/// unwritable folder) the temporary file is removed and what stood at `path` is untouched.
/// @throws Error with path and cause.
void WriteFileAtomically(const std::string& path, std::span<const std::byte> bytes);

/// The whole file. @throws Error with path and cause, also for a folder or a file above max_bytes.
std::vector<std::byte> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 40);

}  // namespace thinwire
