#include "kernels/cuda/convolution_plan.h"

#include <cudnn_frontend.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <source_location>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/plan_tuner.h"
#include "kernels/device.h"
#include "kernels/error.h"

namespace thinwire::cuda {
namespace {

namespace frontend = cudnn_frontend;
using Tensor = std::shared_ptr<frontend::graph::Tensor_attributes>;

enum Operand : int64_t { kLeft = 1, kRight, kResult };

void CheckCudnn(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status != CUDNN_STATUS_SUCCESS) Fail(call, file, line, cudnnGetErrorString(status));
}
#define THINWIRE_CUDNN_CHECK(call) CheckCudnn((call), #call, __FILE__, __LINE__)

const char* Name(ConvolutionDirection direction) {
  switch (direction) {
    case ConvolutionDirection::kForward:
      return "forward";
    case ConvolutionDirection::kData:
      return "data gradient";
    case ConvolutionDirection::kWeights:
      return "weight gradient";
  }
  return "";
}

std::string Describe(const ConvolutionShape& s, ConvolutionDirection direction,
                     const ConvolutionNumerics& numerics) {
  return fmt::format(
      "{} of a {} convolution {}x{}x{}x{} -> {}, filter {}x{}, stride {}x{}, padding "
      "{}x{}, groups {}",
      Name(direction),
      numerics.type == DataType::kBFloat16 ? "bf16"
      : numerics.tf32                      ? "TF32"
                                           : "float32",
      s.batch, s.height, s.width, s.in_channels, s.out_channels, s.kernel_height, s.kernel_width,
      s.stride_height, s.stride_width, s.padding_height, s.padding_width, s.groups);
}

class Plan : public ConvolutionPlan {
 public:
  Plan(const Cudnn* cudnn, const std::string* properties, const ConvolutionShape& shape,
       ConvolutionDirection direction, const ConvolutionNumerics& numerics)
      : handle_(cudnn == nullptr ? nullptr : cudnn->handle()),
        description_(Describe(shape, direction, numerics)) {
    CheckShape(shape);
    if (properties != nullptr) {
      std::vector<uint8_t> json(properties->begin(), properties->end());
      json.push_back(0);
      const auto device = std::make_shared<frontend::DeviceProperties>();
      Check("device properties", device->deserialize(json));
      graph_.set_device_properties(device);
    }
    graph_
        .set_io_data_type(numerics.type == DataType::kBFloat16 ? frontend::DataType_t::BFLOAT16
                                                               : frontend::DataType_t::FLOAT)
        .set_intermediate_data_type(frontend::DataType_t::FLOAT)
        .set_compute_data_type(frontend::DataType_t::FLOAT);
    AddConvolution(shape, direction);
    Check("validate", graph_.validate());
    Check("build_operation_graph", graph_.build_operation_graph(handle_));
    Check("create_execution_plans",
          graph_.create_execution_plans({frontend::HeurMode_t::A, frontend::HeurMode_t::FALLBACK}));
    std::vector<frontend::NumericalNote_t> unwanted = {
        frontend::NumericalNote_t::NONDETERMINISTIC,
        frontend::NumericalNote_t::REDUCED_PRECISION_REDUCTION};
    if (numerics.type == DataType::kFloat32) {
      // To sixteen bits; TF32 has no such note.
      unwanted.push_back(frontend::NumericalNote_t::DOWN_CONVERT_INPUTS);
      if (!numerics.tf32) unwanted.push_back(frontend::NumericalNote_t::TENSOR_CORE);
    }
    graph_.deselect_numeric_notes(unwanted);
    chosen_ = Choose(cudnn == nullptr ? nullptr : cudnn->tuner(), shape, numerics);
    Check("get_workspace_size", graph_.get_workspace_size_plan_at_index(chosen_, workspace_bytes_));
    Check("get_plan_name", graph_.get_plan_name_at_index(chosen_, name_));
    uses_tensor_cores_ = HasNote(frontend::NumericalNote_t::TENSOR_CORE);
  }

  int64_t workspace_bytes() const override { return workspace_bytes_; }
  const std::string& name() const override { return name_; }
  bool uses_tensor_cores() const override { return uses_tensor_cores_; }
  int64_t candidates() const override { return graph_.get_execution_plan_count(); }

  void Execute(const void* left, const void* right, void* result, void* workspace) override {
    if (handle_ == nullptr) throw Error(description_ + ": planned without a device", "");
    std::unordered_map<int64_t, void*> operands = {
        {kLeft, const_cast<void*>(left)}, {kRight, const_cast<void*>(right)}, {kResult, result}};
    Check("execute", graph_.execute_plan_at_index(handle_, operands, workspace, chosen_));
  }

 private:
  /// Builds the plan that the tuner finds best, or else the first.
  int64_t Choose(PlanTuner* tuner, const ConvolutionShape& s, const ConvolutionNumerics& numerics) {
    if (tuner == nullptr) return BuildFirst();
    PlanProposals proposals;
    for (int64_t i = 0; i < candidates(); ++i) {
      Check("get_plan_name", graph_.get_plan_name_at_index(i, proposals.names.emplace_back()));
    }
    proposals.build = [this](size_t i) {
      return graph_.build_plan_at_index(static_cast<int64_t>(i)).is_good();
    };
    // Each as large as the largest, so that it does not matter which is which.
    const int64_t elements = std::max({s.input_size(), s.filter_size(), s.output_size()});
    std::array<Buffer, 4> memory;  // three operands and the workspace
    proposals.run = [&](size_t i) {
      const auto plan = static_cast<int64_t>(i);
      int64_t workspace_bytes = 0;
      Check("get_workspace_size", graph_.get_workspace_size_plan_at_index(plan, workspace_bytes));
      const int64_t bytes = elements * SizeOf(numerics.type);
      for (const auto& [buffer, needed] : {std::pair{&memory[0], bytes},
                                           {&memory[1], bytes},
                                           {&memory[2], bytes},
                                           {&memory[3], workspace_bytes}}) {
        if (buffer->bytes() < needed) *buffer = tuner->device().Allocate(needed);
      }
      std::unordered_map<int64_t, void*> operands = {
          {kLeft, memory[0].data()}, {kRight, memory[1].data()}, {kResult, memory[2].data()}};
      Check("execute", graph_.execute_plan_at_index(handle_, operands, memory[3].data(), plan));
    };
    const auto chosen =
        tuner->Choose(fmt::format("cuDNN {}: {}", CudnnVersion(), description_), proposals);
    return chosen ? static_cast<int64_t>(*chosen) : BuildFirst();
  }

  /// Builds the first plan with the wanted numerics that can be built; its number.
  int64_t BuildFirst() {
    frontend::error_t status{frontend::error_code_t::HEURISTIC_QUERY_FAILED, "there is no plan"};
    for (int64_t i = 0; i < candidates(); ++i) {
      status = graph_.build_plan_at_index(i);
      if (status.is_good()) return i;
    }
    Check("build_plan_at_index", status);
    return -1;
  }

  /// Of the chosen plan. The frontend does not show notes, but refuses what is deselected by them.
  bool HasNote(frontend::NumericalNote_t note) {
    graph_.deselect_numeric_notes({note});
    return graph_.build_plan_at_index(chosen_).is_bad();
  }

  /// A tensor of dimensions n, c, h, w whose channels are neighbours.
  static frontend::graph::Tensor_attributes ChannelsLast(const char* name, Operand operand,
                                                         int64_t n, int64_t c, int64_t h,
                                                         int64_t w) {
    return frontend::graph::Tensor_attributes()
        .set_name(name)
        .set_uid(operand)
        .set_dim({n, c, h, w})
        .set_stride({c * h * w, 1, c * w, c});
  }

  void AddConvolution(const ConvolutionShape& s, ConvolutionDirection direction) {
    const auto input = [&](Operand operand) {
      return ChannelsLast("input", operand, s.batch, s.in_channels, s.height, s.width);
    };
    const auto filter = [&](Operand operand) {
      return ChannelsLast("filter", operand, s.out_channels, s.in_channels / s.groups,
                          s.kernel_height, s.kernel_width);
    };
    const auto output = [&](Operand operand) {
      return ChannelsLast("output", operand, s.batch, s.out_channels, s.out_height(),
                          s.out_width());
    };
    const auto geometry = [&](auto attributes) {
      attributes.set_padding({s.padding_height, s.padding_width})
          .set_stride({s.stride_height, s.stride_width})
          .set_dilation({1, 1});
      return attributes;
    };
    Tensor result;
    frontend::graph::Tensor_attributes form;
    switch (direction) {
      case ConvolutionDirection::kForward:
        form = output(kResult);
        result = graph_.conv_fprop(graph_.tensor(input(kLeft)), graph_.tensor(filter(kRight)),
                                   geometry(frontend::graph::Conv_fprop_attributes()));
        break;
      case ConvolutionDirection::kData:
        form = input(kResult);
        result = graph_.conv_dgrad(graph_.tensor(output(kLeft)), graph_.tensor(filter(kRight)),
                                   geometry(frontend::graph::Conv_dgrad_attributes()));
        break;
      case ConvolutionDirection::kWeights:
        form = filter(kResult);
        result = graph_.conv_wgrad(graph_.tensor(output(kRight)), graph_.tensor(input(kLeft)),
                                   geometry(frontend::graph::Conv_wgrad_attributes()));
        break;
    }
    result->set_output(true).set_uid(kResult).set_dim(form.get_dim()).set_stride(form.get_stride());
  }

  void Check(const char* call, frontend::error_t status,
             const std::source_location& place = std::source_location::current()) const {
    if (status.is_good()) return;
    Fail(fmt::format("cuDNN's {} for the {}", call, description_), place.file_name(),
         static_cast<int>(place.line()), status.get_message(),
         "CUDNN_LOGLEVEL_DBG=2 CUDNN_LOGDEST_DBG=stderr makes cuDNN say more");
  }

  cudnnHandle_t handle_;
  std::string description_, name_;
  frontend::graph::Graph graph_;
  int64_t chosen_ = 0, workspace_bytes_ = 0;
  bool uses_tensor_cores_ = false;
};

}  // namespace

int64_t CudnnVersion() { return static_cast<int64_t>(cudnnGetVersion()); }

Cudnn::Cudnn(const Queue& queue, PlanTuner* tuner) : tuner_(tuner) {
  THINWIRE_CUDNN_CHECK(cudnnCreate(&handle_));
  THINWIRE_CUDNN_CHECK(cudnnSetStream(handle_, queue.stream));
}

Cudnn::~Cudnn() { cudnnDestroy(handle_); }

std::unique_ptr<ConvolutionPlan> PlanConvolution(const Cudnn& cudnn, const ConvolutionShape& shape,
                                                 ConvolutionDirection direction,
                                                 const ConvolutionNumerics& numerics) {
  return std::make_unique<Plan>(&cudnn, nullptr, shape, direction, numerics);
}

std::unique_ptr<ConvolutionPlan> PlanConvolutionFor(const std::string& properties,
                                                    const ConvolutionShape& shape,
                                                    ConvolutionDirection direction,
                                                    const ConvolutionNumerics& numerics) {
  return std::make_unique<Plan>(nullptr, &properties, shape, direction, numerics);
}

}  // namespace thinwire::cuda
