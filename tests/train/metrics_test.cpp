#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/train/temporary_folder.h"

namespace thinwire {
namespace {

TEST(JsonLines, WritesALineARecordInOrder) {
  const TemporaryFolder folder;
  JsonLinesWriter writer(folder / "m.jsonl", std::nullopt);
  writer.Write({{"step", 1}, {"loss", 0.1}, {"phase", "train"}});
  writer.Write({{"step", int64_t{1} << 60}, {"loss", NAN}, {"text", "a\"b\n\xFF"}});
  // Already there: no destructor has run.
  EXPECT_EQ(ReadText(folder / "m.jsonl"),
            "{\"step\":1,\"loss\":0.1,\"phase\":\"train\"}\n"
            "{\"step\":1152921504606846976,\"loss\":null,\"text\":\"a\\\"b\\n\xEF\xBF\xBD\"}\n");
}

TEST(JsonLines, NumbersReadBackExactly) {
  const TemporaryFolder folder;
  const std::vector<double> values = {
      0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -1e-7, 123456789.123456789, 3.0};
  JsonLinesWriter writer(folder / "m.jsonl", std::nullopt);
  for (const double value : values) writer.Write({{"x", value}});
  std::istringstream lines(ReadText(folder / "m.jsonl"));
  for (const double value : values) {
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(nlohmann::json::parse(line)["x"].get<double>(), value);
  }
}

TEST(JsonLines, ANewRunBeginsAnEmptyFile) {
  const TemporaryFolder folder;
  WriteText(folder / "m.jsonl", "old\n");
  JsonLinesWriter writer(folder / "m.jsonl", std::nullopt);
  EXPECT_EQ(ReadText(folder / "m.jsonl"), "");
}

TEST(JsonLines, ResumingDropsLaterStepsAndATornLine) {
  const TemporaryFolder folder;
  const std::string start = "{\"event\":\"start\"}\n", one = "{\"step\":1,\"x\":1.0}\n",
                    two = "{\"step\":2,\"x\":1.0}\n", three = "{\"x\":1.0,\"step\":3}\n";
  WriteText(folder / "m.jsonl", start + one + two + three + "{\"step\":4,\"x\"");
  {
    JsonLinesWriter writer(folder / "m.jsonl", 2);
    writer.Write({{"step", 3}});
  }
  EXPECT_EQ(ReadText(folder / "m.jsonl"), start + one + two + "{\"step\":3}\n");
  JsonLinesWriter(folder / "m.jsonl", 3);
  EXPECT_EQ(ReadText(folder / "m.jsonl"), start + one + two + "{\"step\":3}\n");
  JsonLinesWriter(folder / "m.jsonl", 0);
  EXPECT_EQ(ReadText(folder / "m.jsonl"), start);

  // A torn line that looks whole but for its end is torn too.
  WriteText(folder / "m.jsonl", one + "{\"step\":2}");
  JsonLinesWriter(folder / "m.jsonl", 5);
  EXPECT_EQ(ReadText(folder / "m.jsonl"), one);

  JsonLinesWriter(folder / "none.jsonl", 5).Write({{"step", 6}});
  EXPECT_EQ(ReadText(folder / "none.jsonl"), "{\"step\":6}\n");
}

TEST(JsonLines, RefusesToResumeWhatItHasNotWritten) {
  const TemporaryFolder folder;
  WriteText(folder / "notes", "{\"step\":1}\nnot json\n{\"step\":9}\n");
  EXPECT_ERROR(JsonLinesWriter(folder / "notes", 5), "line 2 is not a JSON object");
  EXPECT_EQ(ReadText(folder / "notes"), "{\"step\":1}\nnot json\n{\"step\":9}\n");
  EXPECT_ERROR(JsonLinesWriter(folder / "none/m.jsonl", std::nullopt), "cannot write");
}

TEST(Csv, WritesTheHeaderOnce) {
  const TemporaryFolder folder;
  CsvWriter writer(folder / "s.csv", std::nullopt);
  writer.Write({{"epoch", 1}, {"loss", 0.1}, {"note", "a,\"b\"\nc"}});
  writer.Write({{"epoch", 2}, {"loss", 1e-9}, {"note", "plain"}});
  EXPECT_EQ(ReadText(folder / "s.csv"),
            "epoch,loss,note\n1,0.1,\"a,\"\"b\"\" c\"\n2,1e-09,plain\n");
}

TEST(Csv, ResumingGoesOn) {
  const TemporaryFolder folder;
  WriteText(folder / "s.csv", "epoch,loss\n1,0.5\n2,0.25\n3,0.125\n4,0.");
  {
    CsvWriter writer(folder / "s.csv", 2);
    EXPECT_EQ(ReadText(folder / "s.csv"), "epoch,loss\n1,0.5\n2,0.25\n");
    EXPECT_ERROR(writer.Write({{"epoch", 3}, {"top1", 0.5}}), "its columns are epoch,loss");
    writer.Write({{"epoch", 3}, {"loss", 0.5}});
  }
  EXPECT_EQ(ReadText(folder / "s.csv"), "epoch,loss\n1,0.5\n2,0.25\n3,0.5\n");

  // A run that stopped before its first epoch's end, or within the header.
  for (const char* text : {"", "epoch,lo", "epoch,loss\n"}) {
    WriteText(folder / "s.csv", text);
    CsvWriter(folder / "s.csv", 0).Write({{"epoch", 1}, {"loss", 2.0}});
    EXPECT_EQ(ReadText(folder / "s.csv"), "epoch,loss\n1,2\n") << text;
  }
  WriteText(folder / "s.csv", "epoch,loss\nx,1\n");
  EXPECT_ERROR(CsvWriter(folder / "s.csv", 1), "line 2 is not a record");
}

}  // namespace
}  // namespace thinwire
