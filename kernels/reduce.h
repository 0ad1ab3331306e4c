/* Windows that are reduced in registers: max or sum over taps, for vectors of elements. Pooling
   and depthwise convolution are made of them.

   The second half is a template, included for float and for double. */

#ifndef FASTNN_REDUCE_H
#define FASTNN_REDUCE_H

#include "vector.h"

/* GCC 12 widens bytes one by one. */
#if defined(__AVX512F__)
  #define widen_f32(i) (reduce_integers_f32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(i)))
  #define widen_f64(i) (reduce_integers_f64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const void *)(i)))
#elif defined(__AVX2__)
  #define widen_f32(i) (reduce_integers_f32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(i)))
  #define widen_f64(i) (reduce_integers_f64)_mm256_cvtepu8_epi64(_mm_loadu_si32(i))
#else
  #define widen_f32(i) __builtin_convertvector(*(const reduce_bytes_f32 *)(i), reduce_integers_f32)
  #define widen_f64(i) __builtin_convertvector(*(const reduce_bytes_f64 *)(i), reduce_integers_f64)
#endif

enum { MAX, SUM, CHOSEN_SUM }; /* the last: of the elements whose index is the tap's number */

/* count windows of n elements, one every `step` elements of what they meet and one every to_step
   of what they make. What tap t of the first one meets begins at x[t]. origin: the element that
   index[0] belongs to, of size 1 or 4. */
typedef struct {
    int op, size;
    ptrdiff_t count, n, step, to_step, taps, divisor;
    const int *number;
    const void *origin;
} windows;

#define T float
#define INTEGER int32_t
#define TYPE f32
#include "reduce_template.h"
#undef T
#undef INTEGER
#undef TYPE
#define T double
#define INTEGER int64_t
#define TYPE f64
#include "reduce_template.h"
#undef T
#undef INTEGER
#undef TYPE

#endif
