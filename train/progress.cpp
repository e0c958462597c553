#include "train/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

namespace thinwire {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr int kFallbackWidth = 80;
constexpr int kBarWidth = 20;
/// The share of a step that waits for images from which on it is worth a word.
constexpr double kBottleneck = 0.1;

double MonotonicSeconds() {
  using Seconds = std::chrono::duration<double>;
  return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int TerminalWidth(std::FILE* stream) {
  struct winsize size {};
  const bool known = ::ioctl(::fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kFallbackWidth;
}

/// Failures are ignored: a closed terminal must not end a run.
void Write(std::FILE* stream, const std::string& text) {
  if (stream == nullptr) return;
  std::fputs(text.c_str(), stream);
  std::fflush(stream);
}

std::string FormatDuration(double seconds) {
  constexpr int64_t kLongest = int64_t{1000} * 3600;
  const int64_t s = std::lround(std::clamp(seconds, 0.0, static_cast<double>(kLongest)));
  if (s >= kLongest) return "> 1000 h";
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

/// "312 B", "1.4 kB", "45 MB": at least two digits.
std::string FormatBytes(double bytes) {
  const char* unit = "B";
  for (const char* larger : {"kB", "MB", "GB"}) {
    if (bytes < 1000) break;
    bytes /= 1000;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", bytes, bytes < 10 && unit[0] != 'B' ? 1 : 0, unit);
}

std::vector<std::string> Fields(const ProgressStatus& status, std::optional<double> seconds_left) {
  std::vector<std::string> fields;
  fields.push_back(fmt::format("epoch {}/{}", status.epoch, status.epochs));
  fields.push_back(fmt::format("step {}/{}", status.step, status.total_steps));
  if (status.loss) fields.push_back(fmt::format("loss {:.4f}", *status.loss));
  if (status.top1) fields.push_back(fmt::format("top-1 {:.2f}%", *status.top1 * 100));
  if (status.learning_rate) fields.push_back(fmt::format("lr {:.4g}", *status.learning_rate));
  if (status.images_per_second) {
    const double rate = *status.images_per_second;
    fields.push_back(fmt::format("{:.{}f} images/s", rate, rate < 10 ? 1 : 0));
  }
  if (status.data) {
    fields.push_back(
        fmt::format("data {:.1f} compute {:.1f} ms", 1e3 * *status.data, 1e3 * status.compute));
    if (*status.data > kBottleneck * (*status.data + status.compute)) {
      fields.push_back("input is the bottleneck");
    }
  }
  if (status.compression) {
    fields.push_back(fmt::format("{:.1f}x", *status.compression));
    fields.push_back(fmt::format("up {} down {}", FormatBytes(status.bytes_up),
                                 FormatBytes(status.bytes_down)));
    fields.push_back(fmt::format("compress {:.1f} wire {:.1f} decode {:.1f} ms",
                                 1e3 * status.compress, 1e3 * status.on_wire,
                                 1e3 * status.decode));
  }
  if (seconds_left) fields.push_back(FormatDuration(*seconds_left) + " left");
  return fields;
}

}  // namespace

std::string FormatProgress(const ProgressStatus& status, std::optional<double> seconds_left) {
  return fmt::format("{}", fmt::join(Fields(status, seconds_left), "  "));
}

std::string FormatProgressBar(const ProgressStatus& status, std::optional<double> seconds_left,
                              int width) {
  const double done =
      status.total_steps > 0
          ? std::clamp(static_cast<double>(status.step) / static_cast<double>(status.total_steps),
                       0.0, 1.0)
          : 0.0;
  const auto filled = static_cast<size_t>(done * kBarWidth);
  std::vector<std::string> fields = Fields(status, seconds_left);
  fields.insert(fields.begin(), fmt::format("[{:-<{}}]", std::string(filled, '#'), kBarWidth));

  // Rounded down: 100 % means that nothing is left to do.
  std::string line = fmt::format("{:3}%", static_cast<int>(done * 100));
  std::string separator = " ";
  for (const std::string& field : fields) {
    if (std::ssize(line) + std::ssize(separator) + std::ssize(field) > width) break;
    line += separator + field;
    separator = "  ";
  }
  return line;
}

ProgressLine::ProgressLine(ProgressOptions options) : options_(std::move(options)) {
  if (!options_.clock) options_.clock = MonotonicSeconds;
  terminal_ = options_.terminal.value_or(options_.stream != nullptr &&
                                         ::isatty(::fileno(options_.stream)) == 1);
}

ProgressLine::~ProgressLine() { Finish(); }

void ProgressLine::Update(const ProgressStatus& status) {
  const double now = options_.clock();
  const std::optional<double> left = SecondsLeft(status, now);
  if (terminal_ && (!drawn_ || now - drawn_at_ >= kRedrawSeconds)) Draw(status, left, now);
}

void ProgressLine::Log(const ProgressStatus& status) {
  const double now = options_.clock();
  const std::optional<double> left = SecondsLeft(status, now);
  if (terminal_) {
    Draw(status, left, now);
  } else {
    Print(FormatProgress(status, left));
  }
}

void ProgressLine::Print(const std::string& line) {
  // "\033[K" clears what a longer line has left on the right.
  Write(options_.stream, (drawn_ ? "\r\033[K" : "") + line + "\n");
  drawn_ = false;
}

void ProgressLine::Finish() {
  if (!drawn_) return;
  Write(options_.stream, "\n");
  drawn_ = false;
}

std::optional<double> ProgressLine::SecondsLeft(const ProgressStatus& status, double now) {
  if (!started_at_) {
    started_at_ = now;
    started_step_ = status.step;
  }
  const int64_t steps = status.step - started_step_;
  if (steps <= 0 || status.total_steps <= 0) return std::nullopt;
  const double seconds_a_step = (now - *started_at_) / static_cast<double>(steps);
  return seconds_a_step *
         static_cast<double>(std::max<int64_t>(status.total_steps - status.step, 0));
}

void ProgressLine::Draw(const ProgressStatus& status, std::optional<double> seconds_left,
                        double now) {
  const int width = options_.width > 0 ? options_.width : TerminalWidth(options_.stream);
  // The last column stays free: some terminals wrap when it is written.
  Write(options_.stream, "\r" + FormatProgressBar(status, seconds_left, width - 1) + "\033[K");
  drawn_ = true;
  drawn_at_ = now;
}

}  // namespace thinwire
