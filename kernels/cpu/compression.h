// The scaled sign on the CPU.
#pragma once

#include <memory>

#include "kernels/compression.h"

namespace thinwire {

std::unique_ptr<SignCompression> MakeCpuSignCompression(const SignShape& shape);

}  // namespace thinwire
