// `thinwire info --dataset NAME`: what a data set holds.
#pragma once

#include "train/settings.h"

namespace thinwire {

/// Counts images and classes, and decodes every encoded image to see which cannot be read. Prints
/// text, and with `json` as the last line an object. What cannot be read is no error.
/// @throws Error if there is no such data set.
void PrintDatasetInfo(const Settings& settings);

}  // namespace thinwire
