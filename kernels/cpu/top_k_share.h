// One device's share of a Top-K, on the CPU.
#pragma once

#include <memory>

#include "kernels/compression.h"

namespace thinwire {

std::unique_ptr<TopKShare> MakeCpuTopKShare(const TopKShareShape& shape);

}  // namespace thinwire
