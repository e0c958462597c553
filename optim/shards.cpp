#include "optim/shards.h"

#include "kernels/parameter_arena.h"

namespace thinwire {

Shards::Shards(int64_t padded_size, int ranks, const std::string& server) {
  constexpr int64_t alignment = ParameterArena::kAlignment;
  const int64_t blocks = padded_size / alignment;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    Range range{blocks * rank / ranks * alignment, blocks * (rank + 1) / ranks * alignment};
    if (server == "central") range = {rank == 0 ? 0 : padded_size, padded_size};
    ranges_.push_back(range);
    sizes_.push_back(range.size());
  }
}

}  // namespace thinwire
