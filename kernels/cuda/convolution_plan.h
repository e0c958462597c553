// Convolutions as cuDNN plans them. The one translation unit behind this header includes
// cudnn-frontend, which takes a minute to compile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/queue.h"
#include "kernels/operations.h"

struct cudnnContext;

namespace thinwire::cuda {

/// Of the library that runs, as cuDNN counts: 91900 is 9.19.0.
int64_t CudnnVersion();

class PlanTuner;

/// A cuDNN handle whose work goes to one queue.
class Cudnn {
 public:
  /// @param tuner Chooses among its plans; null: the heuristics' first is taken. Outlives this.
  /// @throws Error if cuDNN does not start.
  explicit Cudnn(const Queue& queue, PlanTuner* tuner = nullptr);
  ~Cudnn();
  Cudnn(const Cudnn&) = delete;
  Cudnn& operator=(const Cudnn&) = delete;

  cudnnContext* handle() const { return handle_; }
  PlanTuner* tuner() const { return tuner_; }

 private:
  cudnnContext* handle_ = nullptr;
  PlanTuner* const tuner_;
};

enum class ConvolutionDirection : uint8_t { kForward, kData, kWeights };

/// What a plan may do to numbers.
struct ConvolutionNumerics {
  DataType type = DataType::kFloat32;  // of all operands: kFloat32 or kBFloat16
  bool tf32 = false;                   // GpuOptions::tf32
};

/// One direction of a convolution without bias, NHWC and KRSC, sums in float32: deterministic, and
/// in float32 without tensor cores unless TF32 is allowed.
class ConvolutionPlan {
 public:
  virtual ~ConvolutionPlan() = default;
  virtual int64_t workspace_bytes() const = 0;
  /// cuDNN's name of engine and settings.
  virtual const std::string& name() const = 0;
  /// How many plans the heuristics proposed; those with the wrong numerics are counted, too.
  virtual int64_t candidates() const = 0;
  /// As cuDNN notes of it.
  virtual bool uses_tensor_cores() const = 0;
  /// Forward: result = left * right, input and filter. kData: from output's gradient and filter.
  /// kWeights: from input and output's gradient. Pointers are aligned to 16 bytes.
  /// @throws Error if cuDNN refuses, or the plan was made without a device.
  virtual void Execute(const void* left, const void* right, void* result, void* workspace) = 0;
};

/// @throws Error that names the shape if there is no such convolution or cuDNN has no engine for
/// it.
std::unique_ptr<ConvolutionPlan> PlanConvolution(const Cudnn& cudnn, const ConvolutionShape& shape,
                                                 ConvolutionDirection direction,
                                                 const ConvolutionNumerics& numerics);

/// As PlanConvolution, for a device that need not be there. cuDNN 9.8 or newer can.
/// @param properties cuDNN's JSON of the device's properties
/// (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION).
std::unique_ptr<ConvolutionPlan> PlanConvolutionFor(const std::string& properties,
                                                    const ConvolutionShape& shape,
                                                    ConvolutionDirection direction,
                                                    const ConvolutionNumerics& numerics);

}  // namespace thinwire::cuda
