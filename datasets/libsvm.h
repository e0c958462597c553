// Sparse labelled rows in LIBSVM's text format: "label index:value index:value …", indices from 1.
#pragma once

#include <cstdint>
#include <string>
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

  SparseRows view() const { return {rows, features, starts, columns, values, labels}; }
};

/// Reads files of data_dir one after another as one data set. "a9a" stands for a9a, a9a.xz,
/// a9a.bz2 or a9a.gz, whichever is there; what a file is packed with is told by its content.
/// @throws Error naming file, line and remedy for anything that is not LIBSVM text.
SparseDataset LoadLibsvm(const std::string& data_dir, const std::vector<std::string>& files);

/// An image data set as rows: pixel / 255, zeros left out.
SparseDataset MakeSparseDataset(const Dataset& images);

/// Rows [begin, end) of rank `rank` of `ranks`: contiguous blocks in file order; with
/// rows = q * ranks + r the first r have q + 1.
std::pair<int64_t, int64_t> RowsOfRank(int64_t rows, int rank, int ranks);

}  // namespace thinwire
