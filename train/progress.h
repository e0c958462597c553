// How far a run is, for people: a bar on a terminal, plain lines elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>

namespace thinwire {

/// What is shown. Absent values are left out.
struct ProgressStatus {
  int64_t epoch = 0, epochs = 0;      // counted from 1
  int64_t step = 0, total_steps = 0;  // steps done, of the whole run
  std::optional<double> loss;
  std::optional<double> top1;  // a fraction in [0, 1]
  std::optional<double> learning_rate;
  std::optional<double> images_per_second;
  /// Seconds of a step: waiting for its images, and all else.
  std::optional<double> data = {};
  double compute = 0;
  /// Of several ranks: how many fewer bits than float32 vectors the messages of a worker have
  /// taken, and what one step costs.
  std::optional<double> compression = {};
  double bytes_up = 0, bytes_down = 0;             // of a worker's messages
  double compress = 0, on_wire = 0, decode = 0;  // seconds
};

/// Where and how progress is shown; the default looks at the stream.
struct ProgressOptions {
  std::FILE* stream = stdout;     // null: nothing is shown
  std::optional<bool> terminal = {};   // empty: whether the stream is one
  int width = 0;                  // of the terminal in columns; 0: ask it each time
  std::function<double()> clock = {};  // seconds, monotonic; empty: the system's
};

/// Shows one run's progress. On a terminal the last line is a bar that is redrawn at most ten times
/// a second. Elsewhere each Log prints a line. Not thread-safe.
class ProgressLine {
 public:
  explicit ProgressLine(ProgressOptions options = {});
  /// Ends the bar's line.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// For every step: redraws the bar if a tenth of a second has gone by. Prints nothing elsewhere.
  void Update(const ProgressStatus& status);
  /// For every logging step: redraws the bar at once, or prints a line.
  void Log(const ProgressStatus& status);
  /// Prints a line of its own: above the bar, or among the plain lines.
  void Print(const std::string& line);
  /// Ends the bar's line, so that others may write; a later Update draws a new one.
  void Finish();

 private:
  std::optional<double> SecondsLeft(const ProgressStatus& status, double now);
  void Draw(const ProgressStatus& status, std::optional<double> seconds_left, double now);

  ProgressOptions options_;
  bool terminal_ = false;
  bool drawn_ = false;                // a bar is on the last line
  double drawn_at_ = 0;               // when
  std::optional<double> started_at_;  // of the first status, the origin of the estimate
  int64_t started_step_ = 0;
};

/// "epoch 3/200  step 1170/78200  loss 1.2345  top-1 56.25%  lr 0.1  12345 images/s  1:02:03 left".
std::string FormatProgress(const ProgressStatus& status, std::optional<double> seconds_left);

/// The same behind a percentage and a bar, at most `width` columns: what does not fit is left out
/// from the right, a whole field at a time.
std::string FormatProgressBar(const ProgressStatus& status, std::optional<double> seconds_left,
                              int width);

}  // namespace thinwire
