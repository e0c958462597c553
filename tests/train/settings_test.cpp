// The schema: recipes, texts, checks, and what is made of the settings.
#include "train/settings.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "kernels/error.h"
#include "models/models.h"
#include "tests/train/temporary_folder.h"
#include "tests/train/usage_error.h"
#include "train/step_profiler.h"

namespace thinwire {
namespace {

void ExpectRecipeError(const std::string& text, const std::vector<std::string>& parts) {
  SCOPED_TRACE(text);
  ExpectUsageError([&] { ParseRecipe(text, "recipe.toml"); }, parts);
}

void Set(const std::string& key, const std::string& text, Settings& settings) {
  SetFromText(*FindSetting(key), text, "--" + key, settings);
}

/// Settings that differ from the defaults in each kind of field.
Settings Unusual() {
  Settings settings;
  settings.data_dir = "a \"quoted\\path\"\twith\x01 control, ünïcode and \x7f";
  settings.train_files = {"one.bin", "two, or three.bin", ""};
  settings.batch_size = 33;
  settings.crop_padding = 0;
  settings.flip = false;
  settings.mean = {0.1, 1.0 / 3, 1};
  settings.std = {1e-30, 1e30, 123456789.0};
  settings.model = "'";
  settings.zero_init_residual = true;
  settings.lr = 0.1 + 0.2;
  settings.beta2 = 0.75;
  settings.eps = 5e-324;
  settings.decay_norm_and_bias = false;
  settings.decay_milestones = {1, 100, 1'000'000};
  settings.seed = int64_t{1} << 52;
  settings.sched = "multistep";
  return settings;
}

TEST(SettingsTest, SchemaIsSound) {
  std::set<std::string> names;
  std::set<char> short_flags;
  std::vector<std::string> sections;
  for (const SettingEntry& entry : SettingEntries()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    if (entry.short_flag != 0) {
      EXPECT_TRUE(short_flags.insert(entry.short_flag).second) << entry.name;
    }
    if (sections.empty() || sections.back() != entry.section) sections.push_back(entry.section);
    EXPECT_TRUE(entry.belongs_to(Command::kTrain)) << entry.name;
    EXPECT_EQ(FindSetting(entry.name), &entry);
    EXPECT_NE(std::string(entry.help).back(), '.') << entry.name;
  }
  EXPECT_EQ(std::set<std::string>(sections.begin(), sections.end()).size(), sections.size())
      << "a section is split";
  EXPECT_EQ(FindSetting("nothing"), nullptr);
}

TEST(SettingsTest, DefaultsFitTheSchema) {
  Settings settings;
  for (const SettingEntry& entry : SettingEntries()) {
    SetFromText(entry, ValueAsText(entry, settings), entry.name, settings);
  }
  EXPECT_EQ(settings, Settings{});
  ValidateSettings(settings);
}

// Also proves that every member of Settings has an entry as far as Unusual() sets it.
TEST(SettingsTest, WrittenRecipeReadsBackEqual) {
  EXPECT_EQ(ParseRecipe(WriteRecipe(Settings{}), "written"), Settings{});
  EXPECT_EQ(ParseRecipe(WriteRecipe(Unusual()), "written"), Unusual());
}

TEST(SettingsTest, RecipeLiesOverTheSettingsBelow) {
  Settings settings;
  settings.lr = 7;
  settings.batch_size = 64;
  SettingSources sources;
  ApplyRecipe("# a comment\nbatch-size = 256\n\nmodel = \"resnet56\"\nflip = \"auto\"\n", "r.toml",
              settings, &sources);
  EXPECT_EQ(settings.lr, 7);
  EXPECT_EQ(settings.batch_size, 256);
  EXPECT_EQ(settings.model, "resnet56");
  EXPECT_EQ(sources, (SettingSources{
                         {"batch-size", "r.toml:2"}, {"model", "r.toml:4"}, {"flip", "r.toml:5"}}));
}

TEST(SettingsTest, RecipeTakesUnderscoresAndWholeNumbersForNumbers) {
  const Settings settings =
      ParseRecipe("weight_decay = 1\ndecay_milestones = [ 30, 60 ]\nmean = [0, 0.5, 1]", "r.toml");
  EXPECT_EQ(settings.weight_decay, 1.0);
  EXPECT_EQ(settings.decay_milestones, (std::vector<int64_t>{30, 60}));
  EXPECT_EQ(settings.mean, (std::vector<double>{0, 0.5, 1}));
}

TEST(SettingsTest, RecipeErrorsNameFileLineKeyAndValue) {
  ExpectRecipeError("lr = 0.1\n\nbath-size = 3", {"recipe.toml:3", "'bath-size'", "batch-size"});
  ExpectRecipeError("lr = \"fast\"", {"recipe.toml:1: lr", "fast", "a number"});
  ExpectRecipeError("lr = -0.5", {"recipe.toml:1: lr", "'-0.5'", "at least 0"});
  ExpectRecipeError("lr = nan", {"recipe.toml:1: lr", "finite"});
  ExpectRecipeError("lr = inf", {"recipe.toml:1: lr", "finite"});
  ExpectRecipeError("epochs = 1.5", {"recipe.toml:1: epochs", "'1.5'", "whole number"});
  ExpectRecipeError("batch-size = 0", {"recipe.toml:1: batch-size", "'0'", "from 1 to"});
  ExpectRecipeError("flip = \"maybe\"", {"recipe.toml:1: flip", "maybe", "on or off, or auto"});
  ExpectRecipeError("lr = \"auto\"", {"recipe.toml:1: lr", "auto"});
  ExpectRecipeError("opt = \"adamm\"", {"recipe.toml:1: opt", "'adamm'", "adam"});
  ExpectRecipeError("opt = 3", {"recipe.toml:1: opt", "'3'", "adamw"});
  ExpectRecipeError("momentum = 1", {"recipe.toml:1: momentum", "below 1"});
  ExpectRecipeError("mean = 0.5", {"recipe.toml:1: mean", "a list"});
  ExpectRecipeError("lr = [0.5]", {"recipe.toml:1: lr", "[0.5]"});
  ExpectRecipeError("mean = [0.5, \"x\"]", {"recipe.toml:1: mean", "a list"});
  ExpectRecipeError("mean = [[0.5]]", {"recipe.toml:1: mean"});
  ExpectRecipeError("lr = 1979-05-27", {"recipe.toml:1: lr"});
  ExpectRecipeError("[data]\nbatch-size = 3", {"recipe.toml:1", "'data'", "without [tables]"});
  ExpectRecipeError("[=", {"recipe.toml", "TOML"});
  ExpectRecipeError("mean = [}", {"recipe.toml", "TOML"});
  ExpectRecipeError("data.lr = 1", {"recipe.toml:1", "'data'", "without [tables]"});
  ExpectRecipeError("data = {lr = 1}", {"recipe.toml:1", "'data'", "without [tables]"});
  ExpectRecipeError("lr = 1\nlr = 2", {"recipe.toml:2", "lr"});
  ExpectRecipeError("batch-size = 1\nbatch_size = 2", {"recipe.toml:2", "given twice"});
  ExpectRecipeError("lr = ", {"recipe.toml:1", "TOML"});
  ExpectRecipeError("model = \"\\u0000\"", {"recipe.toml:1: model", "UTF-8"});
  ExpectRecipeError("\xff\xfe", {"recipe.toml:1"});
  // The first error of the file is told, not the first key of the alphabet.
  ExpectRecipeError("zzzzzz = 1\naaaaaa = 1", {"recipe.toml:1", "zzzzzz"});
}

TEST(SettingsTest, RecipeWithAnErrorChangesNothing) {
  Settings settings;
  SettingSources sources;
  EXPECT_THROW(ApplyRecipe("lr = 3\nepochs = -1", "r.toml", settings, &sources), Error);
  EXPECT_EQ(settings, Settings{});
  EXPECT_TRUE(sources.empty());
}

TEST(SettingsTest, RecipeFiles) {
  const TemporaryFolder folder;
  Settings settings;
  ExpectUsageError([&] { ApplyRecipeFile(folder / "none.toml", settings); },
                   {"none.toml", "no such file"});
  ExpectUsageError([&] { ApplyRecipeFile(folder.path(), settings); }, {folder.path(), "folder"});
  WriteText(folder / "huge.toml", std::string((1 << 20) + 1, '\n'));
  ExpectUsageError([&] { ApplyRecipeFile(folder / "huge.toml", settings); }, {"larger than 1 MiB"});
  WriteText(folder / "empty.toml", "");
  ApplyRecipeFile(folder / "empty.toml", settings);
  EXPECT_EQ(settings, Settings{});
  WriteText(folder / "good.toml", "lr = 0.5\n");
  ApplyRecipeFile(folder / "good.toml", settings);
  EXPECT_EQ(settings.lr, 0.5);
}

// The recipes that come with the program are read and fit together once the data's place is known.
TEST(SettingsTest, ShippedRecipesAreValid) {
  const std::string source = THINWIRE_SOURCE_DIR;
  int count = 0;
  for (const auto& file : std::filesystem::directory_iterator(source + "/recipes")) {
    if (file.path().extension() != ".toml") continue;
    SCOPED_TRACE(file.path().string());
    Settings settings;
    ApplyRecipeFile(file.path().string(), settings);
    settings.data_dir = "somewhere";
    ValidateSettings(settings);
    EXPECT_NO_THROW(BuildModel(settings.model, {}));
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(SettingsTest, TextsOfFlags) {
  Settings settings;
  Set("lr", "1e-3", settings);
  EXPECT_EQ(settings.lr, 1e-3);
  Set("lr", "+.5", settings);
  EXPECT_EQ(settings.lr, 0.5);
  Set("batch-size", "17", settings);
  EXPECT_EQ(settings.batch_size, 17);
  for (const std::string text : {"on", "true"}) {
    settings.json = false;
    Set("json", text, settings);
    EXPECT_TRUE(settings.json);
  }
  Set("flip", "off", settings);
  EXPECT_EQ(settings.flip, false);
  Set("flip", "auto", settings);
  EXPECT_EQ(settings.flip, std::nullopt);
  Set("crop-padding", "3", settings);
  EXPECT_EQ(settings.crop_padding, 3);
  Set("decay-milestones", "30,60", settings);
  EXPECT_EQ(settings.decay_milestones, (std::vector<int64_t>{30, 60}));
  Set("decay-milestones", "", settings);
  EXPECT_TRUE(settings.decay_milestones.empty());
  Set("train-files", "a.bin,b.bin", settings);
  EXPECT_EQ(settings.train_files, (std::vector<std::string>{"a.bin", "b.bin"}));
}

TEST(SettingsTest, TextsThatDoNotFit) {
  const auto expect = [](const std::string& key, const std::string& text, const std::string& part) {
    Settings settings;
    ExpectUsageError([&] { Set(key, text, settings); }, {"--" + key, part});
    EXPECT_EQ(settings, Settings{});
  };
  expect("lr", "", "a number");
  expect("lr", "1x", "'1x'");
  expect("lr", " 1", "' 1'");
  expect("lr", "1e999", "'1e999'");
  expect("lr", "-nan", "finite");
  expect("lr", "+-1", "'+-1'");
  expect("batch-size", "9223372036854775808", "whole number");
  expect("batch-size", "0x10", "whole number");
  expect("json", "auto", "on or off");
  expect("decay-milestones", "30,,60", "a list");
  expect("decay-milestones", "0,3", "at least 1");
  expect("device", "gpu", "cpu");
  expect("data-dir", "\xc3\x28", "UTF-8");
  expect("data-dir", "\xed\xa0\x80", "UTF-8");      // half a surrogate pair
  expect("data-dir", "\xc0\xaf", "UTF-8");          // longer than need be
  expect("data-dir", "\xf4\x90\x80\x80", "UTF-8");  // beyond Unicode
  expect("data-dir", "cut off \xe2\x82", "UTF-8");
  expect("lr", "line\nbreak", "line\\x0abreak");
  expect("lr", std::string(1000, 'x'), "xxx…'");
}

TEST(SettingsTest, SettingsThatDoNotFitEachOther) {
  const auto expect = [](const std::string& recipe, const std::string& part) {
    SCOPED_TRACE(recipe);
    const Settings settings = ParseRecipe(recipe, "r.toml");
    ExpectUsageError([&] { ValidateSettings(settings); }, {part});
  };
  expect("dataset = \"cifar10\"", "--data-dir");
  expect("mean = [0.5]", "mean has 1 values and std has 0");
  expect("sched = \"multistep\"", "decay-milestones");
  expect("sched = \"multistep\"\ndecay-milestones = [60, 30]", "30 after 60");
  expect("sched = \"multistep\"\ndecay-milestones = [30, 30]", "rising");
  expect("warmup-epochs = 1", "onecycle");
  expect("opt = \"sgd\"\nmomentum = 0.9", "nesterov");
  expect("scale-granularity = \"block\"", "block:N");
  expect("scale-granularity = \"block:0\"", "block:N");
  expect("scale-granularity = \"block:1x\"", "block:N");
  expect("scale-granularity = \"\"", "block:N");
  expect("compressor = \"sign\"\ntopk = 5", "compressor sign");
  expect("gpus = [0]\ndevice = \"cpu\"", "gpus");
  expect("gpus = [0, 1]\nworkers = 3", "3 workers on 2 gpus");
  expect("gpus = [0, 1]\nworkers = 2\nworkers-per-gpu = 2", "are 4");
  expect("workers = 4\nworkers-per-gpu = 3", "are 3");
  expect("dtype = \"f64\"", "logistic regression");
  expect("batch-size = \"full\"", "logistic regression");
  expect("dataset = \"libsvm\"\ndata-dir = \"d\"", "model logreg");
  const std::string logreg = "model = \"logreg\"\ndataset = \"libsvm\"\ndata-dir = \"d\"\n";
  expect(logreg, "train-files");
  expect(logreg + "train-files = [\"a\"]\nlabel-smoothing = 0.1", "label-smoothing");
  expect(logreg + "train-files = [\"a\"]\nmixup = 0.2", "mixup");
  expect(logreg + "train-files = [\"a\"]\ncutmix = 1", "cutmix");
  expect(logreg + "train-files = [\"a\"]\ngrad-accum-steps = 2", "grad-accum-steps");
  expect(logreg + "train-files = [\"a\"]\nmodel-ema = 0.5", "model-ema");
}

TEST(SettingsTest, TableShowsEverySettingInLinesOfAHundredColumns) {
  Settings settings;
  settings.batch_size = 64;
  settings.data_dir = std::string(70, 'd');
  const std::string table = SettingsTable(settings, {{"batch-size", "--batch-size"}});
  for (const SettingEntry& entry : SettingEntries()) {
    EXPECT_NE(table.find(entry.name), std::string::npos) << entry.name;
  }
  EXPECT_NE(table.find("batch-size* "), std::string::npos);
  EXPECT_NE(table.find(settings.data_dir), std::string::npos);
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST(SettingsTest, TableOfValuesLongerThanALine) {
  Settings settings;
  settings.data_dir = std::string(300, 'd');
  EXPECT_NE(SettingsTable(settings, {}).find(settings.data_dir), std::string::npos);
}

TEST(SettingsTest, LogisticRegressionHasDefaultsOfItsOwn) {
  const Settings images;
  EXPECT_EQ(MakeOptimizerOptions(images).weight_decay, 5e-4);
  EXPECT_EQ(MakeScheduleOptions(images).name, "onecycle");
  const Settings rows = ParseRecipe(
      "model = \"logreg\"\ndataset = \"libsvm\"\ndata-dir = \"d\"\ntrain-files = [\"a9a\"]\n"
      "batch-size = \"full\"\ndtype = \"f64\"\nwarmup-epochs = 1\n",
      "r.toml");
  ValidateSettings(rows);
  EXPECT_FALSE(rows.batch_size.has_value());
  EXPECT_EQ(rows.lambda, 0.1);
  EXPECT_EQ(MakeOptimizerOptions(rows).weight_decay, 0);
  EXPECT_EQ(MakeScheduleOptions(rows).name, "constant");
  EXPECT_EQ(MakeOptimizerOptions(ParseRecipe("weight-decay = 0.5\nmodel = \"logreg\"", "r.toml"))
                .weight_decay,
            0.5);
}

TEST(SettingsTest, CompressionReachesTheOptimizer) {
  const OptimizerOptions options = MakeOptimizerOptions(ParseRecipe(
      "weight-decay-at = \"update\"\ncompressor = \"topk\"\ntopk = 7\ntopk-ratio = 0.5\n"
      "scale-granularity = \"block:64\"\nsign-scale = \"l2\"\n"
      "uncompressed-tensors = [\"bias\", \"bn\"]\nindex-coding = \"packed\"\n"
      "value-type = \"bf16\"\nserver = \"central\"\nsingle-way = true\n"
      "error-average-period = 3\nfreeze-steps = 4\nbias-correction = true\neta = 0.25\n"
      "first-message = \"full\"\nseed = 9\n",
      "r.toml"));
  EXPECT_EQ(options.weight_decay_at, "update");
  EXPECT_EQ(options.compressor, "topk");
  EXPECT_EQ(options.top_k, 7);
  EXPECT_EQ(options.top_k_ratio, 0.5);
  EXPECT_EQ(options.scale_granularity, "block:64");
  EXPECT_EQ(options.sign_scale, "l2");
  EXPECT_EQ(options.uncompressed_tensors, (std::vector<std::string>{"bias", "bn"}));
  EXPECT_EQ(options.index_coding, "packed");
  EXPECT_EQ(options.value_type, "bf16");
  EXPECT_EQ(options.server, "central");
  EXPECT_EQ(options.single_way, true);
  EXPECT_EQ(options.error_average_period, 3);
  EXPECT_EQ(options.freeze_steps, 4);
  EXPECT_TRUE(options.bias_correction);
  EXPECT_EQ(options.eta, 0.25);
  EXPECT_EQ(options.first_message, "full");
  EXPECT_EQ(options.seed, 9u);
}

TEST(SettingsTest, AugmentationFollowsTheDataSetUnlessGiven) {
  const auto augmentation = [](const std::string& recipe) {
    return MakeAugmentationOptions(ParseRecipe(recipe, "r.toml"));
  };
  EXPECT_EQ(augmentation("dataset = \"cifar10\"").crop_padding, 4);
  EXPECT_TRUE(augmentation("dataset = \"cifar100\"").flip);
  EXPECT_EQ(augmentation("dataset = \"mnist\"").crop_padding, 0);
  EXPECT_FALSE(augmentation("dataset = \"mnist\"").flip);
  EXPECT_EQ(augmentation("dataset = \"shapes\"").crop_padding, 2);
  EXPECT_EQ(augmentation("dataset = \"cifar10\"\ncrop-padding = 0").crop_padding, 0);
  EXPECT_FALSE(augmentation("dataset = \"cifar10\"\nflip = false").flip);
  EXPECT_TRUE(augmentation("dataset = \"mnist\"\nflip = true").flip);
  EXPECT_EQ(augmentation("cutout = 8").cutout, 8);
}

TEST(SettingsTest, OptionsOfTheFoldersBelow) {
  const Settings settings = ParseRecipe(
      "opt = \"amsgrad\"\nmomentum = 0.5\nbeta1 = 0.8\nbeta2 = 0.7\neps = 0.1\nalpha = 0.6\n"
      "weight-decay = 0.2\ndecay-norm-and-bias = false\namsgrad-form = \"corrected\"\n"
      "sched = \"polynomial\"\nlr = 0.3\nmin-lr = 0.01\ndecay-rate = 0.4\ndecay-epochs = 7\n"
      "decay-milestones = [5]\npoly-power = 2\nwarmup-epochs = 1.5\nwarmup-lr = 0.02\n"
      "dataset = \"mnist\"\ndata-dir = \"d\"\ntrain-files = [\"t\"]\ntest-files = [\"e\"]\n"
      "mean = [0.25]\nstd = [0.5]\n",
      "r.toml");
  const OptimizerOptions optimizer = MakeOptimizerOptions(settings);
  EXPECT_EQ(optimizer.name, "amsgrad");
  EXPECT_EQ(optimizer.momentum, 0.5);
  EXPECT_EQ(optimizer.beta1, 0.8);
  EXPECT_EQ(optimizer.beta2, 0.7);
  EXPECT_EQ(optimizer.epsilon, 0.1);
  EXPECT_EQ(optimizer.alpha, 0.6);
  EXPECT_EQ(optimizer.weight_decay, 0.2);
  EXPECT_FALSE(optimizer.decay_norm_and_bias);
  EXPECT_EQ(optimizer.amsgrad_form, "corrected");
  const ScheduleOptions schedule = MakeScheduleOptions(settings);
  EXPECT_EQ(schedule.name, "polynomial");
  EXPECT_EQ(schedule.learning_rate, 0.3);
  EXPECT_EQ(schedule.min_learning_rate, 0.01);
  EXPECT_EQ(schedule.decay_rate, 0.4);
  EXPECT_EQ(schedule.decay_epochs, 7);
  EXPECT_EQ(schedule.decay_milestones, std::vector<int64_t>{5});
  EXPECT_EQ(schedule.power, 2);
  EXPECT_EQ(schedule.warmup_epochs, 1.5);
  EXPECT_EQ(schedule.warmup_learning_rate, 0.02);
  const DatasetOptions train = MakeDatasetOptions(settings, Split::kTrain);
  EXPECT_EQ(train.name, "mnist");
  EXPECT_EQ(train.data_dir, "d");
  EXPECT_EQ(train.files, std::vector<std::string>{"t"});
  EXPECT_EQ(train.count, 10000);
  const DatasetOptions test = MakeDatasetOptions(settings, Split::kTest);
  EXPECT_EQ(test.files, std::vector<std::string>{"e"});
  EXPECT_EQ(test.count, 2000);
  EXPECT_EQ(MakeNormalization(settings).mean, std::vector<float>{0.25f});
  EXPECT_EQ(MakeNormalization(settings).deviation, std::vector<float>{0.5f});
  EXPECT_FALSE(MakeNormalization(Settings{}).mean.empty());
}

TEST(SettingsTest, ProfiledSteps) {
  const auto validate = [](const std::string& text) {
    Settings settings;
    Set("profile", text, settings);
    ValidateSettings(settings);
    EXPECT_EQ(ParseRecipe(WriteRecipe(settings), "written").profile, text);
  };
  for (const char* good : {"", "1:1", "100:10", "9223372036854775807:9223372036854775807"}) {
    validate(good);
  }
  for (const char* bad : {"1", ":", "1:", ":1", "0:1", "-1:1", "1:0", "1:-1", "+1:1", "1:1:1",
                          "1;2", " 1:1", "1:1 ", "a:b", "1.5:2", "1:9223372036854775808"}) {
    SCOPED_TRACE(bad);
    ExpectUsageError([&] { validate(bad); },
                     {"profile is '" + std::string(bad) + "'", "START:COUNT"});
  }
  Settings settings = ParseRecipe("profile = \"7\"", "r.toml");
  ExpectUsageError([&] { ValidateSettings(settings); }, {"profile is '7'", "100:10"});
  ExpectRecipeError("profile = 7", {"recipe.toml:1: profile", "'7'", "text"});
}

TEST(SettingsTest, ProfiledStepsAreCountedFromTheFirst) {
  const ProfiledSteps steps = ParseProfiledSteps("5:3");
  for (const int64_t step : {4, 8}) EXPECT_FALSE(steps.contains(step)) << step;
  for (const int64_t step : {5, 6, 7}) EXPECT_TRUE(steps.contains(step)) << step;
  EXPECT_TRUE(ParseProfiledSteps("2:9223372036854775807").contains(int64_t{1} << 62));
  EXPECT_FALSE(ParseProfiledSteps("").contains(0));
}

}  // namespace
}  // namespace thinwire
