#include "train/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "kernels/error.h"
#include "train/atomic_file.h"

namespace thinwire {
namespace {

constexpr int kMaxAttempts = 10;  // each of which has to bring some bytes
constexpr long kConnectSeconds = 30, kStalledSeconds = 60;

/// What has come so far.
class PartFile {
 public:
  explicit PartFile(std::string path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0666);
    if (descriptor_ < 0) Fail();
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const bool busy = errno == EWOULDBLOCK;
      ::close(descriptor_);
      if (busy)
        throw Error(fmt::format("another process is downloading to {}", path_), "wait for it");
      Fail();
    }
  }
  ~PartFile() { ::close(descriptor_); }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) Fail();
    return status.st_size;
  }
  void Clear() {
    if (::ftruncate(descriptor_, 0) != 0) Fail();
  }
  /// @return 0 or an errno code, since it is called from C.
  int Append(const char* bytes, size_t count) {
    while (count > 0) {
      const ssize_t written = ::write(descriptor_, bytes, count);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return errno;
      bytes += written;
      count -= static_cast<size_t>(written);
    }
    return 0;
  }
  void MoveTo(const std::string& path) {
    if (::fsync(descriptor_) != 0 || ::rename(path_.c_str(), path.c_str()) != 0) Fail();
    SyncFolderOf(path);
  }
  [[noreturn]] void Fail(int error = errno) const {
    throw Error(fmt::format("cannot write {}: {}", path_, std::strerror(error)), FileRemedy(error));
  }

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// One transfer.
struct Transfer {
  PartFile& part;
  int64_t room;  // bytes that may still come
  int write_error = 0;
  bool too_long = false;

  static size_t Receive(char* bytes, size_t, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.room -= static_cast<int64_t>(count);
    transfer.too_long = transfer.room < 0;
    if (!transfer.too_long) transfer.write_error = transfer.part.Append(bytes, count);
    return transfer.too_long || transfer.write_error != 0 ? 0 : count;
  }
};

class Downloader {
 public:
  explicit Downloader(const DownloadRequest& request)
      : request_(request), part_(request.path + ".part") {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready == CURLE_OK) curl_.reset(curl_easy_init());
    if (!curl_) Fail("libcurl cannot be started", "");
    const auto set = [this](CURLoption option, auto value) {
      if (curl_easy_setopt(curl_.get(), option, value) != CURLE_OK) {
        Fail("this libcurl is too old", "install 7.85 or newer");
      }
    };
    set(CURLOPT_URL, request.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, 5L);
    set(CURLOPT_FAILONERROR, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_USERAGENT, "thinwire");
    set(CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
    set(CURLOPT_ERRORBUFFER, message_);
    set(CURLOPT_WRITEFUNCTION, &Transfer::Receive);
  }

  void Run() {
    if (part_.size() > request_.bytes) part_.Clear();
    for (int attempt = 1; part_.size() < request_.bytes; ++attempt) {
      if (!Attempt() || attempt == kMaxAttempts) {
        Fail(fmt::format("the transfer breaks off after {} of {} bytes", part_.size(),
                         request_.bytes),
             "the same command goes on from there");
      }
    }
    const std::string md5 = Md5OfFile(part_.path());
    if (md5 != request_.md5) {
      Discard(fmt::format("its MD5 checksum is {} instead of {}", md5, request_.md5));
    }
    part_.MoveTo(request_.path);
  }

 private:
  struct CloseCurl {
    void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  };

  /// Goes on from where the part ends.
  /// @return Whether that brought the file further, or it may begin anew.
  bool Attempt() {
    const int64_t before = part_.size();
    Transfer transfer{.part = part_, .room = request_.bytes - before};
    curl_easy_setopt(curl_.get(), CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(before));
    curl_easy_setopt(curl_.get(), CURLOPT_WRITEDATA, &transfer);
    message_[0] = '\0';
    const CURLcode code = curl_easy_perform(curl_.get());
    if (transfer.write_error != 0) part_.Fail(transfer.write_error);
    if (transfer.too_long) Discard(fmt::format("it has more than {} bytes", request_.bytes));
    switch (code) {
      case CURLE_OK:
        if (part_.size() > before) return true;
        Discard(fmt::format("it has {} bytes instead of {}", before, request_.bytes));
      case CURLE_RANGE_ERROR:  // the server gives whole files alone
        part_.Clear();
        return before > 0;
      case CURLE_PARTIAL_FILE:
      case CURLE_RECV_ERROR:
      case CURLE_SEND_ERROR:
      case CURLE_GOT_NOTHING:
      case CURLE_OPERATION_TIMEDOUT:
      case CURLE_HTTP2_STREAM:
        if (part_.size() > before) return true;
        break;
      default:
        break;
    }
    long status = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_HTTP_RETURNED_ERROR && status == 416) {  // it ends before that
      Discard(fmt::format("it has no more than {} bytes instead of {}", before, request_.bytes));
    }
    const char* const remedy = code == CURLE_HTTP_RETURNED_ERROR
                                   ? "check the address; --base-url names another one"
                                   : "check the network; the same command goes on";
    Fail(message_[0] != '\0' ? message_ : curl_easy_strerror(code), remedy);
  }

  /// For what cannot become the file any more.
  [[noreturn]] void Discard(const std::string& problem) {
    ::unlink(part_.path().c_str());
    Fail(problem, "try again, or another address by --base-url");
  }
  [[noreturn]] void Fail(const std::string& problem, const std::string& remedy) const {
    throw Error(fmt::format("cannot download {}: {}", request_.url, problem), remedy);
  }

  const DownloadRequest& request_;
  PartFile part_;
  std::unique_ptr<CURL, CloseCurl> curl_;
  char message_[CURL_ERROR_SIZE] = {};
};

}  // namespace

void Download(const DownloadRequest& request) { Downloader(request).Run(); }

}  // namespace thinwire
