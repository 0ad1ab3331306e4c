/* The tile for one element type: T is float or double, TYPE is f32 or f64. */

#define NAME(x) JOIN(x, TYPE)
#define NAME_HALF(x) JOIN(NAME(x), half)
#define VECTOR NAME(vector)
#define W ((ptrdiff_t)(sizeof(VECTOR) / sizeof(T)))
#define LINE (CACHE_LINE / (ptrdiff_t)sizeof(T))

/* max(x, 0); NaN stays NaN. */
ALWAYS_INLINE VECTOR NAME(relu_vector)(VECTOR x) { return NAME(select)(x < 0, (VECTOR){0}, x); }

/* One tile of C: `rows` rows by `vecs` vectors, constants at every call below, so that the
   loops unroll and `sum` lives in registers. Row i of A is read from a[i] on, row i of C is at
   c[i]; of its last vector only `part` elements are C. The sum over k comes in runs: pieces that
   are contiguous in A (one element every a_col) and in B. A product of matrices is one run; a
   window over an image has a run per row or per tap of the window. init: one row to start every
   row of C from (bias or zeros), or NULL to go on from what C holds. With `relu`, C = max(C, 0) at the end. C is asked for at the start if it
   is only written, so that its lines have come when the sums are done. With `fetch` 1, each step
   over k also asks memory for `vecs` vectors at `next`, then `next_step` further on: what will be
   wanted soon travels while the tile computes. With 2, it asks for the elements of A that lie
   `next_step` after those of this step: the next tile's, where rows of A lie side by side. */
ALWAYS_INLINE void NAME(tile)(
    const int rows, const int vecs, const int fetch, ptrdiff_t n_runs, const run *runs,
    const T *const *a, ptrdiff_t a_col, const T *b, ptrdiff_t b_row, const T *init, T *const *c,
    ptrdiff_t part, int relu, const T *next, ptrdiff_t next_step)
{
    VECTOR sum[MAX_ROWS][VECS];
    const T *a_row[MAX_ROWS];
    UNROLL for (int i = 0; i < rows; i++) {
        a_row[i] = a[i];
        UNROLL for (int j = 0; j < vecs; j++)
            if (init) PREFETCH_TO_WRITE(c[i] + j * W);
        UNROLL for (int j = 0; j < vecs; j++)
            if (j < vecs - 1 || part == W || init)
                sum[i][j] = *(const VECTOR *)(init ? init + j * W : c[i] + j * W);
            else
                sum[i][j] = NAME(load_part)(c[i] + j * W, part);
    }
    for (const run *r = runs; r < runs + n_runs; r++) {
        const T *b_p = b + r->b * b_row, *const end = b_p + r->k * b_row;
        for (ptrdiff_t p = r->a; b_p != end; p += a_col, b_p += b_row) {
            if (fetch == 1) {
                UNROLL for (int j = 0; j < vecs; j++) PREFETCH(next + j * W);
                next += next_step;
            }
            if (fetch == 2) PREFETCH(a_row[0] + p + next_step);
            VECTOR row[VECS];
            UNROLL for (int j = 0; j < vecs; j++) row[j] = *(const VECTOR *)(b_p + j * W);
            UNROLL for (int i = 0; i < rows; i++) {
                const VECTOR a_ip = a_row[i][p] - (VECTOR){0};
                UNROLL for (int j = 0; j < vecs; j++)
                    sum[i][j] = NAME(fma)(a_ip, row[j], sum[i][j]);
            }
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < vecs; j++) {
            const VECTOR result = relu ? NAME(relu_vector)(sum[i][j]) : sum[i][j];
            if (j < vecs - 1 || part == W) *(VECTOR *)(c[i] + j * W) = result;
            else NAME(store_part)(c[i] + j * W, result, part);
        }
}

/* A function per tile shape, without and with fetch, and for runs, where B is packed; and tables
   of them. In one large function the compiler would spill the sums. */
#define ARGUMENTS ptrdiff_t k, const T *a, ptrdiff_t a_row, ptrdiff_t a_col, const T *b, ptrdiff_t b_row, \
                  const T *init, T *c, ptrdiff_t c_row, const T *next, ptrdiff_t next_step
#define WINDOW_ARGUMENTS ptrdiff_t n_runs, const run *runs, const T *const *a, ptrdiff_t a_col, \
                         const T *b, const T *init, T *const *c, ptrdiff_t part, int relu
#define ROW_POINTERS(r) \
    const T *a_rows[MAX_ROWS]; T *c_rows[MAX_ROWS]; const run all = {0, 0, k}; \
    UNROLL for (int i = 0; i < r; i++) a_rows[i] = a + i * a_row, c_rows[i] = c + i * c_row;
#define TILE(v, r) \
    static void NAME(tile_##v##_##r)(ARGUMENTS) \
    { ROW_POINTERS(r) NAME(tile)(r, v, 0, 1, &all, a_rows, a_col, b, b_row, init, c_rows, W, 0, next, next_step); } \
    static void NAME(fetching_tile_##v##_##r)(ARGUMENTS) \
    { ROW_POINTERS(r) NAME(tile)(r, v, 1, 1, &all, a_rows, a_col, b, b_row, init, c_rows, W, 0, next, next_step); } \
    static void NAME(run_tile_##v##_##r)(WINDOW_ARGUMENTS) \
    { \
        if (a_col == 1) NAME(tile)(r, v, 0, n_runs, runs, a, 1, b, v * W, init, c, part, relu, NULL, 0); \
        else NAME(tile)(r, v, 2, n_runs, runs, a, a_col, b, v * W, init, c, part, relu, NULL, LINE); \
    }
#define ENTRY(v, r) { NAME(tile_##v##_##r), NAME(fetching_tile_##v##_##r) },
#define RUN_ENTRY(v, r) NAME(run_tile_##v##_##r),
TILE_SHAPES(TILE)
typedef void (*NAME(tile_function))(ARGUMENTS);
typedef void (*NAME(run_tile_function))(WINDOW_ARGUMENTS);
UNUSED static const NAME(tile_function) NAME(tiles)[][2] = { TILE_SHAPES(ENTRY) };
UNUSED static const NAME(run_tile_function) NAME(run_tiles)[] = { TILE_SHAPES(RUN_ENTRY) };
#undef TILE
#undef ENTRY
#undef RUN_ENTRY
#undef ROW_POINTERS
#undef ARGUMENTS
#undef WINDOW_ARGUMENTS

/* C = init + sums over the runs, or C += them: any number of columns up to a tile's. */
UNUSED static void NAME(add_runs)(
    ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t n_runs, const run *runs, const T *const *a,
    ptrdiff_t a_col, const T *b, const T *init, T *const *c, int relu)
{
    const ptrdiff_t vecs = (cols + W - 1) / W;
#if TILE_BYTES == 2 * HALF_BYTES
    if (cols <= W / 2) {
        NAME_HALF(add_runs)(rows, cols, n_runs, runs, a, a_col, b, init, c, relu);
        return;
    }
#endif
    NAME(run_tiles)[FIRST_TILE(vecs) + rows - 1](
        n_runs, runs, a, a_col, b, init, c, cols - (vecs - 1) * W, relu);
}

/* to[i, 0:width] = from[i, 0:cols], padded with zeros. Rows are short and far
   apart, which the hardware does not foresee: ask for what comes 4 KB later. From
   beyond the last level of cache this copies three times as fast. */
UNUSED static void NAME(pack)(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t width,
                       const T *RESTRICT from, ptrdiff_t from_row, T *RESTRICT to)
{
    const ptrdiff_t ahead = from_row * (1 + 4096 / ((cols + 1) * (ptrdiff_t)sizeof(T)));
    const ptrdiff_t whole = cols / W * W;
    ptrdiff_t i = 0;
#ifndef SCALAR
    /* The rest of a row as a vector with its tail cut off; it must not reach beyond the last row. */
    NAME(mask) mask;
    for (ptrdiff_t l = 0; l < W; l++) mask[l] = -(l < cols - whole);
    for (; i < rows && (rows - 1 - i) * from_row + cols >= whole + W; i++, from += from_row, to += width) {
        for (ptrdiff_t j = 0; j < whole; j += W) {
            PREFETCH(from + ahead + j);
            *(VECTOR *)(to + j) = *(const VECTOR *)(from + j);
        }
        if (whole < width) {
            PREFETCH(from + ahead + whole);
            *(VECTOR *)(to + whole) = (VECTOR)((NAME(mask))*(const VECTOR *)(from + whole) & mask);
        }
    }
#endif
    for (; i < rows; i++, from += from_row, to += width)
        for (ptrdiff_t j = 0; j < width; j++) to[j] = j < cols ? from[j] : 0;
}

#ifndef SCALAR
/* A W x W square is transposed in log2(W) rounds; each interleaves vector i with
   vector i + W/2, the perfect shuffle. */
ALWAYS_INLINE void NAME(transpose_square)(const T *from, ptrdiff_t from_row, T *to, ptrdiff_t to_row)
{
    VECTOR v[W], u[W];
    NAME(mask) low, high;
    UNROLL for (int i = 0; i < W; i++) {
        low[i] = i / 2 + (i % 2) * W;
        high[i] = low[i] + W / 2;
    }
    UNROLL for (int i = 0; i < W; i++) v[i] = *(const VECTOR *)(from + i * from_row);
    UNROLL for (int round = 1; round < W; round *= 2) {
        UNROLL for (int i = 0; i < W / 2; i++) {
            u[2 * i] = __builtin_shuffle(v[i], v[i + W / 2], low);
            u[2 * i + 1] = __builtin_shuffle(v[i], v[i + W / 2], high);
        }
        UNROLL for (int i = 0; i < W; i++) v[i] = u[i];
    }
    UNROLL for (int i = 0; i < W; i++) *(VECTOR *)(to + i * to_row) = v[i];
}
#endif

/* to[j, i] = from[i, j] for i < rows, j < cols; to has rows of `width`, padded with zeros. */
UNUSED static void NAME(pack_transposed)(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t width,
                                  const T *from, ptrdiff_t from_row, T *to)
{
    ptrdiff_t i = 0;
#ifndef SCALAR
    for (; i + W <= rows; i += W) {
        ptrdiff_t j = 0;
        for (; j + W <= cols; j += W)
            NAME(transpose_square)(from + i * from_row + j, from_row, to + j * width + i, width);
        for (; j < cols; j++)
            for (ptrdiff_t l = i; l < i + W; l++) to[j * width + l] = from[l * from_row + j];
    }
#endif
    for (; i < width; i++)
        for (ptrdiff_t j = 0; j < cols; j++)
            to[j * width + i] = i < rows ? from[i * from_row + j] : 0;
}

/* C = bias + A B, or C += A B if `add`: m rows, n <= NC columns, all of k.
   b_transposed: B[p, j] is stored at b[j * b_row + p].

   Loops, outermost first: slices of k (KC), blocks of rows (MC), strips of columns
   (one tile wide), tiles of rows. Packing copies only where it pays: a strip of B
   when enough tiles reuse it, or when it is transposed or narrower than a vector;
   the panel of A when several strips reuse it. The panel holds rows of A, whichever
   way A was stored: then a line of cache that a tile fetches serves 16 of its steps.
   Strips are packed by the first block of rows and used by all.

   With few rows the time is that of reading B. Then one tile holds all rows, so that
   B is read once, in slices of SLICE bytes, each fetched while the one before it is
   computed with. */
UNUSED static void NAME(matmul)(
    ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const T *a, ptrdiff_t a_row, ptrdiff_t a_col,
    const T *b, ptrdiff_t b_row, int b_transposed, const T *bias, int add, T *c, ptrdiff_t c_row)
{
    static const T zeros[VECS * W];
    T *const panel = (T *)scratch.panel;
    ALIGNED(64) T edge[MAX_ROWS * VECS * W];
    ALIGNED(64) T start[VECS * W];
    const int n_vecs = (int)even_piece((n + W - 1) / W, m <= MAX_ROWS ? min_size(ACCUMULATORS / m, VECS) : VECS);
    const ptrdiff_t rows_limit = min_size(ACCUMULATORS / n_vecs, MAX_ROWS);
    const ptrdiff_t n_rows = even_piece(m, rows_limit);
    const ptrdiff_t m_block = m <= MC ? m : MC / n_rows * n_rows;
    const int pack_a = m > rows_limit && n > 2 * VECS * W;
    const int pack_b = m > 3 * rows_limit;
    /* What isn't packed is cut unless it is a few slices only, which are in L2 or don't matter. */
    const ptrdiff_t slice = SLICE / (ptrdiff_t)sizeof(T) / n + 8;
    const ptrdiff_t k_limit = pack_b || k <= 4 * slice ? KC : min_size(KC, slice);
    const ptrdiff_t k_piece = k ? even_piece(k, k_limit) : 1; /* k == 0: only the bias */

    for (ptrdiff_t p = 0; p < k || p == 0; p += k_piece)
    for (ptrdiff_t top = 0; top < m; top += m_block) {
        const ptrdiff_t kc = min_size(k_piece, k - p), mc = min_size(m_block, m - top);
        const T *a_p = a + top * a_row + p * a_col;
        ptrdiff_t ap_row = a_row, ap_col = a_col;
        if (pack_a) {
            if (a_col == 1) NAME(pack)(mc, kc, kc, a_p, a_row, panel);
            else NAME(pack_transposed)(kc, mc, kc, a_p, a_col, panel);
            a_p = panel, ap_row = kc, ap_col = 1;
        }
        for (ptrdiff_t j = 0; j < n; j += n_vecs * W) {
            const ptrdiff_t cols = min_size(n_vecs * W, n - j);
            const int vecs = (int)((cols + W - 1) / W);
            const ptrdiff_t width = vecs * W;
            const T *b_pj = b_transposed ? b + j * b_row + p : b + p * b_row + j;
            ptrdiff_t bp_row = b_row;
            const int b_in_place = !(b_transposed || cols < width || pack_b);
            if (!b_in_place) {
                /* For one block of rows every strip goes to the same place, which stays in cache. */
                T *const strip = (T *)scratch.strips + (m > m_block ? j * kc : 0);
                if (top == 0 && b_transposed) NAME(pack_transposed)(cols, kc, width, b_pj, b_row, strip);
                else if (top == 0) NAME(pack)(kc, cols, width, b_pj, b_row, strip);
                b_pj = strip, bp_row = width;
            }
            const T *init = p || add ? NULL : zeros;
            if (bias && p == 0) {
                NAME(pack)(1, cols, width, bias + j, cols, start);
                init = start;
            }
            /* The same piece of the next slice: in memory's order if B is one piece. */
            const T *wanted = b + (p + kc) * b_row + (b_row == n ? j * kc : j);
            for (ptrdiff_t i = 0; i < mc; i += n_rows) {
                const ptrdiff_t rows = min_size(n_rows, mc - i);
                const int fetch = b_in_place && i == 0 && p + kc < k;
                const NAME(tile_function) tile = NAME(tiles)[FIRST_TILE(vecs) + rows - 1][fetch];
                T *c_ij = c + (top + i) * c_row + j;
                for (ptrdiff_t r = n_rows; r < min_size(2 * n_rows, mc - i); r++) /* the next tile's C */
                    for (ptrdiff_t l = 0; l < cols; l += LINE)
                        PREFETCH(c_ij + r * c_row + l);
                if (cols == width) {
                    tile(kc, a_p + i * ap_row, ap_row, ap_col, b_pj, bp_row, init, c_ij, c_row,
                         wanted, b_row == n ? width : b_row);
                } else {
                    if (!init) NAME(pack)(rows, cols, width, c_ij, c_row, edge);
                    tile(kc, a_p + i * ap_row, ap_row, ap_col, b_pj, bp_row, init, edge, width,
                         wanted, b_row == n ? width : b_row);
                    for (ptrdiff_t r = 0; r < rows; r++)
                        memcpy(c_ij + r * c_row, edge + r * width, cols * sizeof(T));
                }
            }
        }
    }
}

/* C = A B for a short k, by bands of rows that fit in L1 cache, where somebody uses
   them at once. The plan is made once for many bands, and is its thread's own: a last
   strip narrower than the others is packed into the scratch. B: k x n, one piece. */
UNUSED static band_plan NAME(plan_bands)(ptrdiff_t n, ptrdiff_t k, ptrdiff_t a_row, ptrdiff_t a_col, const T *b)
{
    const ptrdiff_t n_vecs = even_piece((n + W - 1) / W, VECS), last = n % (n_vecs * W);
    const ptrdiff_t n_rows = min_size(ACCUMULATORS / n_vecs, MAX_ROWS);
    T *const strip = (T *)scratch.strips;
    if (last) NAME(pack)(k, last, (last + W - 1) / W * W, b + n - last, n, strip);
    return (band_plan){n, k, a_row, a_col, b, strip, n_vecs, n_rows, (n_rows * n_vecs / (k + 1) + 1) * W};
}

/* One band of C, its rows one after another. C has room for a vector more: a last strip
   narrower than its vectors writes beyond its row, and what comes after it, the strips to
   the left and then the next row, writes over that. As many elements are fetched from
   `next` on: a later band of an array that is worked on with C. */
UNUSED static void NAME(band)(const band_plan *plan, ptrdiff_t m, const T *a, T *c, const T *next)
{
    static const T zeros[VECS * W];
    const ptrdiff_t n = plan->n, full = plan->n_vecs * W;
    for (ptrdiff_t i = 0; i < m; i += plan->n_rows) {
        const ptrdiff_t rows = min_size(plan->n_rows, m - i);
        for (ptrdiff_t j = (n - 1) / full * full; j >= 0; j -= full) {
            const ptrdiff_t cols = min_size(full, n - j), vecs = (cols + W - 1) / W;
            const T *b = cols == full ? (const T *)plan->b + j : (const T *)plan->strip;
            NAME(tiles)[FIRST_TILE(vecs) + rows - 1][1](
                plan->k, a + i * plan->a_row, plan->a_row, plan->a_col, b, cols == full ? n : vecs * W,
                zeros, c + i * n + j, n, next, plan->next_step);
            next += rows * cols;
        }
    }
}

#undef W
#undef VECTOR
#undef LINE
#undef NAME
#undef NAME_HALF
