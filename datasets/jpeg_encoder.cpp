#include "datasets/jpeg_encoder.h"

#include <fmt/format.h>

// jpeglib.h needs size_t and FILE declared first.
#include <cstddef>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on

#include <array>
#include <cassert>
#include <csetjmp>
#include <cstdlib>
#include <memory>

#include "kernels/error.h"

namespace thinwire {
namespace {

/// What libjpeg and its callbacks share. libjpeg reports errors by longjmp, which passes over
/// destructors: what runs under Guarded() has none.
struct Session {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  std::jmp_buf on_error;
  char message[JMSG_LENGTH_MAX];
  unsigned char* output;  // by malloc
  unsigned long size;

  // The job.
  const uint8_t* rgb;
  JDIMENSION width, height;
  int quality, orientation;
};

[[noreturn]] void OnError(j_common_ptr jpeg) {
  Session& session = *static_cast<Session*>(jpeg->client_data);
  jpeg->err->format_message(jpeg, session.message);
  std::longjmp(session.on_error, 1);
}

void OnMessage(j_common_ptr, int) {}

/// An Exif segment that holds the orientation alone: a TIFF header and a directory of one entry.
void WriteOrientation(Session& session) {
  constexpr JOCTET kShort = 3, kTag[] = {0x01, 0x12};
  const JOCTET segment[] = {'E',     'x',
                            'i',     'f',
                            0,       0,
                            'M',     'M',
                            0,       42,
                            0,       0,
                            0,       8,  // where it begins
                            0,       1,  // one entry
                            kTag[0], kTag[1],
                            0,       kShort,
                            0,       0,
                            0,       1,  // of one value
                            0,       static_cast<JOCTET>(session.orientation),
                            0,       0,  // which is this
                            0,       0,
                            0,       0};  // no other directory
  jpeg_write_marker(&session.jpeg, JPEG_APP0 + 1, segment, sizeof segment);
}

void Compress(Session& session) {
  jpeg_compress_struct& jpeg = session.jpeg;
  jpeg_create_compress(&jpeg);
  jpeg.client_data = &session;
  jpeg_mem_dest(&jpeg, &session.output, &session.size);
  jpeg.image_width = session.width;
  jpeg.image_height = session.height;
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, session.quality, TRUE);
  jpeg.optimize_coding = TRUE;
  jpeg.dct_method = JDCT_ISLOW;
  jpeg_start_compress(&jpeg, TRUE);
  if (session.orientation != 1) WriteOrientation(session);
  while (jpeg.next_scanline < jpeg.image_height) {
    // libjpeg takes what it only reads as pointers to what may change.
    auto* row = const_cast<JSAMPROW>(session.rgb + size_t{jpeg.next_scanline} * session.width * 3);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
}

bool Guarded(Session& session, void (*step)(Session&)) {
  if (setjmp(session.on_error) != 0) return false;
  step(session);
  return true;
}

struct Release {
  void operator()(Session* session) const {
    jpeg_destroy_compress(&session->jpeg);
    std::free(session->output);
    delete session;
  }
};

}  // namespace

std::vector<uint8_t> CompressJpeg(std::span<const uint8_t> rgb, int64_t width, int64_t height,
                                  int quality, int orientation, const std::string& name) {
  assert(std::ssize(rgb) == width * height * 3 && quality >= 1 && quality <= 100);
  const std::unique_ptr<Session, Release> session(new Session{});
  session->jpeg.err = jpeg_std_error(&session->errors);
  session->errors.error_exit = OnError;
  session->errors.emit_message = OnMessage;
  session->jpeg.client_data = session.get();
  session->rgb = rgb.data();
  session->width = static_cast<JDIMENSION>(width);
  session->height = static_cast<JDIMENSION>(height);
  session->quality = quality;
  session->orientation = orientation;
  if (!Guarded(*session, Compress)) {
    throw Error(fmt::format("cannot write the image {} as JPEG: {}", name, session->message), "");
  }
  return {session->output, session->output + session->size};
}

}  // namespace thinwire
