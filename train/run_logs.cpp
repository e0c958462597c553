#include "train/run_logs.h"

#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace thinwire {

RunLogs::RunLogs(const RunFolder& folder, std::optional<int64_t> resumed_step,
                 int64_t resumed_epochs)
    : steps_(folder.steps_file(), resumed_step),
      summary_(folder.summary_file(), resumed_step ? std::optional(resumed_epochs) : std::nullopt),
      events_(folder.path(), resumed_step) {}

int64_t WireBytesSent(const Traffic& traffic) {
  return traffic.total_sent() - traffic.sent[static_cast<size_t>(Purpose::kMeasurement)];
}

int64_t WireBytesReceived(const Traffic& traffic) {
  return traffic.total_received() - traffic.received[static_cast<size_t>(Purpose::kMeasurement)];
}

void ShowCosts(const StepCosts& costs, int64_t parameters, int64_t steps, ProgressStatus& status) {
  const auto count = static_cast<double>(steps);
  const auto bits = static_cast<double>(costs.paper_bits_up + costs.paper_bits_down);
  if (steps == 0 || bits == 0) return;
  status.compression = 2 * 32 * static_cast<double>(parameters) * count / bits;
  status.bytes_up = static_cast<double>(costs.coded_bits_up) / 8 / count;
  status.bytes_down = static_cast<double>(costs.coded_bits_down) / 8 / count;
  status.compress = costs.compress;
  status.on_wire = costs.wire;
  status.decode = costs.decode;
}

void RunLogs::Write(const StepRecord& record) {
  const StepCosts& costs = record.costs;
  MetricRecord line = {{"step", record.step},
                       {"epoch", record.epoch},
                       {"loss", record.loss},
                       {"grad_norm", record.gradient_norm},
                       {"lr", record.learning_rate},
                       {"images_per_second", record.images_per_second},
                       {"paper_bits_up", costs.paper_bits_up},
                       {"paper_bits_down", costs.paper_bits_down},
                       {"coded_bits_up", costs.coded_bits_up},
                       {"coded_bits_down", costs.coded_bits_down},
                       {"wire_bytes_sent", WireBytesSent(record.traffic)},
                       {"wire_bytes_received", WireBytesReceived(record.traffic)},
                       {"data_ms", 1e3 * record.data},
                       {"forward_ms", 1e3 * record.forward},
                       {"backward_ms", 1e3 * record.backward},
                       {"compress_ms", 1e3 * costs.compress},
                       {"wire_ms", 1e3 * costs.wire},
                       {"decode_ms", 1e3 * costs.decode},
                       {"update_ms", 1e3 * costs.update}};
  const auto measured = [&](const char* name, double value) {
    if (record.measured && !std::isnan(value)) line.emplace_back(name, value);
  };
  measured("contraction_up", costs.contraction_up);
  measured("contraction_down", costs.contraction_down);
  measured("mismatch_bound", costs.mismatch_bound);
  steps_.Write(line);

  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : line) {
    if (name == "step" || name == "epoch") continue;
    const auto number = std::visit(
        [](const auto& v) {
          if constexpr (std::is_arithmetic_v<std::decay_t<decltype(v)>>) {
            return static_cast<double>(v);
          } else {
            return 0.0;
          }
        },
        value);
    scalars.emplace_back("train/" + name, number);
  }
  events_.Write(record.step, scalars);
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
