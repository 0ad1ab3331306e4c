/* The loops for one element type: T is float or double, TYPE f32 or f64. n elements of a row. */

#define NAME(x) JOIN(x, TYPE)

/* sums += x - pivot, squares += (x - pivot)^2, for some rows. */
static UNUSED void NAME(add_moments)(ptrdiff_t rows, ptrdiff_t width, ptrdiff_t n,
                                     const T *RESTRICT x, const T *RESTRICT pivot,
                                     T *RESTRICT sums, T *RESTRICT squares)
{
    ptrdiff_t r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * width)
        for (ptrdiff_t i = 0; i < n; i++) {
            const T p = pivot[i], a = x[i] - p, b = x[i + width] - p, c = x[i + 2 * width] - p,
                    d = x[i + 3 * width] - p;
            sums[i] += (a + b) + (c + d);
            squares[i] += (a * a + b * b) + (c * c + d * d);
        }
    for (; r < rows; r++, x += width)
        for (ptrdiff_t i = 0; i < n; i++) {
            const T a = x[i] - pivot[i];
            sums[i] += a;
            squares[i] += a * a;
        }
}

ALWAYS_INLINE void NAME(normalize_row)(const int relu, ptrdiff_t width, ptrdiff_t n,
                                       const T *RESTRICT f, const T *RESTRICT x, T *RESTRICT y)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        const T z = (x[i] - f[i]) * f[SCALE * width + i] + f[BETA * width + i];
        y[i] = relu && z < 0 ? 0 : z;
    }
}

/* dz: dy where ReLU let something through. dy is read before the choice, so that the compiler
   sees no branch. */
#define UNDONE                                                                                     \
    const T d = dy[i], offset = x[i] - f[i];                                                       \
    const T z = offset * f[SCALE * width + i] + f[BETA * width + i];                               \
    const T dz = !relu || z > 0 ? d : 0, x_hat = offset * f[INVERSE * width + i];

/* sums += dz, products += dz x_hat. */
ALWAYS_INLINE void NAME(add_row)(const int relu, ptrdiff_t width, ptrdiff_t n,
                                 const T *RESTRICT f, const T *RESTRICT dy, const T *RESTRICT x,
                                 T *RESTRICT sums, T *RESTRICT products)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        UNDONE
        sums[i] += dz;
        products[i] += dz * x_hat;
    }
}

ALWAYS_INLINE void NAME(dx_row)(const int relu, ptrdiff_t width, ptrdiff_t n,
                                const T *RESTRICT f, const T *RESTRICT dy, const T *RESTRICT x,
                                T *RESTRICT dx)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        UNDONE
        dx[i] = f[SCALE * width + i]
                * (dz - f[DBETA * width + i] - x_hat * f[DGAMMA * width + i]);
    }
}

#undef UNDONE

static UNUSED void NAME(normalize)(int relu, ptrdiff_t width, ptrdiff_t n, const T *f, const T *x,
                                   T *y)
{
    if (relu) NAME(normalize_row)(1, width, n, f, x, y);
    else NAME(normalize_row)(0, width, n, f, x, y);
}

static UNUSED void NAME(add_products)(int relu, ptrdiff_t width, ptrdiff_t n, const T *f,
                                      const T *dy, const T *x, T *sums, T *products)
{
    if (relu) NAME(add_row)(1, width, n, f, dy, x, sums, products);
    else NAME(add_row)(0, width, n, f, dy, x, sums, products);
}

static UNUSED void NAME(find_dx)(int relu, ptrdiff_t width, ptrdiff_t n, const T *f, const T *dy,
                                 const T *x, T *dx)
{
    if (relu) NAME(dx_row)(1, width, n, f, dy, x, dx);
    else NAME(dx_row)(0, width, n, f, dy, x, dx);
}

#undef NAME
