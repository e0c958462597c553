#include <fmt/format.h>
#include <openssl/evp.h>

#include <memory>
#include <vector>

#include "kernels/error.h"
#include "train/atomic_file.h"
#include "train/download.h"

namespace thinwire {

std::string Md5OfFile(const std::string& path) {
  constexpr int64_t kPiece = 1 << 20;
  InputFile file(path);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(EVP_MD_CTX_new(),
                                                                       EVP_MD_CTX_free);
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned count = 0;
  bool works = digest && EVP_DigestInit_ex(digest.get(), EVP_md5(), nullptr) == 1;
  std::vector<std::byte> piece;
  for (int64_t left = file.size(); works && left > 0; left -= std::ssize(piece)) {
    piece.resize(static_cast<size_t>(std::min(left, kPiece)));
    file.Read(piece);
    works = EVP_DigestUpdate(digest.get(), piece.data(), piece.size()) == 1;
  }
  if (!works || EVP_DigestFinal_ex(digest.get(), bytes, &count) != 1) {
    throw Error(fmt::format("cannot take the MD5 checksum of {}: libcrypto refuses", path),
                "it may be set up to allow FIPS algorithms alone");
  }
  std::string digits;
  for (unsigned i = 0; i < count; ++i) digits += fmt::format("{:02x}", bytes[i]);
  return digits;
}

}  // namespace thinwire
