// What tests of downloads share.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "kernels/random.h"
#include "tests/train/temporary_folder.h"
#include "train/download.h"

namespace thinwire {

inline std::string RandomBytes(int64_t count, uint64_t seed) {
  RandomStream random(seed, 1);
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) bytes += static_cast<char>(random.Next());
  return bytes;
}

/// A program without downloads has nothing to test.
inline bool HasDownloads() {
  TemporaryFolder folder;
  WriteText(folder / "empty", "");
  try {
    Md5OfFile(folder / "empty");
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// A tar archive, packed by gzip.
class TarWriter {
 public:
  /// @param type '0' for a file, '1' and '2' for links.
  TarWriter& Add(const std::string& name, const std::string& content, char type = '0',
                 const std::string& target = "") {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& text) {
      header.replace(at, text.size(), text);
    };
    const auto octal = [](size_t value, int digits) {
      char text[16];
      std::snprintf(text, sizeof text, "%0*zo", digits, value);
      return std::string(text);
    };
    put(0, name);
    put(100, "0000644");
    put(124, octal(content.size(), 11));
    put(136, octal(0, 11));
    header[156] = type;
    put(157, target);
    put(257, std::string("ustar\00000", 8));
    put(148, "        ");
    size_t sum = 0;
    for (const char byte : header) sum += static_cast<unsigned char>(byte);
    put(148, octal(sum, 6) + '\0');
    bytes_ += header + content + std::string((512 - content.size() % 512) % 512, '\0');
    return *this;
  }
  std::string Finish() const {
    const std::string all = bytes_ + std::string(1024, '\0');
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string packed(deflateBound(&stream, all.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(all.data()));
    stream.avail_in = static_cast<uInt>(all.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
  }

 private:
  std::string bytes_;
};

}  // namespace thinwire
