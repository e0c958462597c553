// Recipes of any bytes: parsing either throws thinwire::Error, or gives settings that survive being
// written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "kernels/error.h"
#include "train/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const thinwire::Settings settings = thinwire::ParseRecipe(text, "fuzzed.toml");
    if (!(thinwire::ParseRecipe(thinwire::WriteRecipe(settings), "written.toml") == settings)) {
      std::abort();
    }
    thinwire::SettingsTable(settings, {});
    thinwire::ValidateSettings(settings);
  } catch (const thinwire::Error&) {
    // The wrong recipe told as it should be.
  }
  return 0;
}
