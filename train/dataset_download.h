// Where data sets come from.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace thinwire {

/// A published file.
struct PublishedFile {
  std::string name;
  int64_t bytes = 0;
  std::string md5;
  /// Of a .tar.gz, what is taken out of it; nothing of a file that stays as it is.
  std::vector<std::string> members = {};
};

struct DatasetSource {
  std::string base_url;  // before the files' names
  std::vector<PublishedFile> files;
};

/// The well-known place of cifar10, cifar100 or mnist. @pre It is one of these.
DatasetSource SourceOfDataset(const std::string& dataset);

/// Brings a data set's files into `folder`, which is made if need be; those that are there are not
/// fetched again. Called again after a kill, it goes on.
/// @param report Is told what is about to be fetched.
/// @throws Error as Download and ExtractFiles; also if a file is there that is not the published
///     one.
void DownloadDataset(const DatasetSource& source, const std::string& folder,
                     const std::function<void(const std::string& line)>& report);

}  // namespace thinwire
