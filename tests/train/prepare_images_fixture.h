// What tests of thinwire prepare imagenet share.
#pragma once

#include <string>

#include "datasets/packed_images.h"
#include "tests/train/image_files.h"
#include "tests/train/run_fixture.h"

namespace thinwire {

class PrepareImagesTest : public RunTest {
 protected:
  /// JPEGs and a few others of many sizes in three classes.
  void MakeFolder(int training, int test, int64_t side = 90) const {
    for (int i = 0; i < training + test; ++i) {
      const std::string name = std::string(i < training ? "train/" : "val/") + "cab"[i % 3] + "/" +
                               std::to_string(100 + i) + ".JPEG";
      const int64_t width = side - 7 * (i % 5), height = side - 11 * (i % 4);
      WriteImageFile(data() + "/" + name, i % 8 == 5
                                              ? MakeGrey(width, height, 40 + i)
                                              : MakeJpeg(width, height, static_cast<uint64_t>(i)));
    }
  }
  std::string data() const { return folder_.path() + "/data"; }
  std::string file() const { return folder_.path() + "/packed"; }

  ProgramResult Prepare(const Arguments& more = {}, const std::string& file = "packed") const {
    Arguments arguments = {"prepare", "imagenet", data(), folder_ / file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  }
};

inline std::string BytesOf(const PackedImages::Image& image) {
  return {reinterpret_cast<const char*>(image.bytes.data()), image.bytes.size()};
}

}  // namespace thinwire
