// Top-K on the CPU.
#pragma once

#include <memory>

#include "kernels/compression.h"

namespace thinwire {

std::unique_ptr<TopK> MakeCpuTopK(const TopKShape& shape);

}  // namespace thinwire
