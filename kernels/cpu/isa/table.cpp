#include "kernels/cpu/isa/kernels.h"

#define THINWIRE_STRING_OF(name) #name
#define THINWIRE_STRING(name) THINWIRE_STRING_OF(name)

namespace thinwire::cpu::THINWIRE_ISA {

const IsaKernels& Kernels() {
  static constexpr IsaKernels kernels = {
      .name = THINWIRE_STRING(THINWIRE_ISA),
      .copy = Copy,
      .add = Add,
      .relu = Relu,
      .relu_backward = ReluBackward,
      .scale = Scale,
      .average = Average,
      .dropout = Dropout,
      .sum_of_squares = SumOfSquares,
      .first_non_finite = FirstNonFinite,
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
      .momentum_update = MomentumUpdate,
      .adam_update = AdamUpdate,
      .rmsprop_update = RmspropUpdate,
      .sign_update = SignUpdate,
  };
  return kernels;
}

}  // namespace thinwire::cpu::THINWIRE_ISA
