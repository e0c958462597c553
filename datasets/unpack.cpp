#include "datasets/unpack.h"

#include <bzlib.h>
#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <utility>

#include "datasets/byte_reader.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr std::array<uint8_t, 3> kBzip2Start = {'B', 'Z', 'h'};
constexpr std::array<uint8_t, 6> kXzStart = {0xfd, '7', 'z', 'X', 'Z', 0};

template <size_t kSize>
bool StartsWith(std::span<const uint8_t> bytes, const std::array<uint8_t, kSize>& start) {
  return bytes.size() >= kSize && std::equal(start.begin(), start.end(), bytes.begin());
}

[[noreturn]] void Fail(const char* kind, const std::string& name, const std::string& problem) {
  throw Error(fmt::format("cannot unpack the {} file {}: {}", kind, name, problem),
              "download it again");
}

class PlainOrGzip : public Unpacker {
 public:
  PlainOrGzip(std::span<const uint8_t> bytes, const std::string& name) : reader_(bytes, name) {}
  int64_t Read(std::span<uint8_t> output) override { return reader_.Read(output); }

 private:
  ByteReader reader_;
};

class Bzip2 : public Unpacker {
 public:
  Bzip2(std::span<const uint8_t> bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {
    Start();
  }
  ~Bzip2() override { BZ2_bzDecompressEnd(&stream_); }
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;

  int64_t Read(std::span<uint8_t> output) override {
    constexpr size_t kMaxPiece = std::numeric_limits<unsigned>::max();
    size_t done = 0;
    while (done < output.size() && !at_end_) {
      const auto input_piece = static_cast<unsigned>(std::min(bytes_.size(), kMaxPiece));
      const auto output_piece = static_cast<unsigned>(std::min(output.size() - done, kMaxPiece));
      // The library only reads it.
      stream_.next_in = reinterpret_cast<char*>(const_cast<uint8_t*>(bytes_.data()));
      stream_.avail_in = input_piece;
      stream_.next_out = reinterpret_cast<char*>(output.data() + done);
      stream_.avail_out = output_piece;
      const int status = BZ2_bzDecompress(&stream_);
      bytes_ = bytes_.subspan(input_piece - stream_.avail_in);
      done += output_piece - stream_.avail_out;
      if (status == BZ_STREAM_END) {
        if (StartsWith(bytes_, kBzip2Start)) {
          BZ2_bzDecompressEnd(&stream_);
          Start();
        } else if (bytes_.empty()) {
          at_end_ = true;
        } else {
          Fail("bzip2", name_,
               fmt::format("{} bytes of something else follow its end", bytes_.size()));
        }
      } else if (status == BZ_MEM_ERROR) {
        throw std::bad_alloc();
      } else if (status != BZ_OK) {
        Fail("bzip2", name_, "its content is corrupt");
      } else if (bytes_.empty() && stream_.avail_out != 0) {
        Fail("bzip2", name_, "it is truncated");
      }
    }
    return static_cast<int64_t>(done);
  }

 private:
  void Start() {
    stream_ = {};
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
  }

  std::span<const uint8_t> bytes_;  // what is left
  std::string name_;
  bz_stream stream_{};
  bool at_end_ = false;  // of the last stream
};

class Xz : public Unpacker {
 public:
  Xz(std::span<const uint8_t> bytes, std::string name) : name_(std::move(name)) {
    // What xz -9 makes needs 65 MiB.
    constexpr uint64_t kMaxMemory = uint64_t{1} << 30;
    if (lzma_stream_decoder(&stream_, kMaxMemory, LZMA_CONCATENATED) != LZMA_OK) {
      throw std::bad_alloc();
    }
    stream_.next_in = bytes.data();
    stream_.avail_in = bytes.size();
  }
  ~Xz() override { lzma_end(&stream_); }
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;

  int64_t Read(std::span<uint8_t> output) override {
    stream_.next_out = output.data();
    stream_.avail_out = output.size();
    while (stream_.avail_out != 0 && !at_end_) {
      switch (lzma_code(&stream_, LZMA_FINISH)) {
        case LZMA_OK:
          break;
        case LZMA_STREAM_END:
          at_end_ = true;
          break;
        case LZMA_MEM_ERROR:
          throw std::bad_alloc();
        case LZMA_MEMLIMIT_ERROR:
          Fail("xz", name_, "it needs more than 1 GiB to unpack");
        case LZMA_OPTIONS_ERROR:
          Fail("xz", name_, "it is packed in a way that is not supported");
        case LZMA_BUF_ERROR:
          Fail("xz", name_, "it is truncated");
        default:
          Fail("xz", name_, "its content is corrupt, or something else follows it");
      }
    }
    return static_cast<int64_t>(output.size() - stream_.avail_out);
  }

 private:
  std::string name_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<Unpacker> MakeUnpacker(std::span<const uint8_t> bytes, const std::string& name) {
  if (StartsWith(bytes, kXzStart)) return std::make_unique<Xz>(bytes, name);
  if (StartsWith(bytes, kBzip2Start)) return std::make_unique<Bzip2>(bytes, name);
  return std::make_unique<PlainOrGzip>(bytes, name);
}

}  // namespace thinwire
