// Training in bfloat16 by --amp, as whole runs.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/train/run_fixture.h"

namespace thinwire {
namespace {

class AmpTest : public RunTest {
 protected:
  ProgramResult Train(const std::string& output, const Arguments& more) const {
    return RunProgram(TinyRun(folder_ / output, more));
  }

  nlohmann::json Info(const Arguments& more) const {
    Arguments arguments = {"info", "resnet20", "--batch-size", "8", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const ProgramResult result = RunProgram(arguments);
    EXPECT_EQ(result.status, 0) << result.errors;
    const size_t line = result.output.rfind('\n', result.output.size() - 2);
    return nlohmann::json::parse(result.output.substr(line + 1));
  }
};

TEST_F(AmpTest, HalvesTheActivationMemory) {
  const auto wide = Info({}), narrow = Info({"--amp"});
  for (const char* key : {"training_bytes", "inference_bytes"}) {
    const double ratio = double{narrow[key]} / double{wide[key]};
    // Statistics that batch norms save, labels and alignment stay.
    EXPECT_GT(ratio, 0.49) << key;
    EXPECT_LT(ratio, 0.52) << key;
  }
  EXPECT_EQ(narrow["parameters"], wide["parameters"]);
}

// Roundings of 2^-8, 0.4 %, a value, a few of them in a row, and 24 steps at rates that learn:
// losses of both stay within 2 % of each other.
TEST_F(AmpTest, TrainsCloseToFloat32) {
  for (const auto& [opt, rate] : std::vector<std::pair<std::string, std::string>>{
           {"sgd", "0.01"}, {"cd-adam", "0.0001"}, {"saef-sgdm", "0.001"}}) {
    SCOPED_TRACE(opt);
    const Arguments flags = {"--opt", opt, "--lr", rate, "--sched", "constant", "--epochs", "3"};
    Arguments amp = flags;
    amp.insert(amp.end(), {"--amp", "on", "--amp-dtype", "bf16"});
    ASSERT_EQ(Train(opt + "_float32", flags).status, 0);
    const ProgramResult result = Train(opt + "_bf16", amp);
    ASSERT_EQ(result.status, 0) << result.errors;
    EXPECT_NE(result.output.find("in bf16"), std::string::npos) << result.output;
    const auto wide = Steps(folder_ / (opt + "_float32")),
               narrow = Steps(folder_ / (opt + "_bf16"));
    ASSERT_EQ(narrow.size(), wide.size());
    int different = 0;
    double learned = 0;  // from the first epoch of eight steps to the last
    for (size_t i = 0; i < wide.size(); ++i) {
      const double loss = wide[i]["loss"];
      EXPECT_NEAR(narrow[i]["loss"], loss, 0.02 * loss) << "step " << i + 1;
      different += narrow[i]["loss"] != wide[i]["loss"];
      if (i < 8) learned += double{narrow[i]["loss"]};
      if (i >= wide.size() - 8) learned -= double{narrow[i]["loss"]};
    }
    EXPECT_GT(different, 0);
    EXPECT_GT(learned, 0);
  }
}

TEST_F(AmpTest, ResumesBitForBit) {
  const Arguments flags = {"--amp", "--model",     "lenet",     "--opt",    "cd-adam",
                           "--lr",  "0.001",       "--workers", "2",        "--batch-size",
                           "16",    "--model-ema", "0.9",       "--epochs", "2"};
  const auto run = [&](const std::string& output, Arguments more) {
    more.insert(more.begin(), flags.begin(), flags.end());
    const ProgramResult result = Train(output, more);
    ASSERT_EQ(result.status, 0) << result.errors;
  };
  run("whole", {});
  run("parts", {"--max-steps", "5"});
  run("parts", {"--max-steps", "11", "--resume", "auto"});
  run("parts", {"--max-steps", "0", "--resume", "auto"});
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "whole/checkpoints")) {
    const std::string name = "/checkpoints/" + entry.path().filename().string();
    if (!std::filesystem::exists((folder_ / "parts") + name)) continue;
    EXPECT_TRUE(ReadText((folder_ / "whole") + name) == ReadText((folder_ / "parts") + name))
        << name;
    ++files;
  }
  EXPECT_GT(files, 0);
  EXPECT_EQ(WithoutTimes(Steps(folder_ / "whole")), WithoutTimes(Steps(folder_ / "parts")));
}

TEST_F(AmpTest, ResumesARunWithoutItAndSaysSo) {
  ASSERT_EQ(Train("run", {"--max-steps", "4"}).status, 0);
  ProgramResult result = Train("run", {"--max-steps", "8", "--resume", "auto", "--amp"});
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("Resuming with amp on instead of off"), std::string::npos)
      << result.output;
  result = Train("run", {"--max-steps", "12", "--resume", "auto", "--amp", "off"});
  ASSERT_EQ(result.status, 0) << result.errors;
  EXPECT_NE(result.output.find("Resuming with amp off instead of on"), std::string::npos)
      << result.output;
  EXPECT_EQ(Steps(folder_ / "run").size(), 12u);
}

// A run's last evaluation, and that of its checkpoint by another process, which reads the weights'
// average where there is one.
TEST_F(AmpTest, EvaluatesWhatItWillEvaluateAgain) {
  for (const std::string decay : {"0", "0.8"}) {
    const std::string name = "run" + decay;
    const Arguments flags = {"--amp", "--epochs", "2", "--model-ema", decay};
    ASSERT_EQ(Train(name, flags).status, 0);
    const ProgramResult result = RunProgram({"eval", folder_ / name, "--json"});
    ASSERT_EQ(result.status, 0) << result.errors;
    const size_t line = result.output.rfind('\n', result.output.size() - 2);
    const auto evaluation = nlohmann::json::parse(result.output.substr(line + 1));
    std::istringstream summary(ReadText(folder_ / (name + "/summary.csv")));
    std::string header, row;
    std::getline(summary, header);
    while (std::getline(summary, row)) {
      if (row.rfind("2,", 0) == 0) break;
    }
    const auto field = [&](const std::string& column) {
      std::istringstream names(header), values(row);
      std::string key, value;
      while (std::getline(names, key, ',') && std::getline(values, value, ',')) {
        if (key == column) return std::stod(value);
      }
      ADD_FAILURE() << column << " is not in " << header;
      return 0.0;
    };
    const std::string prefix = decay == "0" ? "test" : "average_test";
    EXPECT_NEAR(field(prefix + "_loss"), evaluation["loss"], 1e-6);
    EXPECT_NEAR(field(prefix + "_top1"), evaluation["top1"], 1e-6);
  }
}

TEST_F(AmpTest, RefusesWhatItCannotDo) {
  ExpectFailure(Train("a", {"--amp", "--amp-dtype", "f16"}), 2, {"amp-dtype", "f16", "bf16"});
  ExpectFailure(Train("b", {"--amp", "--model", "logreg"}), 2, {"amp", "logreg"});
}

}  // namespace
}  // namespace thinwire
