/* The tile for one element type: T is float or double, TYPE is f32 or f64. */

#define NAME(x) JOIN(x, TYPE)

#ifdef SCALAR_TILE
  #define W 1
  typedef T NAME(vector);
#else
  #define W ((ptrdiff_t)(VECTOR_BYTES / sizeof(T)))
  typedef T NAME(vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T)), may_alias));
#endif
#define VECTOR NAME(vector)

#ifndef FASTNN_FMA
#define FASTNN_FMA
/* c + a*b with one rounding where the machine has it. */
  #if defined(__AVX512F__)
    #define fma_f32(a, b, c) (vector_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
    #define fma_f64(a, b, c) (vector_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
  #elif defined(__AVX2__)
    #define fma_f32(a, b, c) (vector_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
    #define fma_f64(a, b, c) (vector_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
  #elif defined(__aarch64__)
    #define fma_f32(a, b, c) (vector_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
    #define fma_f64(a, b, c) (vector_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
  #else
    #define fma_f32(a, b, c) ((c) + (a) * (b))
    #define fma_f64(a, b, c) ((c) + (a) * (b))
  #endif
#endif

/* One tile of C. `rows` and `vecs` are constants at every call below, so the
   loops unroll and `sum` lives in registers. init: one row to start every row of
   C from (bias or zeros), or NULL to go on from what C holds. */
ALWAYS_INLINE void NAME(tile)(
    const int rows, const int vecs, ptrdiff_t k,
    const T *RESTRICT a, ptrdiff_t a_row, ptrdiff_t a_col,
    const T *RESTRICT b, ptrdiff_t b_row,
    const T *RESTRICT init, T *RESTRICT c, ptrdiff_t c_row)
{
    VECTOR sum[MAX_ROWS][VECS];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < vecs; j++)
            sum[i][j] = *(const VECTOR *)(init ? init + j * W : c + i * c_row + j * W);
    for (ptrdiff_t p = 0; p < k; p++) {
        VECTOR b_p[VECS];
        UNROLL for (int j = 0; j < vecs; j++)
            b_p[j] = *(const VECTOR *)(b + p * b_row + j * W);
        UNROLL for (int i = 0; i < rows; i++) {
            const VECTOR a_ip = a[i * a_row + p * a_col] - (VECTOR){0};
            UNROLL for (int j = 0; j < vecs; j++)
                sum[i][j] = NAME(fma)(a_ip, b_p[j], sum[i][j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < vecs; j++)
            *(VECTOR *)(c + i * c_row + j * W) = sum[i][j];
}

/* One function per tile shape, and a table of them.
   In one large function the compiler would spill the sums. */
#define TILE(v, r) \
    static void NAME(tile_##v##_##r)(ptrdiff_t k, const T *a, ptrdiff_t a_row, ptrdiff_t a_col, \
                                     const T *b, ptrdiff_t b_row, const T *init, T *c, ptrdiff_t c_row) \
    { NAME(tile)(r, v, k, a, a_row, a_col, b, b_row, init, c, c_row); }
#define ENTRY(v, r) NAME(tile_##v##_##r),
TILE_SHAPES(TILE)
typedef void (*NAME(tile_function))(ptrdiff_t, const T *, ptrdiff_t, ptrdiff_t, const T *, ptrdiff_t,
                                    const T *, T *, ptrdiff_t);
static const NAME(tile_function) NAME(tiles)[] = { TILE_SHAPES(ENTRY) };
#undef TILE
#undef ENTRY

/* to[i, 0:width] = from[i, 0:cols], padded with zeros. Rows are short and far
   apart, which the hardware does not foresee: ask for what comes 4 KB later. From
   beyond the last level of cache this copies three times as fast. */
static void NAME(pack)(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t width,
                       const T *RESTRICT from, ptrdiff_t from_row, T *RESTRICT to)
{
    const ptrdiff_t ahead = from_row * (1 + 4096 / ((cols + 1) * (ptrdiff_t)sizeof(T)));
    for (ptrdiff_t i = 0; i < rows; i++, from += from_row, to += width) {
        ptrdiff_t j = 0;
        for (; j + W <= cols; j += W) {
            PREFETCH(from + ahead + j);
            *(VECTOR *)(to + j) = *(const VECTOR *)(from + j);
        }
        for (; j < cols; j++) to[j] = from[j];
        for (; j < width; j++) to[j] = 0;
    }
}

#ifndef SCALAR_TILE
/* A W x W square is transposed in log2(W) rounds; each interleaves vector i with
   vector i + W/2, the perfect shuffle. */
ALWAYS_INLINE void NAME(transpose_square)(const T *from, ptrdiff_t from_row, T *to, ptrdiff_t to_row)
{
    typedef
    #if defined(__GNUC__)
        __typeof__((VECTOR){0} < (VECTOR){0})
    #endif
        index;
    VECTOR v[W], u[W];
    index low, high;
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
static void NAME(pack_transposed)(ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t width,
                                  const T *from, ptrdiff_t from_row, T *to)
{
    ptrdiff_t i = 0;
#ifndef SCALAR_TILE
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

/* C = bias + A B: m rows, n <= NC columns, all of k. b_transposed: B[p, j] is stored
   at b[j * b_row + p].

   Loops, outermost first: slices of k (KC), blocks of rows (MC), strips of columns
   (one tile wide), tiles of rows. Packing copies only where it pays: a strip of B
   when enough tiles reuse it, or when it is transposed or narrower than a vector;
   the panel of A when several strips reuse it. The panel holds rows of A, whichever
   way A was stored: then a line of cache that a tile fetches serves 16 of its steps.
   Strips are packed by the first block of rows and used by all. */
static void NAME(matmul)(
    ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const T *a, ptrdiff_t a_row, ptrdiff_t a_col,
    const T *b, ptrdiff_t b_row, int b_transposed, const T *bias, T *c, ptrdiff_t c_row)
{
    T *const panel = (T *)scratch.panel;
    ALIGNED(64) T edge[MAX_ROWS * VECS * W];
    ALIGNED(64) T start[VECS * W];
    const ptrdiff_t n_vecs = even_piece((n + W - 1) / W, VECS);
    const ptrdiff_t rows_limit = min_size(ACCUMULATORS / n_vecs, MAX_ROWS);
    const ptrdiff_t n_rows = even_piece(m, rows_limit);
    const ptrdiff_t m_block = MC / n_rows * n_rows;
    const int pack_a = m > rows_limit && n > 2 * VECS * W;
    const int pack_b = m > 3 * rows_limit;
    /* B read in place, once, from memory: short slices walk it nearly in order. k == 0: only the bias. */
    const ptrdiff_t k_piece = k ? even_piece(k, pack_b ? KC : KC / 5) : 1;

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
            if (b_transposed || cols < width || pack_b) {
                /* For one block of rows every strip goes to the same place, which stays in cache. */
                T *const strip = (T *)scratch.strips + (m > m_block ? j * kc : 0);
                if (top == 0 && b_transposed) NAME(pack_transposed)(cols, kc, width, b_pj, b_row, strip);
                else if (top == 0) NAME(pack)(kc, cols, width, b_pj, b_row, strip);
                b_pj = strip, bp_row = width;
            }
            if (p == 0)
                for (ptrdiff_t l = 0; l < width; l++) start[l] = bias && l < cols ? bias[j + l] : 0;
            const T *init = p == 0 ? start : NULL;
            for (ptrdiff_t i = 0; i < mc; i += n_rows) {
                const ptrdiff_t rows = min_size(n_rows, mc - i);
                const NAME(tile_function) tile = NAME(tiles)[FIRST_TILE(vecs) + rows - 1];
                T *c_ij = c + (top + i) * c_row + j;
                for (ptrdiff_t r = n_rows; r < min_size(2 * n_rows, mc - i); r++) /* the next tile's C */
                    for (ptrdiff_t l = 0; l < cols; l += CACHE_LINE / (ptrdiff_t)sizeof(T))
                        PREFETCH(c_ij + r * c_row + l);
                if (cols == width) {
                    tile(kc, a_p + i * ap_row, ap_row, ap_col, b_pj, bp_row, init, c_ij, c_row);
                } else {
                    if (!init) NAME(pack)(rows, cols, width, c_ij, c_row, edge);
                    tile(kc, a_p + i * ap_row, ap_row, ap_col, b_pj, bp_row, init, edge, width);
                    for (ptrdiff_t r = 0; r < rows; r++)
                        memcpy(c_ij + r * c_row, edge + r * width, cols * sizeof(T));
                }
            }
        }
    }
}

#undef W
#undef VECTOR
#undef NAME
