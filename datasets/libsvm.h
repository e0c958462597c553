// Sparse labelled rows in LIBSVM's text format: "label index:value index:value …", indices from 1.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "datasets/dataset.h"
#include "kernels/regression.h"

namespace thinwire {

/// Rows in file order. Labels are numbered from 0 in rising order of their values in the file, so
/// of two the smaller is 0 (the papers' y = -1).
struct SparseDataset {
  std::string name = {};
  int64_t rows = 0, features = 0, classes = 0;
  std::vector<int64_t> starts = {0};
  std::vector<int32_t> columns = {};  // from 0
  std::vector<double> values = {};
  std::vector<int32_t> labels = {};
  std::vector<double> label_values = {};  // by class

  /// `features` may be raised first: columns that no row has.
  SparseRows view() const { return {rows, features, starts, columns, values, labels}; }
};

/// What a file that belongs to another one, such as a test set, takes over from it.
struct LibsvmOptions {
  int64_t min_features = 0;
  std::vector<double> label_values = {};  // rising; empty: those that the files have
};

/// Parses a whole file's bytes, packed by gzip, bzip2, xz or not, which their content tells. A row
/// a line: a label, then features with rising indices, set apart by spaces or tabs; numbers are
/// finite and decimal. A row may have no features. "#" begins a comment; lines that hold nothing
/// else are passed over. There are as many features as the largest index says.
/// @param name For messages.
/// @throws Error naming file, line and what is wrong there, and for rows that take more than half
///     of the machine's memory.
SparseDataset ParseLibsvm(std::span<const uint8_t> bytes, const std::string& name,
                          const LibsvmOptions& options = {});

/// Reads files of data_dir one after another as one data set. "a9a" stands for a9a, a9a.xz,
/// a9a.bz2 or a9a.gz, whichever is there; what a file is packed with is told by its content.
/// @throws Error naming file, line and remedy for anything that is not LIBSVM text.
SparseDataset LoadLibsvm(const std::string& data_dir, const std::vector<std::string>& files,
                         const LibsvmOptions& options = {});

/// An image data set as rows: pixel / 255, zeros left out.
SparseDataset MakeSparseDataset(const Dataset& images);

/// Rows [begin, end) of rank `rank` of `ranks`: contiguous blocks in file order; with
/// rows = q * ranks + r the first r have q + 1.
std::pair<int64_t, int64_t> RowsOfRank(int64_t rows, int rank, int ranks);

}  // namespace thinwire
