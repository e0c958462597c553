#include "train/run_logs.h"

#include <string>
#include <utility>
#include <vector>

namespace thinwire {

RunLogs::RunLogs(const RunFolder& folder, std::optional<int64_t> resumed_step,
                 int64_t resumed_epochs)
    : steps_(folder.steps_file(), resumed_step),
      summary_(folder.summary_file(), resumed_step ? std::optional(resumed_epochs) : std::nullopt),
      events_(folder.path(), resumed_step) {}

void RunLogs::Write(const StepRecord& record) {
  steps_.Write({{"step", record.step},
                {"epoch", record.epoch},
                {"loss", record.loss},
                {"grad_norm", record.gradient_norm},
                {"lr", record.learning_rate},
                {"images_per_second", record.images_per_second}});
  events_.Write(record.step, {{"train/loss", record.loss},
                              {"train/grad_norm", record.gradient_norm},
                              {"train/lr", record.learning_rate},
                              {"train/images_per_second", record.images_per_second}});
}

void RunLogs::Write(const EpochRecord& record) {
  MetricRecord line = {{"epoch", record.epoch},
                       {"step", record.step},
                       {"lr", record.learning_rate},
                       {"train_loss", record.training.loss()},
                       {"train_top1", record.training.top1()}};
  std::vector<std::pair<std::string, double>> scalars = {
      {"epoch/train_loss", record.training.loss()}, {"epoch/train_top1", record.training.top1()}};
  const auto add = [&](const std::string& name, const std::optional<Evaluation>& evaluation) {
    const auto column = [&](const std::string& column_name, double value) {
      line.emplace_back(column_name, evaluation ? MetricValue(value) : MetricValue(std::string()));
      if (evaluation) scalars.emplace_back("epoch/" + column_name, value);
    };
    column(name + "_loss", evaluation ? evaluation->loss() : 0);
    column(name + "_top1", evaluation ? evaluation->top1() : 0);
    column(name + "_top5", evaluation ? evaluation->top5() : 0);
  };
  add("test", record.test);
  add("average_test", record.average_test);
  line.emplace_back("seconds", record.seconds);
  line.emplace_back("images_per_second", record.images_per_second);
  summary_.Write(line);
  events_.Write(record.step, scalars);
}

}  // namespace thinwire
