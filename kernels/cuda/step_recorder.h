// Work that is put off, so that what comes again and again is replayed as one CUDA graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_argument_upload.h"

namespace thinwire::cuda {

/// While it is on, work for a queue is written down instead of enqueued. A flush, which has to come
/// before anything waits for the queue, enqueues it. Work between two flushes that is the same as
/// before, operand for operand, is captured into a graph the third time, and replayed from then on.
/// What changes from step to step is read from memory: RecordArgument.
///
/// Graphs are kept by what they hold, so that nobody has to say which kind of step comes next.
class StepRecorder {
 public:
  explicit StepRecorder(const Queue& queue) : queue_(queue) {}
  StepRecorder(const StepRecorder&) = delete;
  StepRecorder& operator=(const StepRecorder&) = delete;

  void Start();
  /// Enqueues what is left.
  void Stop();
  /// Ends without enqueueing what is left.
  void Drop();
  bool on() const { return on_; }

  void AddKernel(const char* name, const Grid& grid, const void* kernel,
                 std::span<const KernelArgument> arguments);
  void Add(const std::string& key, std::function<void()> call);
  const void* AddArgument(const void* value, size_t bytes);

  /// What somebody does before and after the next flush enqueues work.
  struct Surroundings {
    std::function<void()> before, after;
  };
  /// The last of each `caller` counts.
  void Surround(const void* caller, Surroundings surroundings) {
    surroundings_[caller] = std::move(surroundings);
  }
  /// Frees memory once what is recorded so far has been enqueued.
  void FreeLater(void* memory) { freed_.push_back(memory); }

  /// @throws Error of the work that could not be enqueued; the rest is dropped.
  void Flush();
  /// Destroys all graphs, which hold on to the communicators that they use.
  void ForgetGraphs() { known_.clear(); }

 private:
  struct Work {
    const char* name = nullptr;
    const void* kernel = nullptr;  // null: it is `call`
    Grid grid;
    size_t first_argument = 0, argument_count = 0;  // in argument_offsets_
    std::function<void()> call;
  };
  struct DestroyGraph {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, DestroyGraph>;
  /// Work between two flushes that has come before.
  struct Known {
    int64_t times = 0;
    int64_t last_flush = 0;
    Graph graph;
  };

  Known& Find();
  void Run(const Work& work);
  void RunAll();
  Graph Capture();
  void Clear();
  size_t Append(const void* bytes, size_t size);

  const Queue queue_;  // without a recorder
  bool on_ = false;
  std::vector<Work> work_;
  std::string key_;                       // of all work, kernels' arguments included
  std::vector<size_t> argument_offsets_;  // in key_
  std::vector<std::byte> step_arguments_;
  std::optional<StepArgumentUpload> step_argument_upload_;  // once it has been on
  std::unordered_map<const void*, Surroundings> surroundings_;
  std::vector<void*> freed_;
  std::unordered_map<std::string, Known> known_;
  int64_t flushes_ = 0;
};

}  // namespace thinwire::cuda
