// Of a build without libcurl and libarchive.
#include "kernels/error.h"
#include "train/download.h"

namespace thinwire {
namespace {

[[noreturn]] void Fail() {
  throw Error("this program was built without downloads",
              "build it with THINWIRE_DOWNLOAD, or put the files into the folder by hand",
              Error::Kind::kUsage);
}

}  // namespace

void Download(const DownloadRequest&) { Fail(); }
std::string Md5OfFile(const std::string&) { Fail(); }
void ExtractFiles(const std::string&, const std::string&, const std::vector<std::string>&,
                  int64_t) {
  Fail();
}

}  // namespace thinwire
