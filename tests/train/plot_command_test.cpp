// thinwire plot, from its arguments to its files.
#include "train/plot_command.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/error.h"
#include "tests/train/program.h"
#include "tests/train/temporary_folder.h"
#include "train/step_columns.h"

namespace thinwire {
namespace {

using Arguments = std::vector<std::string>;

template <typename Function>
void ExpectError(const Function& function, const Arguments& parts) {
  try {
    function();
    ADD_FAILURE() << "no error; expected one with: " << parts.front();
  } catch (const Error& error) {
    const std::string message = error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nno: " << part;
    }
  }
}

class PlotCommandTest : public ::testing::Test {
 protected:
  std::string MakeRun(const std::string& name, const std::string& lines) {
    std::filesystem::create_directories(folder_ / name);
    std::ofstream(folder_ / (name + "/steps.jsonl")) << lines;
    return folder_ / name;
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryFolder folder_;
};

TEST_F(PlotCommandTest, Arguments) {
  const PlotOptions few = ParsePlotArguments({"run", "--output", "a.svg"});
  EXPECT_EQ(few.runs, Arguments{"run"});
  EXPECT_EQ(few.x, Arguments{"step"});
  EXPECT_EQ(few.y, Arguments{"grad_norm"});
  EXPECT_EQ(few.csv, "");
  const PlotOptions all = ParsePlotArguments(
      {"--x=step,bits", "r1", "r2", "--y", "loss,grad_norm", "--y_scale", "log", "--x-scale",
       "linear", "--labels", "A 1,B=2", "--title", "T, t", "--csv", "a.csv", "--output=a.svg"});
  EXPECT_EQ(all.runs, (Arguments{"r1", "r2"}));
  EXPECT_EQ(all.x, (Arguments{"step", "bits"}));
  EXPECT_EQ(all.y, (Arguments{"loss", "grad_norm"}));
  EXPECT_EQ(all.x_scale, "linear");
  EXPECT_EQ(all.y_scale, "log");
  EXPECT_EQ(all.labels, (Arguments{"A 1", "B=2"}));
  EXPECT_EQ(all.title, "T, t");
  const auto refuse = [](const Arguments& arguments, const Arguments& parts) {
    ExpectError([&] { ParsePlotArguments(arguments); }, parts);
  };
  refuse({"--output", "a.svg"}, {"no run"});
  refuse({"run"}, {"--output FILE.svg"});
  refuse({"run", "--output", "a.png"}, {"a.png", "SVG"});
  refuse({"run", "--output", "a.svg", "--x", "step,"}, {"--x", "step,"});
  refuse({"run", "--output", "a.svg", "--x-scale", "lin"}, {"--x-scale", "lin"});
  refuse({"run", "--output", "a.svg", "--labels", "a,b"}, {"2 names for 1 runs"});
  refuse({"run", "--output", "a.svg", "--lables", "a"}, {"--lables", "did you mean --labels?"});
  refuse({"run", "--output"}, {"--output"});
}

TEST_F(PlotCommandTest, ColumnsOfARun) {
  const std::string run = MakeRun("run", R"({"step":1,"loss":0.5,"note":"x"})"
                                         "\n"
                                         R"({"step":2,"loss":null,"grad_norm":3})"
                                         "\n"
                                         R"({"step":3,"paper_bits_up":100,"paper_bits_down":11})"
                                         "\n"
                                         R"({"step":4,"lo)");
  const StepColumns columns = ReadStepColumns(run);
  EXPECT_EQ(ReadStepColumns(run + "/steps.jsonl").size(), columns.size());
  EXPECT_EQ(Coordinate(columns, "step", run), (std::vector<double>{1, 2, 3}));
  const auto loss = Coordinate(columns, "loss", run);
  EXPECT_EQ(loss[0], 0.5);
  EXPECT_TRUE(std::isnan(loss[1]) && std::isnan(loss[2]));
  EXPECT_EQ(Coordinate(columns, "grad-norm", run)[1], 3);
  EXPECT_EQ(Coordinate(columns, "bits", run)[2], 111);
  EXPECT_EQ(Coordinate(columns, "bits-up", run)[2], 100);
  EXPECT_EQ(Coordinate(columns, "bits_down", run)[2], 11);
  EXPECT_TRUE(std::isnan(Coordinate(columns, "bits", run)[0]));
  ExpectError([&] { Coordinate(columns, "speed", run); },
              {"run", "no speed", "grad_norm, loss, paper_bits_down"});
  ExpectError([&] { ReadStepColumns(MakeRun("torn", "{\"step\":1}\nword\n")); },
              {"torn/steps.jsonl", "line 2", "JSON object"});
  ExpectError([&] { ReadStepColumns(MakeRun("new", "")); }, {"new/steps.jsonl", "no step yet"});
  ExpectError([&] { ReadStepColumns(folder_ / "none"); }, {"none"});
}

TEST_F(PlotCommandTest, WritesDrawingAndNumbers) {
  const std::string a = MakeRun("a",
                                "{\"step\":1,\"loss\":0.1}\n{\"step\":2,\"loss\":null}\n"
                                "{\"step\":3,\"loss\":1e-9}\n");
  const std::string b = MakeRun("b", "{\"step\":1,\"loss\":2}\n");
  PlotOptions options{.runs = {a, b},
                      .y = {"loss"},
                      .output = folder_ / "plot.svg",
                      .csv = folder_ / "plot.csv",
                      .labels = {},
                      .title = "A title"};
  PlotRuns(options);
  EXPECT_EQ(Read(options.csv), "run,step,loss\na,1,0.1\na,2,\na,3,1e-09\nb,1,2\n");
  const std::string svg = Read(options.output);
  for (const char* text : {">A title<", ">a</text>", ">b</text>", ">step<", ">loss<"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  // Nine decades make a logarithmic axis.
  EXPECT_NE(svg.find(">10<tspan"), std::string::npos);
  options.y_scale = "linear";
  options.labels = {"first, \"best\"", "second"};
  PlotRuns(options);
  EXPECT_EQ(Read(options.output).find(">10<tspan"), std::string::npos);
  EXPECT_EQ(Read(options.csv).find("run,step,loss\n\"first, \"\"best\"\"\",1,0.1\n"), 0u);

  // What fails leaves the old files alone.
  const std::string before = Read(options.output);
  options.y = {"speed"};
  ExpectError([&] { PlotRuns(options); }, {"no speed"});
  EXPECT_EQ(Read(options.output), before);
  EXPECT_EQ(folder_.names(), (Arguments{"a", "b", "plot.csv", "plot.svg"}));
}

TEST_F(PlotCommandTest, TheProgram) {
  const std::string run = MakeRun("run", "{\"step\":1,\"grad_norm\":0.1}\n");
  const std::string output = folder_ / "plot.svg";
  const ProgramResult good = RunProgram({"plot", run, "--output", output});
  EXPECT_EQ(good.status, 0) << good.errors;
  EXPECT_NE(good.output.find(output), std::string::npos);
  EXPECT_EQ(Read(output).find("<?xml"), 0u);
  EXPECT_NE(RunProgram({"plot", "--help"}).output.find("--x NAMES"), std::string::npos);
  const ProgramResult bad = RunProgram({"plot", run, "--x", "bits", "--output", output});
  EXPECT_EQ(bad.status, 2);
  EXPECT_NE(bad.errors.find("paper_bits_up"), std::string::npos) << bad.errors;
}

}  // namespace
}  // namespace thinwire
