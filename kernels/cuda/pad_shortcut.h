// The parameter-free shortcut on the GPU.
#pragma once

#include <memory>

#include "kernels/cuda/queue.h"
#include "kernels/operations.h"

namespace thinwire {

std::unique_ptr<PadShortcut> MakeCudaPadShortcut(const cuda::Queue& queue,
                                                 const PadShortcutShape& shape);

}  // namespace thinwire
