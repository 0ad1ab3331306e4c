/* The inner loops of batch normalisation, over wide rows: plain loops that the compiler turns into
   vector code, once it knows that no array overlaps another.

   The second half is a template, included for float and for double. */

#ifndef FASTNN_NORM_H
#define FASTNN_NORM_H

#include "vector.h"

/* What every column of a wide row is reckoned with: one array after another, each beginning at a
   line of cache if the first does. */
enum { MEAN, INVERSE, SCALE, BETA, DBETA, DGAMMA, FACTORS };
#define FACTOR_STRIDE(width) (((width) + 15) / 16 * 16)

#define T float
#define TYPE f32
#include "norm_template.h"
#undef T
#undef TYPE
#define T double
#define TYPE f64
#include "norm_template.h"
#undef T
#undef TYPE

#endif
