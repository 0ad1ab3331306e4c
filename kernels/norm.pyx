"""Normalisation over channels, forward and backward. M rows, C channels.

Batch normalisation waits for memory, so what counts is how often it reads its arrays: x once for
the statistics and once for y, x and dy once for the sums of backward and once for dx. What ReLU
let through is found from x again, not read from y.

Rows are taken in *parts*, whose number depends on the shape only. Of few channels, several rows
side by side are one wide row. Every other pass goes from the last part to the first, which finds
the end of the arrays still in cache.
"""
from cython.parallel cimport threadid
from libc.math cimport pow, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memset

include "parallel.pxi"

cdef extern from "norm.h" nogil:
    enum: MEAN, INVERSE, SCALE, BETA, DBETA, DGAMMA, FACTORS
    Py_ssize_t FACTOR_STRIDE(Py_ssize_t width)
    void add_moments_f32(Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const float *x,
                         const float *pivot, float *sums, float *squares)
    void add_moments_f64(Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const double *x,
                         const double *pivot, double *sums, double *squares)
    void normalize_f32(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const float *f,
                       const float *x, float *y)
    void normalize_f64(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const double *f,
                       const double *x, double *y)
    void add_products_f32(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n,
                          const float *f, const float *dy, const float *x, float *sums,
                          float *products)
    void add_products_f64(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n,
                          const double *f, const double *dy, const double *x, double *sums,
                          double *products)
    void find_dx_f32(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const float *f,
                     const float *dy, const float *x, float *dx)
    void find_dx_f64(int relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n, const double *f,
                     const double *dy, const double *x, double *dx)

cdef enum:
    PART = 65536    # elements of a part, about
    BLOCK = 32      # rows that are summed in the arrays' dtype; these sums are added in double
    SHARE = 8       # the mean of the first eighth of a part's rows is its pivot
    WIDE = 64       # with fewer channels, rows are put side by side
    LINE = 64       # bytes of a line of cache

cdef struct Plan:
    Py_ssize_t channels
    Py_ssize_t width, rows, rest    # of wide rows, and elements after the last
    Py_ssize_t stride               # from one array of a width to the next
    Py_ssize_t step, parts          # rows of a part


cdef inline Plan make_plan(Py_ssize_t m, Py_ssize_t channels) noexcept nogil:
    cdef Plan p
    cdef Py_ssize_t each = max(<Py_ssize_t> 1, min(m, WIDE // channels))
    p.channels, p.width, p.rows, p.rest = channels, each * channels, m // each, m % each * channels
    p.stride = FACTOR_STRIDE(p.width)
    p.step = max(<Py_ssize_t> BLOCK, PART // p.width)
    p.parts = (p.rows + p.step - 1) // p.step
    return p


cdef inline Py_ssize_t rows_of(const Plan *p, Py_ssize_t part) noexcept nogil:
    return min(p.step, p.rows - part * p.step)


cdef inline Py_ssize_t rest_of(const Plan *p, Py_ssize_t part) noexcept nogil:
    """Elements after the rows of a part: the last part has some."""
    return p.rest if part == p.parts - 1 else 0


cdef inline void *at_line(void *place) noexcept nogil:
    """The next line of cache: vectors across two of them take twice the time."""
    return <void *> ((<size_t> place + LINE - 1) // LINE * LINE)


cdef inline void *room(Py_ssize_t size, str op) except NULL:
    cdef void *found = malloc(size)
    if found == NULL:
        raise MemoryError(f"{op}: no memory for sums")
    return found


# --- batch normalisation --------------------------------------------------------------------


cdef inline void moments(const Plan *p, Py_ssize_t rows, Py_ssize_t n, const floating *x,
                         const floating *pivot, floating *block, double *totals) noexcept nogil:
    """totals += Σ (x − pivot) and Σ (x − pivot)² of each of the first n columns."""
    cdef Py_ssize_t i
    memset(block, 0, 2 * p.stride * sizeof(floating))
    if floating is float:
        add_moments_f32(rows, p.width, n, x, pivot, block, block + p.stride)
    else:
        add_moments_f64(rows, p.width, n, x, pivot, block, block + p.stride)
    for i in range(2 * p.stride):
        totals[i] += block[i]


cdef inline void part_moments(const Plan *p, Py_ssize_t part, const floating *x, floating *pivot,
                              floating *block, double *totals) noexcept nogil:
    """The moments of a part about the mean of its first rows, which is near enough to its own."""
    cdef Py_ssize_t i, r = 0, rows = rows_of(p, part), first = (rows + SHARE - 1) // SHARE
    cdef const floating *row = x + part * p.step * p.width
    memset(totals, 0, 2 * p.stride * sizeof(double))
    memset(pivot, 0, p.stride * sizeof(floating))
    moments(p, first, p.width, row, pivot, block, totals)
    for i in range(p.width):
        pivot[i] = <floating> (totals[i] / first)
    memset(totals, 0, 2 * p.stride * sizeof(double))
    while r < rows:
        moments(p, min(rows - r, <Py_ssize_t> BLOCK), p.width, row + r * p.width, pivot, block,
                totals)
        r += BLOCK
    moments(p, 1, rest_of(p, part), row + rows * p.width, pivot, block, totals)


cdef void join_moments(const Plan *p, const floating *pivots, const double *totals, double *means,
                       double *squares) noexcept nogil:
    """means = Σ x / M, squares = Σ (x − mean)² of each channel, from those of the parts in order.

    Of n elements, Σ (x − mean)² = Σ (x − pivot)² + 2 (pivot − mean) Σ (x − pivot)
    + n (pivot − mean)².
    """
    cdef Py_ssize_t part, side, first, c, i, n = p.channels
    cdef const double *sums
    cdef double count, apart
    cdef double m = p.rows * (p.width // n) + p.rest // n
    memset(means, 0, n * sizeof(double))
    memset(squares, 0, n * sizeof(double))
    for part in range(p.parts):
        sums = totals + 2 * part * p.stride
        for side in range(p.width // n):
            first = side * n
            count = rows_of(p, part) + (first < rest_of(p, part))
            for c in range(n):
                i = first + c
                means[c] += sums[i] + count * (<double> pivots[part * p.stride + i] - pivots[c])
    for c in range(n):
        means[c] = pivots[c] + means[c] / m
    for part in range(p.parts):
        sums = totals + 2 * part * p.stride
        for side in range(p.width // n):
            first = side * n
            count = rows_of(p, part) + (first < rest_of(p, part))
            for c in range(n):
                i = first + c
                apart = pivots[part * p.stride + i] - means[c]
                squares[c] += sums[p.stride + i] + apart * (2 * sums[i] + count * apart)


def batch_norm_statistics(const floating[:, ::1] x, floating[::1] mean, floating[::1] variance):
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], i, c
    if n == 0:
        return
    cdef Plan p = make_plan(m, n)
    cdef Py_ssize_t w = p.stride
    cdef double *totals = <double *> room(
        (2 * p.parts * w + 2 * n) * sizeof(double) + LINE
        + (p.parts + 2 * max_threads) * w * sizeof(floating), "batch_norm_statistics")
    cdef double *means = totals + 2 * p.parts * w
    cdef floating *pivots = <floating *> at_line(means + 2 * n)
    cdef floating *blocks = pivots + p.parts * w
    cdef const floating *first = &x[0, 0]
    cdef float_mode mode
    for i in prange(p.parts, num_threads=threads_for(0.1 * m * n), nogil=True, schedule="static"):
        mode = flush_denormals()
        part_moments(&p, p.parts - 1 - i, first, pivots + (p.parts - 1 - i) * w,
                     blocks + 2 * threadid() * w, totals + 2 * (p.parts - 1 - i) * w)
        set_float_mode(mode)
    join_moments(&p, pivots, totals, means, means + n)
    for c in range(n):
        mean[c] = <floating> means[c]
        variance[c] = <floating> (means[n + c] / m)
    free(totals)


cdef void find_factors(
    const Plan *p, const floating[::1] mean, const floating[::1] variance,
    const floating[::1] gamma, const floating[::1] beta, double epsilon, floating *f,
) noexcept:
    """The factors of every column, but those with the sums of backward."""
    cdef Py_ssize_t i, c = 0
    cdef floating inverse
    for i in range(p.width):
        inverse = <floating> 1 / <floating> sqrt(variance[c] + <floating> epsilon)
        f[MEAN * p.stride + i], f[INVERSE * p.stride + i] = mean[c], inverse
        f[SCALE * p.stride + i], f[BETA * p.stride + i] = gamma[c] * inverse, beta[c]
        c = c + 1 if c + 1 < p.channels else 0


cdef inline void normalize(bint relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n,
                           const floating *f, const floating *x, floating *y) noexcept nogil:
    if floating is float:
        normalize_f32(relu, rows, width, n, f, x, y)
    else:
        normalize_f64(relu, rows, width, n, f, x, y)


def batch_norm(const floating[:, ::1] x, const floating[::1] mean, const floating[::1] variance,
               const floating[::1] gamma, const floating[::1] beta, double epsilon,
               int activation, floating[:, ::1] y):
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], i, start, rows
    if m == 0 or n == 0:
        return
    cdef Plan p = make_plan(m, n)
    cdef Py_ssize_t w = p.width
    cdef void *place = room(FACTORS * p.stride * sizeof(floating) + LINE, "batch_norm")
    cdef floating *f = <floating *> at_line(place)
    find_factors(&p, mean, variance, gamma, beta, epsilon, f)
    cdef const floating *x_0 = &x[0, 0]
    cdef floating *y_0 = &y[0, 0]
    cdef float_mode mode
    for i in prange(p.parts, num_threads=threads_for(0.15 * m * n), nogil=True, schedule="static"):
        mode = flush_denormals()
        start, rows = i * p.step * w, rows_of(&p, i)
        normalize(activation, rows, w, w, f, x_0 + start, y_0 + start)
        start = start + rows * w
        normalize(activation, 1, w, rest_of(&p, i), f, x_0 + start, y_0 + start)
        set_float_mode(mode)
    free(place)


cdef inline void products(const Plan *p, bint relu, Py_ssize_t rows, Py_ssize_t n,
                          const floating *f, const floating *dy, const floating *x,
                          floating *block, double *totals) noexcept nogil:
    """totals += Σ dz and Σ dz x̂ of each of the first n columns."""
    cdef Py_ssize_t i
    memset(block, 0, 2 * p.stride * sizeof(floating))
    if floating is float:
        add_products_f32(relu, rows, p.width, n, f, dy, x, block, block + p.stride)
    else:
        add_products_f64(relu, rows, p.width, n, f, dy, x, block, block + p.stride)
    for i in range(2 * p.stride):
        totals[i] += block[i]


cdef inline void part_products(const Plan *p, Py_ssize_t part, bint relu, const floating *f,
                               const floating *dy, const floating *x, floating *block,
                               double *totals) noexcept nogil:
    cdef Py_ssize_t r = 0, start = part * p.step * p.width, rows = rows_of(p, part), at
    memset(totals, 0, 2 * p.stride * sizeof(double))
    while r < rows:
        at = start + r * p.width
        products(p, relu, min(rows - r, <Py_ssize_t> BLOCK), p.width, f, dy + at, x + at, block,
                 totals)
        r += BLOCK
    at = start + rows * p.width
    products(p, relu, 1, rest_of(p, part), f, dy + at, x + at, block, totals)


def batch_norm_sums(const floating[:, ::1] dy, const floating[:, ::1] x,
                    const floating[::1] mean, const floating[::1] variance,
                    const floating[::1] gamma, const floating[::1] beta, double epsilon,
                    int activation, floating[::1] dgamma, floating[::1] dbeta):
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], i, j, c
    dgamma[:], dbeta[:] = 0, 0
    if m == 0 or n == 0:
        return
    cdef Plan p = make_plan(m, n)
    cdef Py_ssize_t w = p.stride
    cdef double *totals = <double *> room(
        (p.parts + 1) * 2 * w * sizeof(double) + LINE
        + (FACTORS + 2 * max_threads) * w * sizeof(floating), "batch_norm_sums")
    cdef double *total = totals + p.parts * 2 * w
    cdef floating *f = <floating *> at_line(total + 2 * w)
    cdef floating *blocks = f + FACTORS * w
    find_factors(&p, mean, variance, gamma, beta, epsilon, f)
    cdef const floating *dy_0 = &dy[0, 0]
    cdef const floating *x_0 = &x[0, 0]
    cdef float_mode mode
    for i in prange(p.parts, num_threads=threads_for(0.2 * m * n), nogil=True, schedule="static"):
        mode = flush_denormals()
        part_products(&p, p.parts - 1 - i, activation, f, dy_0, x_0, blocks + 2 * threadid() * w,
                      totals + (p.parts - 1 - i) * 2 * w)
        set_float_mode(mode)
    memset(total, 0, 2 * w * sizeof(double))
    for i in range(p.parts):
        for j in range(2 * w):
            total[j] += totals[i * 2 * w + j]
    for c in range(n):
        for j in range(1, p.width // n):
            total[c] += total[j * n + c]
            total[w + c] += total[w + j * n + c]
        dbeta[c] = <floating> total[c]
        dgamma[c] = <floating> total[w + c]
    free(totals)


cdef inline void find_dx(bint relu, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n,
                         const floating *f, const floating *dy, const floating *x,
                         floating *dx) noexcept nogil:
    if floating is float:
        find_dx_f32(relu, rows, width, n, f, dy, x, dx)
    else:
        find_dx_f64(relu, rows, width, n, f, dy, x, dx)


def batch_norm_dx(const floating[:, ::1] dy, const floating[:, ::1] x,
                  const floating[::1] mean, const floating[::1] variance,
                  const floating[::1] gamma, const floating[::1] beta, double epsilon,
                  int activation, const floating[::1] dgamma, const floating[::1] dbeta,
                  floating[:, ::1] dx):
    cdef Py_ssize_t m = x.shape[0], n = x.shape[1], i, start, rows
    if m == 0 or n == 0:
        return
    cdef Plan p = make_plan(m, n)
    cdef Py_ssize_t w = p.width
    cdef void *place = room(FACTORS * p.stride * sizeof(floating) + LINE, "batch_norm_dx")
    cdef floating *f = <floating *> at_line(place)
    cdef floating count = <floating> m
    find_factors(&p, mean, variance, gamma, beta, epsilon, f)
    for i in range(w):
        f[DBETA * p.stride + i] = dbeta[i % n] / count
        f[DGAMMA * p.stride + i] = dgamma[i % n] / count
    cdef const floating *dy_0 = &dy[0, 0]
    cdef const floating *x_0 = &x[0, 0]
    cdef floating *dx_0 = &dx[0, 0]
    cdef float_mode mode
    for i in prange(p.parts, num_threads=threads_for(0.3 * m * n), nogil=True, schedule="static"):
        mode = flush_denormals()
        start, rows = i * p.step * w, rows_of(&p, i)
        find_dx(activation, rows, w, w, f, dy_0 + start, x_0 + start, dx_0 + start)
        start = start + rows * w
        find_dx(activation, 1, w, rest_of(&p, i), f, dy_0 + start, x_0 + start, dx_0 + start)
        set_float_mode(mode)
    free(place)


# --- local response normalisation -----------------------------------------------------------

cdef struct Response:
    Py_ssize_t channels, size
    double factor, beta, bias    # s = bias + factor * sum of squares, y = x / s^beta


cdef inline void add_around(Py_ssize_t channels, Py_ssize_t size, const floating *a,
                            floating *sums) noexcept nogil:
    """sums[c] = a[c] + ... + a[c + size - 1]."""
    cdef Py_ssize_t c, i
    for c in range(channels):
        sums[c] = a[c]
    for i in range(1, size):
        for c in range(channels):
            sums[c] += a[c + i]


cdef inline void find_powers(const Response *p, const floating *x, floating *padded, floating *s,
                             floating *power) noexcept nogil:
    """s of each channel of a row and s^-beta; of the usual beta by roots, which vectorise."""
    cdef Py_ssize_t c, before = (p.size - 1) // 2
    cdef floating root
    memset(padded, 0, (p.channels + p.size - 1) * sizeof(floating))
    for c in range(p.channels):
        padded[before + c] = x[c] * x[c]
    add_around(p.channels, p.size, padded, s)
    for c in range(p.channels):
        s[c] = <floating> p.bias + <floating> p.factor * s[c]
    if p.beta == 0.75:
        for c in range(p.channels):
            root = <floating> sqrt(s[c])
            power[c] = <floating> 1 / (root * <floating> sqrt(root))
    else:
        for c in range(p.channels):
            power[c] = <floating> pow(s[c], -p.beta)


cdef inline void response_row(const Response *p, const floating *dy, const floating *x,
                              floating *slot, floating *out) noexcept nogil:
    """y of a row, or dx if dy is given."""
    cdef Py_ssize_t c, n = p.channels, after = p.size - 1 - (p.size - 1) // 2
    cdef floating *s = slot
    cdef floating *power = slot + n
    cdef floating *padded = slot + 2 * n
    cdef floating factor = <floating> (2 * p.beta * p.factor)
    find_powers(p, x, padded, s, power)
    if dy == NULL:
        for c in range(n):
            out[c] = x[c] * power[c]
        return
    memset(padded, 0, (n + p.size - 1) * sizeof(floating))
    for c in range(n):
        padded[after + c] = dy[c] * x[c] * power[c] / s[c]
    add_around(n, p.size, padded, s)
    for c in range(n):
        out[c] = dy[c] * power[c] - factor * x[c] * s[c]


cdef int response(Py_ssize_t m, Py_ssize_t n, int size, double alpha, double beta, double bias,
                  const floating *dy, const floating *x, floating *out) except -1:
    cdef Response p = Response(n, size, alpha / size, beta, bias)
    cdef Py_ssize_t slot = 3 * n + size, r
    cdef floating *slots = <floating *> room(max_threads * slot * sizeof(floating),
                                             "local_response_norm")
    cdef float_mode mode
    for r in prange(m, num_threads=threads_for(2.0 * m * n), nogil=True, schedule="static"):
        mode = flush_denormals()
        response_row(&p, dy + r * n if dy != NULL else NULL, x + r * n,
                     slots + threadid() * slot, out + r * n)
        set_float_mode(mode)
    free(slots)
    return 0


def local_response_norm(const floating[:, ::1] x, int size, double alpha, double beta,
                        double bias, floating[:, ::1] y):
    if x.shape[0] and x.shape[1]:
        response(x.shape[0], x.shape[1], size, alpha, beta, bias, <const floating *> NULL,
                 &x[0, 0], &y[0, 0])


def local_response_norm_backward(const floating[:, ::1] dy, const floating[:, ::1] x, int size,
                                 double alpha, double beta, double bias, floating[:, ::1] dx):
    if x.shape[0] and x.shape[1]:
        response(x.shape[0], x.shape[1], size, alpha, beta, bias, &dy[0, 0], &x[0, 0], &dx[0, 0])
