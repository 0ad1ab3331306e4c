/* The pass over w for one element type: T is float or double, TYPE f32 or f64. */

#define NAME(x) JOIN(x, TYPE)
#define VECTOR NAME(vector)
#define W ((ptrdiff_t)(sizeof(VECTOR) / sizeof(T)))

/* The arrays as above; of dz and y the strip's part, packed. */
typedef struct {
    ptrdiff_t n, batch, ahead, x_row, band;
    const T *x, *x_next, *dz;
    T *w, *state[2], *y;
} NAME(pass);

/* The tile at row i, column j. What it is told comes by value, or the compiler would read it again
   after each store. */
ALWAYS_INLINE void NAME(update_tile)(const rule_name name, const int arrays, const int rows,
                                     const NAME(numbers) k, const NAME(pass) a, int treats,
                                     ptrdiff_t i, ptrdiff_t j)
{
    VECTOR g[TILE_ROWS], w[TILE_ROWS];
    UNROLL for (int r = 0; r < rows; r++) g[r] = (VECTOR){0};
    for (ptrdiff_t b = 0; b < a.batch; b++) {
        const VECTOR dz = *(const VECTOR *)(a.dz + b * W);
        const T *x = a.x + b * a.x_row + i;
        UNROLL for (int r = 0; r < rows; r++) g[r] = NAME(fma)(x[r] - (VECTOR){0}, dz, g[r]);
    }
    ptrdiff_t at = i * a.n + j;
    UNROLL for (int r = 0; r < rows; r++, at += a.n) {
        const ptrdiff_t later = at + a.band * a.n;
        PREFETCH_TO_L2(a.w + later);
        for (int s = 0; s < arrays; s++) PREFETCH_TO_L2(a.state[s] + later);
        w[r] = *(const VECTOR *)(a.w + at);
        if (treats) g[r] = NAME(treated)(&k, g[r], &w[r]);
        NAME(apply)(name, &k, g[r], &w[r], (VECTOR *)(a.state[0] + at),
                    (VECTOR *)(a.state[1] + at));
        *(VECTOR *)(a.w + at) = w[r];
    }
    for (ptrdiff_t b = 0; b < a.ahead; b++) {
        VECTOR y = *(const VECTOR *)(a.y + b * W);
        const T *x = a.x_next + b * a.x_row + i;
        UNROLL for (int r = 0; r < rows; r++) y = NAME(fma)(x[r] - (VECTOR){0}, w[r], y);
        *(VECTOR *)(a.y + b * W) = y;
    }
}

ALWAYS_INLINE void NAME(update_strip)(const rule_name name, const int arrays, const NAME(numbers) k,
                                      const NAME(pass) a, int treats, ptrdiff_t i, ptrdiff_t end,
                                      ptrdiff_t j)
{
    for (; i + TILE_ROWS <= end; i += TILE_ROWS)
        NAME(update_tile)(name, arrays, TILE_ROWS, k, a, treats, i, j);
    for (; i < end; i++) NAME(update_tile)(name, arrays, 1, k, a, treats, i, j);
}

/* A function per rule: in one large function the compiler would spill the sums. */
#define STRIP(name, arrays) \
    static void NAME(update_strip_##name)(const NAME(numbers) k, const NAME(pass) a, int treats, \
                                          ptrdiff_t i, ptrdiff_t end, ptrdiff_t j) \
    { NAME(update_strip)(name, arrays, k, a, treats, i, end, j); }
#define ENTRY(name, arrays) NAME(update_strip_##name),
RULES(STRIP)
static void (*const NAME(update_strips)[])(NAME(numbers), NAME(pass), int, ptrdiff_t, ptrdiff_t,
                                           ptrdiff_t) = { RULES(ENTRY) };
#undef STRIP
#undef ENTRY

ALWAYS_INLINE void NAME(copy_vectors)(ptrdiff_t count, const T *from, ptrdiff_t from_step, T *to,
                                      ptrdiff_t to_step)
{
    for (ptrdiff_t i = 0; i < count; i++)
        *(VECTOR *)(to + i * to_step) = *(const VECTOR *)(from + i * from_step);
}

/* m rows of w and the state, which begin at w and state; x, x_next at their columns for these rows.
   y_next is their part of the product. */
UNUSED static void NAME(streamed_update)(
    const rule *r, ptrdiff_t m, ptrdiff_t n, ptrdiff_t batch, ptrdiff_t ahead, ptrdiff_t x_row,
    const T *x, const T *dz, T *w, T *state_1, T *state_2, const T *x_next, T *y_next)
{
    #define ARRAYS(name, arrays) arrays,
    static const int state_arrays[] = { RULES(ARRAYS) };
    #undef ARRAYS
    const NAME(numbers) numbers = NAME(numbers_of)(r);
    const ptrdiff_t row_bytes = n * sizeof(T) * (1 + state_arrays[r->name]);
    const ptrdiff_t tiles = BAND_BYTES / (row_bytes * TILE_ROWS);
    const ptrdiff_t band = (tiles > 1 ? tiles : 1) * TILE_ROWS;
    const ptrdiff_t strips = n / W;
    T *const dz_strips = (T *)packed_b(), *const y_strips = dz_strips + batch * n;
    NAME(pass) a = { n, batch, ahead, x_row, band, x, x_next, NULL, w, { state_1, state_2 }, NULL };

    for (ptrdiff_t s = 0; s < strips; s++)
        NAME(copy_vectors)(batch, dz + s * W, n, dz_strips + s * batch * W, W);
    memset(y_strips, 0, ahead * n * sizeof(T));
    for (ptrdiff_t i = 0; i < m; i += band)
        for (ptrdiff_t s = 0; s < strips; s++) {
            a.dz = dz_strips + s * batch * W;
            a.y = y_strips + s * ahead * W;
            NAME(update_strips)[r->name](numbers, a, r->treats, i, min_size(m, i + band), s * W);
        }
    for (ptrdiff_t s = 0; s < strips; s++)
        NAME(copy_vectors)(ahead, y_strips + s * ahead * W, W, y_next + s * W, n);
}

#undef W
#undef VECTOR
#undef NAME
