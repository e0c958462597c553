#include "kernels/cpu/updates.h"

#include <cassert>

#include "kernels/cpu/bfloat16.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire::cpu {
namespace {

constexpr int64_t kChunk = 16384;

template <typename T>
T* At(View view, int64_t offset) {
  return view ? view.as<T>() + offset : nullptr;
}

/// The update's settings, with what scales the gradient.
template <typename T, typename AnUpdate>
auto ScaledArgumentsOf(const AnUpdate& update) {
  auto a = ArgumentsOf<T>(update);
  if (update.common.gradient_scale)
    a.gradient_scale = *update.common.gradient_scale.template as<T>();
  return a;
}

/// Calls function.operator()<T>(begin, count) on the chunks of x, and rounds what x is then to
/// `bfloat16_x` if there is one: what the cache holds.
template <typename Function>
void ForEachChunk(ConstView x, View bfloat16_x, const Function& function) {
  assert(!bfloat16_x || (bfloat16_x.size == x.size && x.type == DataType::kFloat32));
  WithFloatingType(x.type, [&]<typename T>() {
    ParallelFor(x.size, kChunk, [&](int64_t begin, int64_t end) {
      function.template operator()<T>(begin, end - begin);
      if (!bfloat16_x) return;
      Round(x.as<float>() + begin, bfloat16_x.as<BFloat16>() + begin, end - begin);
    });
  });
}

}  // namespace

void Update(const MomentumUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  ForEachChunk(x, update.common.bfloat16_x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().momentum_update(ScaledArgumentsOf<T>(update), gradient.as<T>() + i,
                                    At<T>(buffer, i), At<T>(x, i), count);
  });
}

void Update(const AdamUpdate& update, ConstView gradient, View momentum, View variance,
            View max_variance, View x) {
  assert(gradient.size == x.size && momentum.size == x.size && variance.size == x.size);
  ForEachChunk(x, update.common.bfloat16_x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().adam_update(ScaledArgumentsOf<T>(update), gradient.as<T>() + i,
                                At<T>(momentum, i), At<T>(variance, i), At<T>(max_variance, i),
                                At<T>(x, i), count);
  });
}

void Update(const RmspropUpdate& update, ConstView gradient, View variance, View buffer, View x) {
  assert(gradient.size == x.size && variance.size == x.size);
  ForEachChunk(x, update.common.bfloat16_x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().rmsprop_update(ScaledArgumentsOf<T>(update), gradient.as<T>() + i,
                                   At<T>(variance, i), At<T>(buffer, i), At<T>(x, i), count);
  });
}

void Update(const SignSgdUpdate& update, ConstView gradient, View buffer, View x) {
  assert(gradient.size == x.size && (!buffer || buffer.size == x.size));
  ForEachChunk(x, update.common.bfloat16_x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().sign_update(ScaledArgumentsOf<T>(update), gradient.as<T>() + i,
                                At<T>(buffer, i), At<T>(x, i), count);
  });
}

void Update(const FrozenAdamUpdate& update, ConstView momentum, ConstView variance, View x) {
  assert(momentum.size == x.size && variance.size == x.size);
  ForEachChunk(x, update.common.bfloat16_x, [&]<typename T>(int64_t i, int64_t count) {
    Isa().flat<T>().frozen_adam_update(ArgumentsOf<T>(update), momentum.as<T>() + i,
                                       variance.as<T>() + i, At<T>(x, i), count);
  });
}

}  // namespace thinwire::cpu
