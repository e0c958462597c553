#include "datasets/byte_reader.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kMaxDeflateRatio = 1032;  // https://zlib.net/zlib_tech.html

bool StartsAsGzip(std::span<const uint8_t> bytes) {
  return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

}  // namespace

struct ByteReader::Inflater {
  Inflater() {
    constexpr int kGzipOnly = 16;
    if (inflateInit2(&stream, kGzipOnly + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  z_stream stream{};
  bool at_end = false;  // of the last member
};

ByteReader::ByteReader(std::span<const uint8_t> bytes, std::string name)
    : bytes_(bytes), name_(std::move(name)) {
  if (StartsAsGzip(bytes_)) inflater_ = std::make_unique<Inflater>();
}

ByteReader::~ByteReader() = default;

int64_t ByteReader::Read(std::span<uint8_t> output) {
  if (!inflater_) {
    const size_t count = std::min(bytes_.size(), output.size());
    std::copy_n(bytes_.begin(), count, output.begin());
    bytes_ = bytes_.subspan(count);
    return static_cast<int64_t>(count);
  }

  const auto fail = [&](const std::string& problem) {
    throw Error(fmt::format("cannot unpack the gzip file {}: {}", name_, problem),
                "download it again");
  };
  z_stream& stream = inflater_->stream;
  size_t done = 0;
  while (done < output.size() && !inflater_->at_end) {
    constexpr size_t kMaxPiece = std::numeric_limits<uInt>::max();
    const auto input_piece = static_cast<uInt>(std::min(bytes_.size(), kMaxPiece));
    const auto output_piece = static_cast<uInt>(std::min(output.size() - done, kMaxPiece));
    stream.next_in = const_cast<Bytef*>(bytes_.data());  // zlib only reads it
    stream.avail_in = input_piece;
    stream.next_out = output.data() + done;
    stream.avail_out = output_piece;
    const int status = inflate(&stream, Z_NO_FLUSH);
    bytes_ = bytes_.subspan(input_piece - stream.avail_in);
    done += output_piece - stream.avail_out;
    if (status == Z_STREAM_END) {
      if (StartsAsGzip(bytes_)) {
        inflateReset(&stream);
      } else if (bytes_.empty()) {
        inflater_->at_end = true;
      } else {
        fail(fmt::format("{} bytes of something else follow its end", bytes_.size()));
      }
    } else if (status == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail(stream.msg != nullptr ? stream.msg : "its content is corrupt");
    } else if (bytes_.empty() && stream.avail_out != 0) {
      fail("it is truncated");
    }
  }
  return static_cast<int64_t>(done);
}

int64_t ByteReader::max_remaining() const {
  const auto left = static_cast<int64_t>(bytes_.size());
  // zlib may have taken in a few bytes that it has not given out yet.
  constexpr int64_t kHeldBytes = 16;
  return inflater_ ? (left + kHeldBytes) * kMaxDeflateRatio : left;
}

}  // namespace thinwire
