#include "kernels/cuda/step_recorder.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/side_queue.h"
#include "kernels/trace_range.h"

namespace thinwire::cuda {
namespace {

constexpr int64_t kWarmUps = 2;
constexpr size_t kFewest = 8;      // pieces of work that are worth a graph
constexpr size_t kMostKnown = 32;  // of which graphs are kept
constexpr size_t kAlignment = 16;  // of arguments

}  // namespace

void StepRecorder::Start() {
  if (!step_argument_upload_) step_argument_upload_.emplace();
  on_ = true;
}

void StepRecorder::Stop() {
  Flush();
  on_ = false;
}

void StepRecorder::Drop() {
  Clear();
  on_ = false;
}

size_t StepRecorder::Append(const void* bytes, size_t size) {
  key_.resize((key_.size() + kAlignment - 1) / kAlignment * kAlignment);
  const size_t offset = key_.size();
  key_.append(static_cast<const char*>(bytes), size);
  return offset;
}

void StepRecorder::AddKernel(const char* name, const Grid& grid, const void* kernel,
                             std::span<const KernelArgument> arguments) {
  Work work{.name = name,
            .kernel = kernel,
            .grid = grid,
            .first_argument = argument_offsets_.size(),
            .argument_count = arguments.size(),
            .call = {}};
  AppendKey(key_, 'k');
  AppendKey(key_, kernel);
  AppendKey(key_, grid.blocks);
  AppendKey(key_, grid.threads);
  AppendKey(key_, grid.shared_bytes);
  for (const KernelArgument& argument : arguments) {
    argument_offsets_.push_back(Append(argument.value, argument.size));
  }
  work_.push_back(std::move(work));
}

void StepRecorder::Add(const std::string& key, std::function<void()> call) {
  AppendKey(key_, 'c');
  AppendKey(key_, key.size());
  key_ += key;
  work_.push_back({.name = nullptr, .kernel = nullptr, .grid = {}, .call = std::move(call)});
}

const void* StepRecorder::AddArgument(const void* value, size_t bytes) {
  const size_t offset = (step_arguments_.size() + kAlignment - 1) / kAlignment * kAlignment;
  if (offset + bytes > StepArgumentUpload::kBytes) return nullptr;  // then it is part of the key
  step_arguments_.resize(offset);
  const auto* from = static_cast<const std::byte*>(value);
  step_arguments_.insert(step_arguments_.end(), from, from + bytes);
  return step_argument_upload_->destination() + offset;
}

void StepRecorder::Flush() {
  struct Cleared {
    StepRecorder& recorder;
    const bool on = std::exchange(recorder.on_, false);  // while work is enqueued
    ~Cleared() {
      // What was recorded has ended on one stream.
      if (on && recorder.queue_.side != nullptr) recorder.queue_.side->Return();
      recorder.Clear();
      recorder.on_ = on;
    }
  } cleared{*this};
  if (work_.empty()) return;
  for (const auto& [caller, surroundings] : surroundings_) surroundings.before();
  if (!step_arguments_.empty()) step_argument_upload_->Enqueue(step_arguments_, queue_.stream);
  Known* known = work_.size() < kFewest ? nullptr : &Find();
  if (known == nullptr || known->times++ < kWarmUps) {
    RunAll();
  } else {
    const TraceRange range(TraceCategory::kKernel, "graph");
    if (known->graph == nullptr) known->graph = Capture();
    THINWIRE_CUDA_CHECK(cudaGraphLaunch(known->graph.get(), queue_.stream));
  }
  for (const auto& [caller, surroundings] : surroundings_) surroundings.after();
}

StepRecorder::Known& StepRecorder::Find() {
  if (known_.size() >= kMostKnown && !known_.contains(key_)) {
    known_.erase(std::min_element(known_.begin(), known_.end(), [](const auto& a, const auto& b) {
      return a.second.last_flush < b.second.last_flush;
    }));
  }
  Known& known = known_[key_];
  known.last_flush = ++flushes_;
  return known;
}

void StepRecorder::Run(const Work& work) {
  if (work.kernel == nullptr) return work.call();
  std::vector<KernelArgument> arguments(work.argument_count);
  for (size_t i = 0; i < arguments.size(); ++i) {
    arguments[i] = {key_.data() + argument_offsets_[work.first_argument + i], 0};
  }
  LaunchKernel(work.name, queue_, work.grid, work.kernel, arguments);
}

void StepRecorder::RunAll() {
  for (const Work& work : work_) Run(work);
}

StepRecorder::Graph StepRecorder::Capture() {
  // Of this thread alone: other ranks' threads may do what a capture forbids.
  THINWIRE_CUDA_CHECK(cudaStreamBeginCapture(queue_.stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    RunAll();
  } catch (...) {
    cudaStreamEndCapture(queue_.stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  THINWIRE_CUDA_CHECK(cudaStreamEndCapture(queue_.stream, &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  Check(status, "cudaGraphInstantiate", __FILE__, __LINE__);
  return Graph(executable);
}

void StepRecorder::Clear() {
  work_.clear();
  key_.clear();
  argument_offsets_.clear();
  step_arguments_.clear();
  surroundings_.clear();
  for (void* memory : freed_) cudaFree(memory);  // waits for work that uses it
  freed_.clear();
}

}  // namespace thinwire::cuda
