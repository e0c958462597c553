// Declarations of one instruction set's kernels; isa/table.cpp puts them into an IsaKernels.
#pragma once

#include "kernels/cpu/isa.h"

namespace thinwire::cpu::THINWIRE_ISA {

void Copy(const float* x, float* y, int64_t count, bool stream);
void Relu(const float* x, float* y, int64_t count, bool stream);
void ReluBackward(const float* y, const float* y_gradient, float* x_gradient, int64_t count,
                  bool stream);
void Dropout(const float* x, float rate, uint64_t seed, uint64_t step, int64_t first, float* y,
             int64_t count);

// Those over T are instantiated for float and double.
template <typename T>
void Add(const T* a, const T* b, bool relu, T* y, int64_t count, bool stream);
template <typename T>
void Scale(const T* x, T factor, T* y, int64_t count, bool stream);
template <typename T>
void Average(const T* x, T decay, T complement, T* average, int64_t count);
template <typename T>
void Evaluate(const InputArguments<T>& input, T beta, T* y, int64_t begin, int64_t end);
template <typename T>
void SumParts(const T* parts, int64_t size, int64_t part_size, double factor, T* sum, int64_t begin,
              int64_t end);
template <typename T>
double SumOfSquares(const T* x, int64_t count);
template <typename T>
int64_t FirstNonFinite(const T* x, int64_t count);

void Moments(const float* x, int64_t rows, int64_t width, const float* pivot, double* sum,
             double* sum_squares);
void AddRows(const double* x, int64_t rows, int64_t stride, int64_t width, double* sum);
void Normalise(const NormaliseArguments& arguments);
void BackwardReduce(const ReduceArguments& arguments);
void BackwardApply(const ApplyArguments& arguments);

void MaxPoolingRow(const PoolingArguments& shape, const float* image, int64_t out_row, float* y,
                   uint8_t* saved);
void AveragePoolingRow(const PoolingArguments& shape, const float* image, int64_t out_row,
                       float* y);
void MaxPoolingBackwardRow(const PoolingArguments& shape, const float* y_gradient,
                           const uint8_t* saved, int64_t row, float* x_gradient);
void AveragePoolingBackwardRow(const PoolingArguments& shape, const float* y_gradient, int64_t row,
                               float* x_gradient);
void MeanRows(const float* x, int64_t rows, int64_t width, float factor, float* y);

void ResampleRow(const ResampleTaps& x, const uint8_t* input, int64_t input_bytes, uint8_t* output);
void MixRows(const int32_t* weights, int64_t taps, const uint8_t* const* rows, int64_t size,
             uint8_t* output);

template <typename T>
void MomentumUpdate(const MomentumArguments<T>& a, const T* g, T* buffer, T* x, int64_t count);
template <typename T>
void AdamUpdate(const AdamArguments<T>& a, const T* g, T* m, T* v, T* v_max, T* x, int64_t count);
template <typename T>
void RmspropUpdate(const RmspropArguments<T>& a, const T* g, T* v, T* buffer, T* x, int64_t count);
template <typename T>
void SignUpdate(const SignArguments<T>& a, const T* g, T* buffer, T* x, int64_t count);
template <typename T>
void FrozenAdamUpdate(const FrozenAdamArguments<T>& a, const T* m, const T* v, T* x, int64_t count);

template <typename T>
double PackInput(const PackArguments<T>& a, int64_t begin, int64_t end);
template <typename T>
double PackDifference(const PackArguments<T>& a, int64_t begin, int64_t end);
template <typename T>
double PackSum(const PackArguments<T>& a, int64_t begin, int64_t end);
template <typename T>
double PackMeanDifference(const PackArguments<T>& a, int64_t begin, int64_t end);
template <typename T>
double PackMeanSum(const PackArguments<T>& a, int64_t begin, int64_t end);
template <typename T>
void MeanOfSigns(const SignParts<T>& messages, bool add, bool stream, T* y, int64_t begin,
                 int64_t end);
template <typename T>
void AddSigns(const SignPart<T>& message, T* y, int64_t begin, int64_t end);
template <typename T>
void SettleError(T scale, T* error, int64_t begin, int64_t end);
template <typename T>
void AddSignsAndAdam(const SignPart<T>& message, const AdamArguments<T>& a, T* estimate, T* m, T* v,
                     T* v_max, T* x, int64_t begin, int64_t end);

template <typename T>
int64_t CollectLarge(const CollectArguments<T>& a, typename FlatKernels<T>::Key threshold,
                     int64_t begin, int64_t end, int32_t* indices, T* values);
template <typename T>
void Gather(const CollectArguments<T>& a, const int32_t* indices, T* values, int64_t count);

}  // namespace thinwire::cpu::THINWIRE_ISA
