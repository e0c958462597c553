// Files from the Internet, checked against what they should be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace thinwire {

struct DownloadRequest {
  std::string url;  // http or https
  std::string path;
  int64_t bytes = 0;
  std::string md5;  // in hexadecimal digits
};

/// Fetches a file. What has come so far is in PATH.part, and a later call goes on from there, as
/// this one does where a transfer breaks off. The file appears at PATH when it is whole and right.
/// @throws Error with the address and the cause: no connection, not there, other bytes than it
///     should have (which are thrown away), a full disk, or another process that does the same.
void Download(const DownloadRequest& request);

/// In hexadecimal digits. @throws Error with path and cause.
std::string Md5OfFile(const std::string& path);

/// Takes files out of a .tar.gz, which is untrusted input, and leaves the others in it.
/// @param names Paths in the archive, and below `folder`, where each file appears when it is whole.
/// @param max_bytes Of all that the archive unpacks to.
/// @throws Error naming the archive, if it is damaged, too large, lacks one of `names`, holds one
///     that is no plain file, or any path that leads out of a folder.
void ExtractFiles(const std::string& archive, const std::string& folder,
                  const std::vector<std::string>& names, int64_t max_bytes);

}  // namespace thinwire
