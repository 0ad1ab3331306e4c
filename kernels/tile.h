/* The register tile: the one matrix kernel behind dense layers and convolutions.

   C[m, n] = init + A[m, k] B[k, n]      C: m x n, A: m x k, B: k x n

   A tile of C, `rows` rows by `vecs` vectors, stays in registers while the loop
   over k runs. One step of k loads `vecs` vectors of a row of B and broadcasts
   `rows` elements of a column of A; that feeds rows*vecs multiply-adds. With
   6 x 4 vectors, 10 loads feed 24 multiply-adds, so the two load ports keep
   ahead of the two arithmetic ports, and 24 independent sums hide the latency
   of the multiply-add: the arithmetic units never wait.

   A is read through a pointer for each row and a stride, so x, x transposed, dy and
   windows over an image are all read in place. B must have contiguous rows. Every element of C is one
   chain of fused multiply-adds over k in ascending order, whatever the shape of
   the tile, so its bits do not depend on tiles, threads or vector width.

   This file is compiled once per instruction set (vector.h is all that differs).
   The second half is a template, included for float and for double. */

#ifndef FASTNN_TILE_H
#define FASTNN_TILE_H

#include "vector.h"

/* The blocks, chosen for a core with 1 MB of L2 cache. A strip of B is KC rows of
   one tile's width, at most 96 KB; the panel of A is MC rows of KC elements, at
   most 288 KB. Both stay in L2, from where a tile reads B fast enough: a step over
   k loads 256 bytes and computes for 12 cycles. A long strip pays more than one
   that fits in L1, because C is read and written once every KC steps, and the last,
   mispredicted, turn of the loop comes once every KC steps. NC: most columns of C
   in one call, whose packed strips are kept. */
#define KC ((ptrdiff_t)(1536 / sizeof(T)))
#define MC 192
#define NC 512
#define SLICE ((ptrdiff_t)65536)

#define PACKED_B_BYTES ((NC + VECS * VECTOR_BYTES / 4) * 1536)

/* Room for the packed panel and strips. Per thread and not on the stack, which may
   be as small as 128 KB in a thread that is not the main one. */
static THREAD_LOCAL struct {
    ALIGNED(64) char panel[MC * 1536];
    ALIGNED(64) char strips[PACKED_B_BYTES];
} scratch;

/* Where this thread may pack A, and B: MC * 1536 and PACKED_B_BYTES. */
static inline char *packed_a(void) { return scratch.panel; }
static inline char *packed_b(void) { return scratch.strips; }

/* The tile shapes, X(vecs, rows): as many rows as the accumulators hold, 12 at most.
   FIRST_TILE(vecs): where the shapes of that width begin in the list. */
#define ROWS_4(X, v) X(v, 1) X(v, 2) X(v, 3) X(v, 4)
#define ROWS_6(X, v) ROWS_4(X, v) X(v, 5) X(v, 6)
#define ROWS_8(X, v) ROWS_6(X, v) X(v, 7) X(v, 8)
#define ROWS_12(X, v) ROWS_8(X, v) X(v, 9) X(v, 10) X(v, 11) X(v, 12)
#if ACCUMULATORS == 24
  #define TILE_SHAPES(X) ROWS_12(X, 1) ROWS_12(X, 2) ROWS_8(X, 3) ROWS_6(X, 4)
  #define FIRST_TILE(vecs) ((vecs) == 4 ? 32 : ((vecs) - 1) * 12)
#elif ACCUMULATORS == 12
  #define TILE_SHAPES(X) ROWS_12(X, 1) ROWS_6(X, 2)
  #define FIRST_TILE(vecs) (((vecs) - 1) * 12)
#else
  #define TILE_SHAPES(X) ROWS_8(X, 1) ROWS_4(X, 2)
  #define FIRST_TILE(vecs) (((vecs) - 1) * 8)
#endif
#define MAX_WIDTH (VECS * VECTOR_BYTES / 4)
#define MAX_ROWS (ACCUMULATORS < 12 ? ACCUMULATORS : 12)

static inline ptrdiff_t min_size(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Size of the first of the equal pieces that `size` is cut into so that none is
   larger than `limit`. */
static inline ptrdiff_t even_piece(ptrdiff_t size, ptrdiff_t limit)
{
    if (size <= limit) return size;
    ptrdiff_t pieces = (size + limit - 1) / limit;
    return (size + pieces - 1) / pieces;
}

#define CACHE_LINE 64

/* How a product with a short k is cut into tiles, and where its last strip is packed. */
typedef struct {
    ptrdiff_t n, k, a_row, a_col;
    const void *b, *strip;
    ptrdiff_t n_vecs, n_rows, next_step;
} band_plan;

/* A piece of a sum over k: where it starts in A, its first row of B, its length. */
typedef struct { ptrdiff_t a, b, k; } run;

/* Columns of a packed strip that serves `cols` columns of C. */
static inline ptrdiff_t strip_width(ptrdiff_t cols, ptrdiff_t itemsize)
{
    const ptrdiff_t bytes = cols * itemsize <= HALF_BYTES ? HALF_BYTES : VECTOR_BYTES;
    return (cols * itemsize + bytes - 1) / bytes * (bytes / itemsize);
}

#if HALF_BYTES
  #define TILE_BYTES HALF_BYTES
  #define T float
  #define TYPE f32_half
  #include "tile_template.h"
  #undef T
  #undef TYPE
  #define T double
  #define TYPE f64_half
  #include "tile_template.h"
  #undef T
  #undef TYPE
  #undef TILE_BYTES
#endif
#define TILE_BYTES VECTOR_BYTES
#define T float
#define TYPE f32
#include "tile_template.h"
#undef T
#undef TYPE
#define T double
#define TYPE f64
#include "tile_template.h"
#undef T
#undef TYPE

#endif
