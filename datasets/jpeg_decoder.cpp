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
#include <utility>
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

/// What libjpeg has allocated, and what it and its callbacks share. libjpeg reports errors by
/// longjmp, which passes over destructors: between Guarded() and the callbacks nothing has any.
struct Session {
  ~Session() { jpeg_destroy_decompress(&jpeg); }

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
  ImageRegion wanted;
  int64_t left, width;  // of the columns that come out
  uint8_t* row;         // [width, 3]
  uint8_t* ink_row;     // [width, 4], CMYK
  const ImageReader::RowSink* sink;
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
  const int64_t width = jpeg.output_width;
  session.width = width;
  // libjpeg-turbo 2.1 gets parts of rarer samplings wrong.
  if (jpeg.max_h_samp_factor > 2 || jpeg.max_v_samp_factor > 2) return;
  const int64_t left = std::max<int64_t>(session.wanted.left - kCropMargin, 0);
  const int64_t right = std::min(session.wanted.left + session.wanted.width + kCropMargin, width);
  if (left == 0 && right == width) return;
  auto offset = static_cast<JDIMENSION>(left), columns = static_cast<JDIMENSION>(right - left);
  jpeg_crop_scanline(&jpeg, &offset, &columns);
  session.left = offset;
  session.width = columns;
}

/// Skips the rows before the wanted ones. As libjpeg-turbo 2.1 gets it wrong for rarer samplings,
/// those are decoded.
void SkipRows(Session& session) {
  jpeg_decompress_struct& jpeg = session.jpeg;
  const auto rows = static_cast<JDIMENSION>(session.wanted.top);
  if (rows == 0) return;
  if (jpeg.max_h_samp_factor <= 2 && jpeg.max_v_samp_factor <= 2) {
    jpeg_skip_scanlines(&jpeg, rows);
    return;
  }
  JSAMPROW into = session.ink_row;
  for (JDIMENSION y = 0; y < rows; ++y) {
    if (jpeg_read_scanlines(&jpeg, &into, 1) != 1) Abandon(session, kEndsEarly);
  }
}

void ReadRows(Session& session) {
  SkipRows(session);
  jpeg_decompress_struct& jpeg = session.jpeg;
  const bool inks = jpeg.out_color_space == JCS_CMYK;
  for (int64_t y = 0; y < session.wanted.height; ++y) {
    JSAMPROW into = inks ? session.ink_row : session.row;
    if (jpeg_read_scanlines(&jpeg, &into, 1) != 1) Abandon(session, kEndsEarly);
    for (int64_t x = 0; inks && x < session.width; ++x) {
      // Both as stored, which is inverted: 255 is no ink.
      const int black = into[4 * x + 3];
      for (int c = 0; c < 3; ++c) {
        const int product = into[4 * x + c] * black + 128;
        session.row[3 * x + c] = static_cast<uint8_t>((product + (product >> 8)) >> 8);
      }
    }
    (*session.sink)(session.row + (session.wanted.left - session.left) * 3);
  }
}

class JpegReader final : public ImageReader {
 public:
  JpegReader(std::span<const uint8_t> bytes, std::string name) : name_(std::move(name)) {
    session_.jpeg.err = jpeg_std_error(&session_.errors);
    session_.errors.error_exit = OnError;
    session_.errors.emit_message = OnMessage;
    session_.jpeg.client_data = &session_;
    session_.bytes = bytes.data();
    session_.size = bytes.size();
    Do(ReadHeader);
    const jpeg_decompress_struct& jpeg = session_.jpeg;
    header_ = {ImageFormat::kJpeg, jpeg.image_width, jpeg.image_height, 1};
    for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr;
         marker = marker->next) {
      const int orientation = ParseExifOrientation({marker->data, marker->data_length});
      if (orientation != 1) header_.orientation = orientation;
    }
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  void Decode(int reduction, const ImageRegion& region, const RowSink& sink) override {
    session_.reduction = reduction;
    session_.wanted = region;
    session_.sink = &sink;
    Do(Prepare);
    assert(region.left >= 0 && region.width > 0 && region.top >= 0 && region.height > 0 &&
           region.left + region.width <= session_.jpeg.output_width &&
           region.top + region.height <= session_.jpeg.output_height);
    Do(Start);
    std::vector<uint8_t> rows(static_cast<size_t>(session_.width * 7));
    session_.row = rows.data();
    session_.ink_row = rows.data() + session_.width * 3;
    Do(ReadRows);
  }

 private:
  void Do(void (*step)(Session&)) {
    if (Guarded(session_, step)) return;
    FailDecoding(name_, session_.ended ? kEndsEarly : session_.message);
  }

  const std::string name_;
  Session session_{};
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

std::unique_ptr<ImageReader> OpenJpeg(std::span<const uint8_t> bytes, const std::string& name) {
  return std::make_unique<JpegReader>(bytes, name);
}

}  // namespace thinwire
