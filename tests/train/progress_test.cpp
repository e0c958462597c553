#include "train/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

namespace thinwire {
namespace {

ProgressStatus Example() {
  ProgressStatus status;
  status.epoch = 3;
  status.epochs = 200;
  status.step = 1170;
  status.total_steps = 78000;
  status.loss = 1.23456;
  status.top1 = 0.5625;
  status.learning_rate = 0.1;
  status.images_per_second = 12345.4;
  return status;
}

/// A stream in memory and a clock that the test moves.
class Screen {
 public:
  Screen() : stream_(::open_memstream(&text_, &size_)) {}
  ~Screen() {
    std::fclose(stream_);
    std::free(text_);
  }
  ProgressOptions options(bool terminal) {
    return {stream_, terminal, 120, [this] { return now; }};
  }
  /// What was written since the last call.
  std::string Take() {
    std::fflush(stream_);
    const std::string all(text_, size_);
    const std::string text = all.substr(taken_);
    taken_ = all.size();
    return text;
  }
  double now = 100;

 private:
  char* text_ = nullptr;
  size_t size_ = 0, taken_ = 0;
  std::FILE* stream_;
};

TEST(Progress, Line) {
  EXPECT_EQ(FormatProgress(Example(), 3723.0),
            "epoch 3/200  step 1170/78000  loss 1.2346  top-1 56.25%  lr 0.1  12345 images/s  "
            "1:02:03 left");
  ProgressStatus bare;
  bare.epoch = bare.epochs = 1;
  EXPECT_EQ(FormatProgress(bare, std::nullopt), "epoch 1/1  step 0/0");
  bare.loss = NAN;
  EXPECT_EQ(FormatProgress(bare, 59.4), "epoch 1/1  step 0/0  loss nan  0:59 left");
  EXPECT_EQ(FormatProgress(bare, 1e30), "epoch 1/1  step 0/0  loss nan  > 1000 h left");
}

TEST(Progress, TellsDataTimeApartFromComputeTime) {
  ProgressStatus status;
  status.epoch = status.epochs = 1;
  status.data = 0.0102;
  status.compute = 0.12;
  EXPECT_EQ(FormatProgress(status, {}), "epoch 1/1  step 0/0  data 10.2 compute 120.0 ms");
  status.compute = 0.06;
  EXPECT_EQ(FormatProgress(status, {}),
            "epoch 1/1  step 0/0  data 10.2 compute 60.0 ms  input is the bottleneck");
  status.data = 0;
  status.compute = 0;
  EXPECT_EQ(FormatProgress(status, {}), "epoch 1/1  step 0/0  data 0.0 compute 0.0 ms");
}

TEST(Progress, BarFitsEveryWidth) {
  const std::string whole = FormatProgressBar(Example(), 3723.0, 1000);
  EXPECT_EQ(whole, "  1% [--------------------]  " + FormatProgress(Example(), 3723.0));
  size_t last = 0;
  for (int width = 5; width <= 140; ++width) {
    const std::string bar = FormatProgressBar(Example(), 3723.0, width);
    EXPECT_LE(bar.size(), static_cast<size_t>(width));
    EXPECT_EQ(bar, whole.substr(0, bar.size())) << "a field was cut or left out in the middle";
    EXPECT_GE(bar.size(), last);
    last = bar.size();
  }
  EXPECT_EQ(last, whole.size());
}

TEST(Progress, BarFills) {
  ProgressStatus status = Example();
  status.step = 39000;
  EXPECT_EQ(FormatProgressBar(status, {}, 28), " 50% [##########----------]");
  status.step = 77999;
  EXPECT_EQ(FormatProgressBar(status, {}, 28), " 99% [###################-]");
  status.step = 78000;
  EXPECT_EQ(FormatProgressBar(status, {}, 28), "100% [####################]");
  status.step = 80000;
  EXPECT_EQ(FormatProgressBar(status, {}, 28), "100% [####################]");
  status.total_steps = 0;
  EXPECT_EQ(FormatProgressBar(status, {}, 28), "  0% [--------------------]");
}

TEST(Progress, PlainLinesForLogsOnly) {
  Screen screen;
  ProgressLine progress(screen.options(false));
  ProgressStatus status = Example();
  progress.Update(status);
  EXPECT_EQ(screen.Take(), "");
  status.step += 10;
  screen.now += 5;
  progress.Log(status);  // 10 steps took 5 s, 76820 are left
  EXPECT_EQ(screen.Take(), FormatProgress(status, 38410.0) + "\n");
  progress.Print("saved");
  progress.Finish();
  EXPECT_EQ(screen.Take(), "saved\n");
}

TEST(Progress, TerminalRedrawsTenTimesASecond) {
  Screen screen;
  ProgressLine progress(screen.options(true));
  ProgressStatus status = Example();
  progress.Update(status);
  EXPECT_EQ(screen.Take(), "\r" + FormatProgressBar(status, {}, 119) + "\033[K");
  int drawn = 0;
  for (int i = 0; i < 1000; ++i) {
    screen.now += 1.0 / 1024;  // exact in binary
    ++status.step;
    progress.Update(status);
    drawn += !screen.Take().empty();
  }
  EXPECT_EQ(drawn, 9);
  progress.Log(status);
  EXPECT_NE(screen.Take(), "") << "a log is shown at once";

  progress.Print("saved");
  EXPECT_EQ(screen.Take(), "\r\033[Ksaved\n");
  progress.Print("again");
  EXPECT_EQ(screen.Take(), "again\n");
  progress.Update(status);
  EXPECT_EQ(screen.Take().substr(0, 1), "\r") << "the bar comes back at once";
  progress.Finish();
  progress.Finish();
  EXPECT_EQ(screen.Take(), "\n");
}

TEST(Progress, AStreamThatIsNoTerminalIsNotOne) {
  std::FILE* file = std::tmpfile();
  {
    ProgressOptions options;
    options.stream = file;
    ProgressLine progress(options);
    progress.Update(Example());
    EXPECT_EQ(std::ftell(file), 0);
    progress.Log(Example());
  }
  std::rewind(file);
  char line[200] = {};
  EXPECT_NE(std::fgets(line, sizeof(line), file), nullptr);
  EXPECT_EQ(line, FormatProgress(Example(), {}) + "\n");
  std::fclose(file);
}

}  // namespace
}  // namespace thinwire
