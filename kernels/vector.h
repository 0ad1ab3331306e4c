/* What differs between instruction sets and compilers: included by the C code of the kernels,
   which is compiled once per instruction set. */

#ifndef FASTNN_VECTOR_H
#define FASTNN_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* VECTOR_BYTES: width of a register. ACCUMULATORS: how many hold C, leaving
   room for VECS registers of B and one of A. */
#if defined(__AVX512F__)
  #define VECTOR_BYTES 64
  #define ACCUMULATORS 24
  #define VECS 4
#elif defined(__AVX2__) && defined(__FMA__)
  #define VECTOR_BYTES 32
  #define ACCUMULATORS 12
  #define VECS 2
#elif defined(__aarch64__) && defined(__GNUC__)
  #define VECTOR_BYTES 16
  #define ACCUMULATORS 24
  #define VECS 4
#elif defined(__GNUC__)
  #define VECTOR_BYTES 16
  #define ACCUMULATORS 8
  #define VECS 2
#else
  #define SCALAR
  #define VECTOR_BYTES 8
  #define ACCUMULATORS 8
  #define VECS 2
#endif

#if defined(__SSE2__)
  #include <immintrin.h>
#elif defined(__aarch64__)
  #include <arm_neon.h>
#endif

#if defined(_MSC_VER)
  #define ALWAYS_INLINE static __forceinline
  #define ALIGNED(bytes) __declspec(align(bytes))
  #define UNROLL
  #define RESTRICT __restrict
  #define THREAD_LOCAL __declspec(thread)
  #define PREFETCH(address)
  #define PREFETCH_TO_WRITE(address)
  #define PREFETCH_TO_L2(address)
  #define UNUSED
#else
  #define ALWAYS_INLINE static inline __attribute__((always_inline))
  #define ALIGNED(bytes) __attribute__((aligned(bytes)))
  #define UNROLL _Pragma("GCC unroll 16")
  #define RESTRICT restrict
  #define THREAD_LOCAL __thread
  #define PREFETCH(address) __builtin_prefetch(address)
  #define PREFETCH_TO_WRITE(address) __builtin_prefetch(address, 1)
  #define PREFETCH_TO_L2(address) __builtin_prefetch(address, 0, 2)
  #define UNUSED __attribute__((unused)) /* each module uses a part of this */
#endif

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

/* Half vectors, where they are as fast: for C of so few columns that half of a vector's sums
   would be thrown away. CPUs that carry out 512 bits in two halves do twice as much then. */
#if defined(__AVX512F__)
  #define HALF_BYTES 32
#else
  #define HALF_BYTES 0
#endif

/* c + a b with one rounding where the machine has it; square root; parts of vectors. */
#if defined(SCALAR)
  #define fma_f32(a, b, c) ((c) + (a) * (b))
  #define fma_f64(a, b, c) ((c) + (a) * (b))
  #define sqrt_f32(a) sqrtf(a)
  #define sqrt_f64(a) sqrt(a)
#elif defined(__AVX512F__)
  #define fma_f32(a, b, c) (vector_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
  #define fma_f64(a, b, c) (vector_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
  #define fma_f32_half(a, b, c) (vector_f32_half)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
  #define fma_f64_half(a, b, c) (vector_f64_half)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
  #define PART(n) ((1u << (n)) - 1)
  #define load_part_f32(from, n) (vector_f32)_mm512_maskz_loadu_ps(PART(n), from)
  #define load_part_f64(from, n) (vector_f64)_mm512_maskz_loadu_pd(PART(n), from)
  #define load_part_f32_half(from, n) (vector_f32_half)_mm256_maskz_loadu_ps(PART(n), from)
  #define load_part_f64_half(from, n) (vector_f64_half)_mm256_maskz_loadu_pd(PART(n), from)
  #define store_part_f32(to, v, n) _mm512_mask_storeu_ps(to, PART(n), (__m512)(v))
  #define store_part_f64(to, v, n) _mm512_mask_storeu_pd(to, PART(n), (__m512d)(v))
  #define store_part_f32_half(to, v, n) _mm256_mask_storeu_ps(to, PART(n), (__m256)(v))
  #define store_part_f64_half(to, v, n) _mm256_mask_storeu_pd(to, PART(n), (__m256d)(v))
  #define sqrt_f32(a) (vector_f32)_mm512_sqrt_ps((__m512)(a))
  #define sqrt_f64(a) (vector_f64)_mm512_sqrt_pd((__m512d)(a))
#elif defined(__AVX2__) && defined(__FMA__)
  #define fma_f32(a, b, c) (vector_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
  #define fma_f64(a, b, c) (vector_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
  #define sqrt_f32(a) (vector_f32)_mm256_sqrt_ps((__m256)(a))
  #define sqrt_f64(a) (vector_f64)_mm256_sqrt_pd((__m256d)(a))
#elif defined(__aarch64__)
  #define fma_f32(a, b, c) (vector_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
  #define fma_f64(a, b, c) (vector_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
  #define sqrt_f32(a) (vector_f32)vsqrtq_f32((float32x4_t)(a))
  #define sqrt_f64(a) (vector_f64)vsqrtq_f64((float64x2_t)(a))
#else
  #define fma_f32(a, b, c) ((c) + (a) * (b))
  #define fma_f64(a, b, c) ((c) + (a) * (b))
  #if defined(__SSE2__)
    #define sqrt_f32(a) (vector_f32)_mm_sqrt_ps((__m128)(a))
    #define sqrt_f64(a) (vector_f64)_mm_sqrt_pd((__m128d)(a))
  #endif
#endif

#if HALF_BYTES
  #define BYTES HALF_BYTES
  #define T float
  #define TYPE f32_half
  #include "vector_template.h"
  #undef T
  #undef TYPE
  #define T double
  #define TYPE f64_half
  #include "vector_template.h"
  #undef T
  #undef TYPE
  #undef BYTES
#endif
#define BYTES VECTOR_BYTES
#define T float
#define TYPE f32
#include "vector_template.h"
#undef T
#undef TYPE
#define T double
#define TYPE f64
#include "vector_template.h"
#undef T
#undef TYPE
#undef BYTES

#endif
