#include "datasets/jpeg_decoder.h"

#include <fmt/format.h>

// jpeglib.h needs size_t and FILE declared first.
#include <cstddef>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <cassert>
#include <csetjmp>
#include <memory>
#include <vector>

namespace thinwire {
namespace {

/// A progressive file can ask for thousands of passes over its whole picture; real ones have about
/// ten.
constexpr int kMaxScans = 200;
/// Columns at the edge of a cropped row are upsampled without their neighbours, so that more are
/// decoded than are needed.
constexpr int64_t kCropMargin = 2;

constexpr const char* kEndsEarly = "its data end early";

/// What libjpeg and its callbacks share. libjpeg reports errors by longjmp, which passes over
/// destructors: between Guarded() and the callbacks nothing has any.
struct Session {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];
  bool ended;  // more was asked for than the file holds

  // The job.
  const JOCTET* bytes;
  size_t size;
  int reduction;
  bool has_region;
  ImageRegion wanted;
  ImageRegion part;
  uint8_t* pixels;   // [part.height, part.width, 3]
  uint8_t* ink_row;  // one row of CMYK
};

Session& SessionOf(j_common_ptr jpeg) { return *static_cast<Session*>(jpeg->client_data); }

[[noreturn]] void Abandon(Session& session, const char* message) {
  std::snprintf(session.message, sizeof session.message, "%s", message);
  std::longjmp(session.on_error, 1);
}

[[noreturn]] void OnError(j_common_ptr jpeg) {
  Session& session = SessionOf(jpeg);
  jpeg->err->format_message(jpeg, session.message);
  std::longjmp(session.on_error, 1);
}

/// Warnings are errors where libjpeg goes on with pixels of its own making. A scan that ends early
/// is none in a progressive file, which the other scans have given a whole picture.
void OnMessage(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  switch (jpeg->err->msg_code) {
    case JWRN_HIT_MARKER:
      if (reinterpret_cast<j_decompress_ptr>(jpeg)->progressive_mode) return;
      OnError(jpeg);
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      OnError(jpeg);
    default:
      break;
  }
}

boolean FillInput(j_decompress_ptr jpeg) {
  // An end marker, so that a file without one is decoded as far as its data go.
  static const JOCTET kEnd[] = {0xFF, JPEG_EOI};
  SessionOf(reinterpret_cast<j_common_ptr>(jpeg)).ended = true;
  jpeg->src->next_input_byte = kEnd;
  jpeg->src->bytes_in_buffer = sizeof kEnd;
  return TRUE;
}

void SkipInput(j_decompress_ptr jpeg, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > jpeg->src->bytes_in_buffer) {
    FillInput(jpeg);
  } else {
    jpeg->src->next_input_byte += count;
    jpeg->src->bytes_in_buffer -= static_cast<size_t>(count);
  }
}

void DoNothing(j_decompress_ptr) {}

void OnProgress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) {
    Abandon(SessionOf(jpeg), "it has more scans than any real picture");
  }
}

/// Runs `step`, which has no object with a destructor, and says whether it came to its end.
bool Guarded(Session& session, void (*step)(Session&)) {
  if (setjmp(session.on_error) != 0) return false;
  step(session);
  return true;
}

void ReadHeader(Session& session) {
  jpeg_decompress_struct& jpeg = session.jpeg;
  jpeg_create_decompress(&jpeg);
  jpeg.client_data = &session;
  session.source.init_source = DoNothing;
  session.source.fill_input_buffer = FillInput;
  session.source.skip_input_data = SkipInput;
  session.source.resync_to_restart = jpeg_resync_to_restart;
  session.source.term_source = DoNothing;
  session.source.next_input_byte = session.bytes;
  session.source.bytes_in_buffer = session.size;
  jpeg.src = &session.source;
  session.progress.progress_monitor = OnProgress;
  jpeg.progress = &session.progress;
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&jpeg, TRUE);
  if (session.ended) Abandon(session, kEndsEarly);
}

/// Chooses colours and size, and which part comes out: everything that is known without pixels.
void Prepare(Session& session) {
  jpeg_decompress_struct& jpeg = session.jpeg;
  const bool inks = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  if (jpeg.jpeg_color_space == JCS_UNKNOWN) Abandon(session, "its colours are of no known kind");
  jpeg.out_color_space = inks ? JCS_CMYK : JCS_RGB;
  jpeg.dct_method = JDCT_ISLOW;
  jpeg.scale_num = 1;
  jpeg.scale_denom = static_cast<unsigned>(session.reduction);
  jpeg_calc_output_dimensions(&jpeg);
}

void Start(Session& session) {
  jpeg_decompress_struct& jpeg = session.jpeg;
  jpeg_start_decompress(&jpeg);  // a progressive file is read whole here
  if (session.ended && jpeg_has_multiple_scans(&jpeg)) Abandon(session, kEndsEarly);
  const int64_t width = jpeg.output_width, height = jpeg.output_height;
  session.part = {0, 0, width, height};
  // libjpeg-turbo 2.1 gets parts of rarer samplings wrong.
  if (!session.has_region || jpeg.max_h_samp_factor > 2 || jpeg.max_v_samp_factor > 2) return;
  const ImageRegion& wanted = session.wanted;
  const int64_t left = std::max<int64_t>(wanted.left - kCropMargin, 0);
  const int64_t right = std::min(wanted.left + wanted.width + kCropMargin, width);
  session.part.top = wanted.top;
  session.part.height = wanted.height;
  if (left > 0 || right < width) {
    auto offset = static_cast<JDIMENSION>(left), columns = static_cast<JDIMENSION>(right - left);
    jpeg_crop_scanline(&jpeg, &offset, &columns);
    session.part.left = offset;
    session.part.width = columns;
  }
}

void ReadRows(Session& session) {
  jpeg_decompress_struct& jpeg = session.jpeg;
  const bool inks = jpeg.out_color_space == JCS_CMYK;
  if (session.part.top > 0) jpeg_skip_scanlines(&jpeg, static_cast<JDIMENSION>(session.part.top));
  const int64_t stride = session.part.width * 3;
  for (int64_t y = 0; y < session.part.height; ++y) {
    uint8_t* const row = session.pixels + y * stride;
    JSAMPROW into = inks ? session.ink_row : row;
    if (jpeg_read_scanlines(&jpeg, &into, 1) != 1) Abandon(session, kEndsEarly);
    if (!inks) continue;
    for (int64_t x = 0; x < session.part.width; ++x) {
      // Both as stored, which is inverted: 255 is no ink.
      const int black = into[4 * x + 3];
      for (int c = 0; c < 3; ++c) {
        const int product = into[4 * x + c] * black + 128;
        row[3 * x + c] = static_cast<uint8_t>((product + (product >> 8)) >> 8);
      }
    }
  }
}

/// Owns what libjpeg has allocated.
class Decompressor {
 public:
  Decompressor(std::span<const uint8_t> bytes, const std::string& name) : name_(name) {
    session_->jpeg.err = jpeg_std_error(&session_->errors);
    session_->errors.error_exit = OnError;
    session_->errors.emit_message = OnMessage;
    session_->jpeg.client_data = session_.get();
    session_->bytes = bytes.data();
    session_->size = bytes.size();
  }
  ~Decompressor() { jpeg_destroy_decompress(&session_->jpeg); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  void Do(void (*step)(Session&)) {
    if (Guarded(*session_, step)) return;
    FailDecoding(name_, session_->ended ? kEndsEarly : session_->message);
  }
  Session& session() { return *session_; }

 private:
  const std::string& name_;
  std::unique_ptr<Session> session_ = std::make_unique<Session>();
};

}  // namespace

int ParseExifOrientation(std::span<const uint8_t> segment) {
  // "Exif\0\0", then a TIFF header and its first directory of 12-byte entries.
  constexpr size_t kStart = 6;
  constexpr unsigned kOrientation = 0x0112, kShort = 3;
  if (segment.size() < kStart + 8 || std::string_view(reinterpret_cast<const char*>(segment.data()),
                                                      kStart) != std::string_view("Exif\0\0", 6)) {
    return 1;
  }
  const std::span<const uint8_t> tiff = segment.subspan(kStart);
  const bool little = tiff[0] == 'I';
  const auto number = [&](size_t at, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) {
      value |= uint64_t{tiff[at + i]} << 8 * (little ? i : width - 1 - i);
    }
    return value;
  };
  const uint64_t directory = number(4, 4);
  if (directory + 2 > tiff.size()) return 1;
  const uint64_t entries = number(directory, 2);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    if (number(entry, 2) != kOrientation || number(entry + 2, 2) != kShort) continue;
    const uint64_t value = number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

ImageHeader ReadJpegHeader(std::span<const uint8_t> bytes, const std::string& name) {
  Decompressor decompressor(bytes, name);
  decompressor.Do(ReadHeader);
  const jpeg_decompress_struct& jpeg = decompressor.session().jpeg;
  ImageHeader header{ImageFormat::kJpeg, jpeg.image_width, jpeg.image_height, 1};
  for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    const int orientation = ParseExifOrientation({marker->data, marker->data_length});
    if (orientation != 1) header.orientation = orientation;
  }
  return header;
}

DecodedImage DecodeJpeg(std::span<const uint8_t> bytes, const std::string& name,
                        const DecodeOptions& options) {
  Decompressor decompressor(bytes, name);
  Session& session = decompressor.session();
  session.reduction = options.reduction;
  decompressor.Do(ReadHeader);
  decompressor.Do(Prepare);

  DecodedImage image;
  image.full_width = session.jpeg.output_width;
  image.full_height = session.jpeg.output_height;
  if (options.region) {
    session.has_region = true;
    session.wanted = *options.region;
    assert(session.wanted.left >= 0 && session.wanted.width > 0 && session.wanted.top >= 0 &&
           session.wanted.height > 0 &&
           session.wanted.left + session.wanted.width <= image.full_width &&
           session.wanted.top + session.wanted.height <= image.full_height);
  }
  decompressor.Do(Start);
  image.part = session.part;
  image.pixels.resize(static_cast<size_t>(image.part.width * image.part.height * 3));
  std::vector<uint8_t> ink_row(static_cast<size_t>(image.part.width * 4));
  session.pixels = image.pixels.data();
  session.ink_row = ink_row.data();
  decompressor.Do(ReadRows);
  return image;
}

}  // namespace thinwire
