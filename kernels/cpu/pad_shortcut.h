// The parameter-free shortcut on the CPU.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace thinwire {

/// Plans a padding shortcut. @throws Error if the shape makes no sense.
std::unique_ptr<PadShortcut> MakeCpuPadShortcut(const PadShortcutShape& shape);

}  // namespace thinwire
