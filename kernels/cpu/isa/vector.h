// A vector of floats as wide as the instruction set's registers, and the loop over it.
//
// Kernels are written once as expressions over a type V that is either `Floats` (the body) or
// `float` (what is left at the end): + - * / < > and ?: mean the same for both. Those that do
// float64 too are templates over the element T, with V `Doubles` or `double`. Everything here
// lives in the instruction set's own namespace; nothing may include the standard library's inline
// functions, since the linker could pick an AVX-512 copy of them for the whole program.
#pragma once

#include <stdint.h>

#if defined(THINWIRE_ISA_avx512) || defined(THINWIRE_ISA_avx2) || defined(__SSE2__)
#include <immintrin.h>
#endif

namespace thinwire::cpu::THINWIRE_ISA {

#if defined(THINWIRE_ISA_avx512)
constexpr int kLanes = 16;
#elif defined(THINWIRE_ISA_avx2)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef double Doubles __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef int64_t Longs __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Bytes __attribute__((vector_size(kLanes)));

/// The element of V, the vector of elements T, and the vector of integers as wide as they.
template <typename>
struct ElementOfType;
template <>
struct ElementOfType<float> { using Type = float; };
template <>
struct ElementOfType<Floats> { using Type = float; };
template <>
struct ElementOfType<double> { using Type = double; };
template <>
struct ElementOfType<Doubles> { using Type = double; };
template <typename V>
using ElementOf = typename ElementOfType<V>::Type;

template <typename>
struct VectorOfType;
template <>
struct VectorOfType<float> { using Type = Floats; using Integer = int32_t; using Integers = Ints; };
template <>
struct VectorOfType<double> { using Type = Doubles; using Integer = int64_t; using Integers = Longs; };
template <typename T>
using VectorOf = typename VectorOfType<T>::Type;
template <typename T>
using IntegerOf = typename VectorOfType<T>::Integer;
template <typename T>
using IntegersOf = typename VectorOfType<T>::Integers;

template <typename V>
inline V Load(const ElementOf<V>* source) {
  V value;
  __builtin_memcpy(&value, source, sizeof(V));
  return value;
}

template <typename V>
inline void Store(ElementOf<V>* destination, V value) {
  __builtin_memcpy(destination, &value, sizeof(V));
}

/// A non-temporal store; `destination` is aligned to the vector.
inline void Stream(float* destination, Floats value) {
#if defined(THINWIRE_ISA_avx512)
  _mm512_stream_ps(destination, value);
#elif defined(THINWIRE_ISA_avx2)
  _mm256_stream_ps(destination, value);
#elif defined(__SSE2__)
  _mm_stream_ps(destination, value);
#else
  Store(destination, value);
#endif
}
inline void Stream(double* destination, Doubles value) {
#if defined(THINWIRE_ISA_avx512)
  _mm512_stream_pd(destination, value);
#elif defined(THINWIRE_ISA_avx2)
  _mm256_stream_pd(destination, value);
#elif defined(__SSE2__)
  _mm_stream_pd(destination, value);
#else
  Store(destination, value);
#endif
}
inline void Stream(float* destination, float value) { *destination = value; }
inline void Stream(double* destination, double value) { *destination = value; }

template <bool kStream, typename V>
inline void Put(ElementOf<V>* destination, V value) {
  if constexpr (kStream) {
    Stream(destination, value);
  } else {
    Store(destination, value);
  }
}

/// Makes streamed stores visible before the chunk counts as done.
inline void FinishStream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

inline Floats Sqrt(Floats value) {
#if defined(THINWIRE_ISA_avx512)
  // With a mask of ones, since g++ 12 takes the plain one's operand for uninitialised.
  return _mm512_maskz_sqrt_ps(0xFFFF, value);
#elif defined(THINWIRE_ISA_avx2)
  return _mm256_sqrt_ps(value);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(value);
#else
  for (int i = 0; i < kLanes; ++i) value[i] = __builtin_sqrtf(value[i]);
  return value;
#endif
}
inline float Sqrt(float value) { return __builtin_sqrtf(value); }
inline Doubles Sqrt(Doubles value) {
#if defined(THINWIRE_ISA_avx512)
  return _mm512_maskz_sqrt_pd(0xFF, value);
#elif defined(THINWIRE_ISA_avx2)
  return _mm256_sqrt_pd(value);
#elif defined(__SSE2__)
  return _mm_sqrt_pd(value);
#else
  for (int i = 0; i < kLanes / 2; ++i) value[i] = __builtin_sqrt(value[i]);
  return value;
#endif
}
inline double Sqrt(double value) { return __builtin_sqrt(value); }

/// a * b + c, rounded once where the instruction set can; the same way in the body and at the end.
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) {
#if defined(THINWIRE_ISA_avx512)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(THINWIRE_ISA_avx2)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}
inline float MultiplyAdd(float a, float b, float c) {
#if defined(THINWIRE_ISA_avx512) || defined(THINWIRE_ISA_avx2)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

inline Doubles MultiplyAdd(Doubles a, Doubles b, Doubles c) {
#if defined(THINWIRE_ISA_avx512)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(THINWIRE_ISA_avx2)
  return _mm256_fmadd_pd(a, b, c);
#else
  return a * b + c;
#endif
}
inline double MultiplyAdd(double a, double b, double c) {
#if defined(THINWIRE_ISA_avx512) || defined(THINWIRE_ISA_avx2)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// `value` where `mask` holds, else 0. `value` is loaded whether or not the mask holds: compilers
/// would make a masked load of it, which waits for the mask, and with it for another load.
template <typename Mask>
inline Floats Masked(Mask mask, Floats value) {
#if defined(THINWIRE_ISA_avx512)
  asm("" : "+v"(value));
#endif
  return mask ? value : Floats{};
}
inline float Masked(bool mask, float value) { return mask ? value : 0.0f; }

/// max(value, 0) that lets NaN through.
template <typename V>
inline V Positive(V value) {
  return value < V{} ? V{} : value;
}

/// Calls body.operator()<V>(i) for consecutive i until all of [0, count) is covered.
template <typename T = float, typename Body>
inline void ForEach(int64_t count, const Body& body) {
  constexpr int lanes = sizeof(VectorOf<T>) / sizeof(T);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body.template operator()<VectorOf<T>>(i);
  for (; i < count; ++i) body.template operator()<T>(i);
}

}  // namespace thinwire::cpu::THINWIRE_ISA
