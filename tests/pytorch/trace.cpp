// Trains on one fixed batch and writes down what a comparison with another program needs.
//   trace MODEL WEIGHTS BATCH OPTIMIZER RATE STEPS GRADIENTS_OUT FINAL_OUT
// BATCH holds `images` [batch, height, width, channels] and `labels` [batch] (I32). Prints
// {"losses": [...]}; the gradients of the first step and the weights after the last are written
// under PyTorch's names and layouts.
#include <cstdio>
#include <string>

#include "kernels/error.h"
#include "layers/network.h"
#include "models/models.h"
#include "optim/optimizer.h"
#include "train/safetensors.h"
#include "train/weights.h"

using namespace thinwire;

int main(int argc, char** argv) try {
  if (argc != 9) {
    std::fprintf(stderr, "usage: trace MODEL WEIGHTS BATCH OPTIMIZER RATE STEPS GRADIENTS FINAL\n");
    return 2;
  }
  const SafetensorsFile batch = ReadSafetensors(argv[3]);
  const StoredTensor& images = batch.tensors.at("images");
  const StoredTensor& labels = batch.tensors.at("labels");
  const int64_t batch_size = images.shape[0];

  const auto device = MakeCpuDevice();
  const LayerGraph graph = BuildModel(argv[1], {});
  ParameterArena arena(*device, graph.tensor_specs());
  LoadWeights(argv[2], arena);
  Network network(graph, arena, {.batch_size = batch_size});
  device->CopyFromHost(images.bytes.data(), network.images());
  device->CopyFromHost(labels.bytes.data(), network.labels());

  OptimizerOptions options;
  options.name = argv[4];
  const auto communicator = MakeSingleCommunicator(arena.device());
  const auto optimizer = MakeOptimizer(options, arena, *communicator);
  const double rate = std::stod(argv[5]);
  std::printf("{\"losses\": [");
  for (int step = 0; step < std::stoi(argv[6]); ++step) {
    network.ForwardBackward(1.0f / static_cast<float>(batch_size), static_cast<uint64_t>(step));
    const LossResult result = network.ReadLoss();
    std::printf("%s%.17g", step == 0 ? "" : ", ",
                result.loss_sum / static_cast<double>(result.rows));
    if (step == 0) {
      ParameterArena gradients(*device, graph.tensor_specs());
      device->Copy(arena.gradients(), gradients.values());
      SaveWeights(argv[7], gradients);
    }
    optimizer->Step(rate, {});
  }
  std::printf("]}\n");
  SaveWeights(argv[8], arena);
} catch (const Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return error.exit_code();
}
