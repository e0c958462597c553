#include "train/saved_run.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>
#include <vector>

#include "kernels/error.h"
#include "train/agreement.h"
#include "train/arena_vectors.h"

namespace thinwire {
namespace {

std::string ChecksumName(int64_t rank) { return fmt::format("rank_checksum/{:08}", rank); }

}  // namespace

SavedRun::SavedRun(std::string path, Checkpoint common)
    : path_(std::move(path)), common_(std::make_shared<Checkpoint>(std::move(common))) {
  if (common_->integers.contains("ranks")) ranks_ = FindInteger(*common_, "ranks");
}

std::shared_ptr<const Checkpoint> SavedRun::LoadRank(int64_t rank) const {
  if (ranks_ == 1) return common_;
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  const std::string file = CheckpointFolder(folder.empty() ? "." : folder, 1)
                               .RankFile(FindInteger(*common_, "step"), rank);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    throw Error(fmt::format("cannot resume from {}: {}, a part of it, is missing", path_, file),
                "all ranks' files have to lie beside it, in a folder that all hosts share");
  }
  uint32_t checksum = 0;
  auto part = std::make_shared<Checkpoint>(ReadCheckpoint(file, &checksum));
  if (checksum != FindInteger(*common_, ChecksumName(rank))) {
    throw Error(fmt::format("cannot resume from {}: {} is not of the same save", path_, file),
                "resume from another checkpoint, whose files belong together");
  }
  return part;
}

void SaveRun(CheckpointFolder& folder, Communicator& communicator, int64_t step, Checkpoint common,
             Checkpoint own, bool best) {
  const UncountedTraffic uncounted(communicator);
  const int ranks = communicator.size(), rank = communicator.rank();
  common.integers["ranks"] = ranks;
  if (ranks == 1) {
    common.integers.merge(own.integers);
    common.numbers.merge(own.numbers);
    common.vectors.merge(own.vectors);
    common.wide_vectors.merge(own.wide_vectors);
    folder.Save(common, best);
    return;
  }
  own.integers["step"] = step;
  own.integers["rank"] = rank;
  own.integers["ranks"] = ranks;
  if (rank == 0) folder.Prepare(step);
  communicator.Barrier();
  const auto checksum = static_cast<int64_t>(WriteCheckpoint(folder.RankFile(step, rank), own));
  const std::vector<int64_t> checksums = communicator.AllGatherHost(checksum);
  if (rank == 0) {
    for (int r = 0; r < ranks; ++r) {
      common.integers[ChecksumName(r)] = checksums[static_cast<size_t>(r)];
    }
    folder.Save(common, best);
  }
  communicator.Barrier();
}

}  // namespace thinwire
