/* The loops for one element type: T is float or double, TYPE f32 or f64. Each runs over the first n
   columns of some rows. One row after another, though several at a time would load what belongs to
   a column less often: memory is read ahead only where it is read in order. */

#define NAME(x) JOIN(x, TYPE)
#define FACTOR(name) f[name * FACTOR_STRIDE(width) + i]

/* sums += x - pivot, squares += (x - pivot)^2. */
static UNUSED void NAME(add_moments)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                     const T *RESTRICT x, const T *RESTRICT pivot,
                                     T *RESTRICT sums, T *RESTRICT squares)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += width)
        for (ptrdiff_t i = 0; i < n; i++) {
            const T offset = x[i] - pivot[i];
            sums[i] += offset;
            squares[i] += offset * offset;
        }
}

ALWAYS_INLINE void NAME(normalize_as)(const int relu, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                      const T *RESTRICT f, const T *RESTRICT x, T *RESTRICT y)
{
    for (ptrdiff_t r = 0; r < rows; r++, x += width, y += width)
        for (ptrdiff_t i = 0; i < n; i++) {
            const T z = (x[i] - FACTOR(MEAN)) * FACTOR(SCALE) + FACTOR(BETA);
            y[i] = relu && z < 0 ? 0 : z;
        }
}

/* dz: dy where ReLU let something through. dy is read before the choice, so that the compiler
   sees no branch. */
#define UNDONE                                                                                     \
    const T given = dy[i], offset = x[i] - FACTOR(MEAN);                                           \
    const T dz = !relu || offset * FACTOR(SCALE) + FACTOR(BETA) > 0 ? given : 0;                   \
    const T x_hat = offset * FACTOR(INVERSE);

/* sums += dz, products += dz x_hat. */
ALWAYS_INLINE void NAME(add_products_as)(const int relu, ptrdiff_t rows, ptrdiff_t width,
                                         ptrdiff_t n, const T *RESTRICT f, const T *RESTRICT dy,
                                         const T *RESTRICT x, T *RESTRICT sums,
                                         T *RESTRICT products)
{
    for (ptrdiff_t r = 0; r < rows; r++, dy += width, x += width)
        for (ptrdiff_t i = 0; i < n; i++) {
            UNDONE
            sums[i] += dz;
            products[i] += dz * x_hat;
        }
}

ALWAYS_INLINE void NAME(find_dx_as)(const int relu, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                    const T *RESTRICT f, const T *RESTRICT dy,
                                    const T *RESTRICT x, T *RESTRICT dx)
{
    for (ptrdiff_t r = 0; r < rows; r++, dy += width, x += width, dx += width)
        for (ptrdiff_t i = 0; i < n; i++) {
            UNDONE
            dx[i] = FACTOR(SCALE) * (dz - FACTOR(DBETA) - x_hat * FACTOR(DGAMMA));
        }
}

static UNUSED void NAME(normalize)(int relu, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                   const T *f, const T *x, T *y)
{
    if (relu) NAME(normalize_as)(1, rows, width, n, f, x, y);
    else NAME(normalize_as)(0, rows, width, n, f, x, y);
}

static UNUSED void NAME(add_products)(int relu, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                      const T *f, const T *dy, const T *x, T *sums, T *products)
{
    if (relu) NAME(add_products_as)(1, rows, width, n, f, dy, x, sums, products);
    else NAME(add_products_as)(0, rows, width, n, f, dy, x, sums, products);
}

static UNUSED void NAME(find_dx)(int relu, ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n, const T *f,
                                 const T *dy, const T *x, T *dx)
{
    if (relu) NAME(find_dx_as)(1, rows, width, n, f, dy, x, dx);
    else NAME(find_dx_as)(0, rows, width, n, f, dy, x, dx);
}

#undef NAME
#undef FACTOR
#undef UNDONE
