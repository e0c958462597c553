// Finding and reading the files of a data set.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace thinwire {

/// The whole of a file of at most `max_bytes`, not empty. @throws Error naming the file, for
/// one that is missing, a folder, unreadable, empty or too large.
std::vector<uint8_t> ReadDataFile(const std::string& path, int64_t max_bytes);

/// `name` in `data_dir`; an absolute name stays as it is.
std::string PathInDataDir(const std::string& data_dir, const std::string& name);

/// The first of `names` that exists in `data_dir`. @throws Error (usage) for a data_dir that is not
/// there; Error that says which names were looked for, and how to name others.
std::string FindDataFile(const std::string& data_dir,
                         std::initializer_list<std::string_view> names);

}  // namespace thinwire
