#include "kernels/cuda/launch.h"

#include <utility>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/step_recorder.h"

namespace thinwire::cuda {

void LaunchKernel(const char* name, const Queue& queue, const Grid& grid, const void* kernel,
                  std::span<const KernelArgument> arguments) {
  if (IsRecording(queue)) return queue.recorder->AddKernel(name, grid, kernel, arguments);
  cudaLaunchConfig_t configuration{};
  configuration.gridDim = dim3(static_cast<unsigned>(grid.blocks));
  configuration.blockDim = dim3(static_cast<unsigned>(grid.threads));
  configuration.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
  configuration.stream = queue.current_stream();
  std::vector<void*> values;
  for (const KernelArgument& argument : arguments) values.push_back(argument.value);
  Check(cudaLaunchKernelExC(&configuration, kernel, values.data()), name, __FILE__, __LINE__);
}

bool IsRecording(const Queue& queue) { return queue.recorder != nullptr && queue.recorder->on(); }

void Record(const Queue& queue, std::string key, std::function<void()> call) {
  queue.recorder->Add(key, std::move(call));
}

void Fill(const Queue& queue, void* memory, int value, int64_t bytes) {
  if (bytes == 0) return;
  const auto fill = [=] {
    THINWIRE_CUDA_CHECK(
        cudaMemsetAsync(memory, value, static_cast<size_t>(bytes), queue.current_stream()));
  };
  Enqueue(queue, fill, "fill", memory, value, bytes);
}

const void* RecordArgument(const Queue& queue, const void* value, size_t bytes) {
  return IsRecording(queue) ? queue.recorder->AddArgument(value, bytes) : nullptr;
}

}  // namespace thinwire::cuda
