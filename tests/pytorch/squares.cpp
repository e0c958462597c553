// Takes squares of image files, for compare_images.py: each line of standard input is a size, a
// crop's nine numbers, an operation and its magnitude, and a path; the pixels, [size, size, 3], go
// to standard output.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "datasets/data_files.h"
#include "datasets/dataset.h"
#include "datasets/image_operations.h"
#include "datasets/image_transform.h"

int main() {
  try {
    int64_t size = 0;
    thinwire::ImageCrop crop;
    while (std::cin >> size >> crop.left >> crop.top >> crop.width >> crop.height >>
           crop.resized_width >> crop.resized_height >> crop.square_left >> crop.square_top >>
           crop.flip) {
      int operation = 0;
      double magnitude = 0;
      std::cin >> operation >> magnitude;
      std::string path;
      std::getline(std::cin >> std::ws, path);
      const thinwire::ImageTransform transform({.size = size, .resize = size}, {},
                                               thinwire::DefaultNormalization("image-folder"), 0);
      const std::vector<uint8_t> bytes = thinwire::ReadDataFile(path, int64_t{1} << 30);
      // A crop without numbers: evaluation's, whose shorter side becomes 8/7 of the size.
      if (crop.width == 0) {
        const thinwire::ImageHeader header = thinwire::ReadImageHeader(bytes, path);
        crop = thinwire::CentreCrop(header.width, header.height, size * 8 / 7, size);
      }
      std::vector<uint8_t> pixels = transform.Square(bytes, path, crop), scratch;
      thinwire::ApplyOperation(static_cast<thinwire::ImageOperation>(operation), magnitude, size,
                               pixels.data(), scratch);
      std::fwrite(pixels.data(), 1, pixels.size(), stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "squares: %s\n", error.what());
    return 1;
  }
  return 0;
}
