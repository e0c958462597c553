#include "kernels/cpu/isa/kernels.h"

#define THINWIRE_STRING_OF(name) #name
#define THINWIRE_STRING(name) THINWIRE_STRING_OF(name)

namespace thinwire::cpu::THINWIRE_ISA {
namespace {

template <typename T>
constexpr FlatKernels<T> Flat() {
  return {
      .add = Add<T>,
      .scale = Scale<T>,
      .average = Average<T>,
      .evaluate = Evaluate<T>,
      .sum_parts = SumParts<T>,
      .sum_of_squares = SumOfSquares<T>,
      .first_non_finite = FirstNonFinite<T>,
      .momentum_update = MomentumUpdate<T>,
      .adam_update = AdamUpdate<T>,
      .rmsprop_update = RmspropUpdate<T>,
      .sign_update = SignUpdate<T>,
      .frozen_adam_update = FrozenAdamUpdate<T>,
      .pack = PackInput<T>,
      .pack_difference = PackDifference<T>,
      .pack_sum = PackSum<T>,
      .pack_mean_difference = PackMeanDifference<T>,
      .pack_mean_sum = PackMeanSum<T>,
      .mean_of_signs = MeanOfSigns<T>,
      .add_signs = AddSigns<T>,
      .settle_error = SettleError<T>,
      .add_signs_and_adam = AddSignsAndAdam<T>,
      .collect_large = CollectLarge<T>,
      .gather = Gather<T>,
  };
}

}  // namespace

const IsaKernels& Kernels() {
  static constexpr IsaKernels kernels = {
      .name = THINWIRE_STRING(THINWIRE_ISA),
      .copy = Copy,
      .relu = Relu,
      .relu_backward = ReluBackward,
      .dropout = Dropout,
      .moments = Moments,
      .add_rows = AddRows,
      .normalise = Normalise,
      .backward_reduce = BackwardReduce,
      .backward_apply = BackwardApply,
      .max_pooling_row = MaxPoolingRow,
      .average_pooling_row = AveragePoolingRow,
      .max_pooling_backward_row = MaxPoolingBackwardRow,
      .average_pooling_backward_row = AveragePoolingBackwardRow,
      .mean_rows = MeanRows,
      .resample_row = ResampleRow,
      .mix_rows = MixRows,
      .float32 = Flat<float>(),
      .float64 = Flat<double>(),
  };
  return kernels;
}

}  // namespace thinwire::cpu::THINWIRE_ISA
