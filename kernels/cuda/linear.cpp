#include "kernels/cuda/linear.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "kernels/cuda/bias.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/plan_tuner.h"
#include "kernels/error.h"
#include "kernels/trace_range.h"

namespace thinwire {
namespace cuda {
namespace {

void CheckCublas(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) Fail(call, file, line, cublasLtGetStatusString(status));
}
#define THINWIRE_CUBLAS_CHECK(call) CheckCublas((call), #call, __FILE__, __LINE__)

/// A matrix as it lies in memory, in cuBLAS's words: columns one after the other.
struct Matrix {
  int64_t rows, columns;
  bool transposed;  // in the product
};

/// The numbers of a product: factors of one type; result and bias of one.
struct ProductTypes {
  DataType factors = DataType::kFloat32, result = DataType::kFloat32;
};

/// result = left * right (+ bias, one number a row of the result), planned once: computed in
/// float32 (float32 factors in TF32 where that is allowed), summed in an order that does not change
/// from run to run.
class MatrixProduct {
 public:
  MatrixProduct(Device& device, const Queue& queue, const Cublas& cublas, const Matrix& left,
                const Matrix& right, bool bias, const ProductTypes& types,
                const GpuOptions& options)
      : device_(device), queue_(queue), handle_(cublas.handle()), bias_(bias) {
    const bool float32 = types.factors == DataType::kFloat32;
    const int64_t rows = left.transposed ? left.columns : left.rows;
    const int64_t columns = right.transposed ? right.rows : right.columns;
    THINWIRE_CUBLAS_CHECK(cublasLtMatmulDescCreate(
        &product_, float32 && options.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
        CUDA_R_32F));
    Set(CUBLASLT_MATMUL_DESC_TRANSA, left.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    Set(CUBLASLT_MATMUL_DESC_TRANSB, right.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias) Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    Lay(left.rows, left.columns, types.factors, &left_);
    Lay(right.rows, right.columns, types.factors, &right_);
    Lay(rows, columns, types.result, &result_);

    cublasLtMatmulPreference_t preference = nullptr;
    THINWIRE_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      THINWIRE_CUBLAS_CHECK(
          cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{32} << 20);
    if (float32 && !options.tf32) {
      prefer(CUBLASLT_MATMUL_PREF_IMPL_MASK,
             ~uint64_t{CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK});
    }
    // Parts of a split sum are added up in the workspace: in place they come in any order.
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(attribute, uint32_t{16});
    }
    std::array<cublasLtMatmulHeuristicResult_t, kMostAlgorithms> found{};
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, product_, left_, right_, result_, result_, preference,
        cublas.tuner() == nullptr ? 1 : kMostAlgorithms, found.data(), &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0)) {
      throw Error(fmt::format("cuBLASLt knows no way to multiply {}x{} by {}x{}", left.rows,
                              left.columns, right.rows, right.columns),
                  "");
    }
    THINWIRE_CUBLAS_CHECK(status);
    size_t chosen = 0;
    if (cublas.tuner() != nullptr) {
      const char* const factors = !float32 ? "bf16" : options.tf32 ? "TF32" : "float32";
      const char* const sums = types.result == DataType::kBFloat16 ? "bf16" : "float32";
      chosen =
          Choose(*cublas.tuner(), {found.data(), static_cast<size_t>(count)},
                 fmt::format("cuBLASLt {}: {} product {}x{}{} by {}x{}{} in {}{}",
                             cublasLtGetVersion(), factors, left.rows, left.columns,
                             left.transposed ? " transposed" : "", right.rows, right.columns,
                             right.transposed ? " transposed" : "", sums, bias ? " with bias" : ""),
                 std::max({left.rows * left.columns, right.rows * right.columns, rows * columns}));
    }
    algorithm_ = found[chosen].algo;
    workspace_bytes_ = found[chosen].workspaceSize;
    device.ReserveWorkspace(static_cast<int64_t>(workspace_bytes_));
  }

  ~MatrixProduct() {
    cublasLtMatrixLayoutDestroy(left_);
    cublasLtMatrixLayoutDestroy(right_);
    cublasLtMatrixLayoutDestroy(result_);
    cublasLtMatmulDescDestroy(product_);
  }
  MatrixProduct(const MatrixProduct&) = delete;
  MatrixProduct& operator=(const MatrixProduct&) = delete;

  void Run(ConstView left, ConstView right, ConstView bias, View result) {
    const TraceRange range(TraceCategory::kKernel, "matrix_product");
    void* const workspace = device_.workspace().data;
    const auto multiply = [=, this] {
      Multiply(left.data, right.data, bias.data, result.data, algorithm_, workspace,
               workspace_bytes_);
    };
    Enqueue(queue_, multiply, "matrix_product", product_, left.data, right.data, bias.data,
            result.data, workspace);
  }

 private:
  static constexpr int kMostAlgorithms = 8;

  /// The number of the algorithm that the tuner finds best, or else the first. Algorithms are told
  /// by cuBLASLt's own bytes of them, and only those that it proposes now are used.
  /// @param elements Of the largest operand.
  size_t Choose(PlanTuner& tuner, std::span<const cublasLtMatmulHeuristicResult_t> found,
                const std::string& what, int64_t elements) {
    PlanProposals proposals;
    for (const cublasLtMatmulHeuristicResult_t& result : found) {
      std::string& name = proposals.names.emplace_back();
      for (const uint64_t word : result.algo.data) name += fmt::format("{:016x}", word);
    }
    proposals.build = [](size_t) { return true; };
    std::array<Buffer, 5> memory;  // left, right, bias, result, and the workspace
    proposals.run = [&](size_t i) {
      for (Buffer& buffer : std::span(memory).first(4)) {
        if (!buffer) buffer = tuner.device().Allocate(elements * SizeOf(DataType::kFloat32));
      }
      Buffer& workspace = memory[4];
      const size_t workspace_bytes = found[i].workspaceSize;
      if (workspace.bytes() < static_cast<int64_t>(workspace_bytes)) {
        workspace = tuner.device().Allocate(static_cast<int64_t>(workspace_bytes));
      }
      Multiply(memory[0].data(), memory[1].data(), memory[2].data(), memory[3].data(),
               found[i].algo, workspace.data(), workspace_bytes);
    };
    return tuner.Choose(what, proposals).value_or(0);
  }

  void Multiply(const void* left, const void* right, const void* bias, void* result,
                const cublasLtMatmulAlgo_t& algorithm, void* workspace, size_t workspace_bytes) {
    if (bias_) Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    const float one = 1, zero = 0;
    THINWIRE_CUBLAS_CHECK(cublasLtMatmul(handle_, product_, &one, left, left_, right, right_, &zero,
                                         result, result_, result, result_, &algorithm, workspace,
                                         workspace_bytes, queue_.stream));
  }

  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, T value) {
    THINWIRE_CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof(value)));
  }
  static void Lay(int64_t rows, int64_t columns, DataType type, cublasLtMatrixLayout_t* layout) {
    THINWIRE_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(
        layout, type == DataType::kBFloat16 ? CUDA_R_16BF : CUDA_R_32F, static_cast<uint64_t>(rows),
        static_cast<uint64_t>(columns), rows));
  }

  Device& device_;
  Queue queue_;
  cublasLtHandle_t handle_;
  bool bias_;
  cublasLtMatmulDesc_t product_ = nullptr;
  cublasLtMatrixLayout_t left_ = nullptr, right_ = nullptr, result_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_bytes_ = 0;
};

// To cuBLAS our [rows, columns] is a matrix of `columns` rows: x is [in, batch], W [in, out].
class CudaLinear : public Linear {
 public:
  CudaLinear(Device& device, const Queue& queue, const Cublas& cublas, const LinearShape& shape,
             const GpuOptions& options)
      : device_(device), shape_(shape) {
    const auto [batch, in, out, bias, gradients, type] = shape;
    const ProductTypes same{type, type};
    if (batch > 0) {
      forward_.emplace(device, queue, cublas, Matrix{in, out, true}, Matrix{in, batch, false}, bias,
                       same, options);
      if (gradients.data) {
        data_.emplace(device, queue, cublas, Matrix{in, out, false}, Matrix{out, batch, false},
                      false, same, options);
      }
      if (gradients.weights) {
        weights_.emplace(device, queue, cublas, Matrix{in, batch, false}, Matrix{out, batch, true},
                         false, ProductTypes{type, DataType::kFloat32}, options);
      }
    }
    if (bias && gradients.weights) bias_gradient_.emplace(device, queue, batch, out);
  }

  void Forward(ConstView input, ConstView weight, ConstView bias, View output) override {
    if (forward_) forward_->Run(weight, input, bias, output);
  }

  void BackwardData(ConstView output_gradient, ConstView weight, View input_gradient) override {
    CheckDataGradient(shape_.gradients);
    if (data_) data_->Run(weight, output_gradient, {}, input_gradient);
  }

  void BackwardWeights(ConstView input, ConstView output_gradient, View weight_gradient,
                       View bias_gradient) override {
    CheckWeightGradient(shape_.gradients);
    if (weights_) {
      weights_->Run(input, output_gradient, {}, weight_gradient);
    } else {
      device_.Zero(weight_gradient);
    }
    if (shape_.bias) bias_gradient_->Run(output_gradient, bias_gradient);
  }

 private:
  Device& device_;
  LinearShape shape_;
  std::optional<MatrixProduct> forward_, data_, weights_;
  std::optional<BiasGradient> bias_gradient_;
};

}  // namespace

Cublas::Cublas(PlanTuner* tuner) : tuner_(tuner) {
  THINWIRE_CUBLAS_CHECK(cublasLtCreate(&handle_));
}

Cublas::~Cublas() { cublasLtDestroy(handle_); }

}  // namespace cuda

std::unique_ptr<Linear> MakeCudaLinear(Device& device, const cuda::Queue& queue,
                                       const cuda::Cublas& cublas, const LinearShape& shape,
                                       const GpuOptions& options) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaLinear>(device, queue, cublas, shape, options);
}

}  // namespace thinwire
