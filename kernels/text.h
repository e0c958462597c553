// Helpers for messages.
#pragma once

#include <string>
#include <vector>

namespace thinwire {

/// The candidate nearest to `name` by edit distance; empty if none is near enough to suggest.
std::string NearestName(const std::string& name, const std::vector<std::string>& candidates);

/// "did you mean X?" or "known are A, B, C", for the remedy of an Error about an unknown name.
std::string SuggestName(const std::string& name, const std::vector<std::string>& candidates);

}  // namespace thinwire
