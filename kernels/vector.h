/* What differs between instruction sets and compilers: included by the C code of the kernels,
   which is compiled once per instruction set. */

#ifndef FASTNN_VECTOR_H
#define FASTNN_VECTOR_H

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

#if defined(__AVX512F__) || defined(__AVX2__)
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
  #define UNUSED
#else
  #define ALWAYS_INLINE static inline __attribute__((always_inline))
  #define ALIGNED(bytes) __attribute__((aligned(bytes)))
  #define UNROLL _Pragma("GCC unroll 16")
  #define RESTRICT restrict
  #define THREAD_LOCAL __thread
  #define PREFETCH(address) __builtin_prefetch(address)
  #define PREFETCH_TO_WRITE(address) __builtin_prefetch(address, 1)
  #define UNUSED __attribute__((unused)) /* each module uses a part of this */
#endif

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)

#endif
