// What a resumed run may change, and what not.
#pragma once

#include "train/checkpoint.h"
#include "train/progress.h"
#include "train/settings.h"

namespace thinwire {

/// Settings without those that a resumed run may choose anew, because they do not change what it
/// computes: where it writes, when it stops and logs, where its ranks and threads come from.
Settings LastingSettings(const Settings& settings);

/// Tells what a resumed run changes. @throws Error (usage) for a setting that would make it another
/// run.
void CompareSettings(const Settings& settings, const Checkpoint& checkpoint,
                     ProgressLine& progress);

}  // namespace thinwire
