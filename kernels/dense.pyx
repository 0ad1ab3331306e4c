"""Dense layer, forward and backward, on the register tile. N batch, K inputs, O outputs.

One product C = A B serves all three; what differs is which array is A, which is B, and how
their elements are reached (see tile.h). The output is cut into blocks, each the work of one
thread, so the bits don't depend on the number of threads.
"""
from cython.parallel cimport threadid
from libc.stdlib cimport free, malloc

include "elementary.pxi"
include "parallel.pxi"
include "fused.pxi"
include "apply_rule.pxi"

cdef extern from "tile.h" nogil:
    const Py_ssize_t MC, NC
    Py_ssize_t even_piece(Py_ssize_t size, Py_ssize_t limit)
    void matmul_f32(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                    const float *a, Py_ssize_t a_row, Py_ssize_t a_col,
                    const float *b, Py_ssize_t b_row, bint b_transposed,
                    const float *bias, bint add, float *c, Py_ssize_t c_row)
    void matmul_f64(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                    const double *a, Py_ssize_t a_row, Py_ssize_t a_col,
                    const double *b, Py_ssize_t b_row, bint b_transposed,
                    const double *bias, bint add, double *c, Py_ssize_t c_row)
    ctypedef struct band_plan:
        pass
    band_plan plan_bands_f32(Py_ssize_t n, Py_ssize_t k, Py_ssize_t a_row, Py_ssize_t a_col,
                             const float *b)
    band_plan plan_bands_f64(Py_ssize_t n, Py_ssize_t k, Py_ssize_t a_row, Py_ssize_t a_col,
                             const double *b)
    void band_f32(const band_plan *plan, Py_ssize_t m, const float *a, float *c, const float *next)
    void band_f64(const band_plan *plan, Py_ssize_t m, const double *a, double *c,
                  const double *next)

cdef extern from "streamed_update.h" nogil:
    const Py_ssize_t TILE_ROWS
    bint can_stay_in_registers(Py_ssize_t n, Py_ssize_t rows, Py_ssize_t itemsize)
    void streamed_update_f32(
        const Rule *r, Py_ssize_t m, Py_ssize_t n, Py_ssize_t batch, Py_ssize_t ahead,
        Py_ssize_t x_row, const float *x, const float *dz, float *w, float *state_1,
        float *state_2, const float *x_next, float *y_next)
    void streamed_update_f64(
        const Rule *r, Py_ssize_t m, Py_ssize_t n, Py_ssize_t batch, Py_ssize_t ahead,
        Py_ssize_t x_row, const double *x, const double *dz, double *w, double *state_1,
        double *state_2, const double *x_next, double *y_next)

cdef enum:
    PANEL = 1 << 17     # bytes of gradient a thread makes at a time: they stay in its L2 cache
    BAND = 12 * 1536    # the same where x has few rows: nearer still
    SHARE = 1 << 19     # bytes of w a thread updates at a time
    K_PART = 1024       # long sums for few rows are cut into parts, see product_in_parts
    FEW_ROWS = 64
    DB_WIDTH = 256      # elements added at a time where rows are short
    DB_ROWS = 2048      # rows of dz that a thread adds up at a time


cdef inline void block(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *a, Py_ssize_t a_row,
    Py_ssize_t a_col, const floating *b, Py_ssize_t b_row, bint b_transposed,
    const floating *bias, bint add, floating *c, Py_ssize_t c_row, Activation activation,
) noexcept nogil:
    """One block of C, activated while it is in cache."""
    cdef Py_ssize_t i
    cdef float_mode mode = flush_denormals()
    if floating is float:
        matmul_f32(m, n, k, a, a_row, a_col, b, b_row, b_transposed, bias, add, c, c_row)
    else:
        matmul_f64(m, n, k, a, a_row, a_col, b, b_row, b_transposed, bias, add, c, c_row)
    if c_row == n:
        activate(activation, c, m * n)
    elif activation != IDENTITY:
        for i in range(m):
            activate(activation, c + i * c_row, n)
    set_float_mode(mode)


cdef void product(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *a, Py_ssize_t a_row,
    Py_ssize_t a_col, const floating *b, Py_ssize_t b_row, bint b_transposed,
    const floating *bias, floating *c, Activation activation,
) noexcept nogil:
    """C = f(bias + A B), C contiguous, over blocks of at most 4 MC rows and NC columns.

    In a block, packed columns of B serve all its rows, and its C is still in some cache when
    it is activated.
    """
    cdef int threads = threads_for(2.0 * m * n * k / 100)
    cdef Py_ssize_t m_limit = 4 * MC, n_limit = NC
    if threads > 1:
        m_limit = min(m_limit, max(MC, m // (2 * threads)))
    if threads > 1 and m <= MC:  # too few blocks of rows for the threads: cut columns too
        n_limit = min(n_limit, max(64, (n // (2 * threads) + 63) // 64 * 64))
    cdef Py_ssize_t m_piece = even_piece(m, m_limit), n_piece = even_piece(n, n_limit)
    if m == 0 or n == 0:
        return
    cdef Py_ssize_t across = (n + n_piece - 1) // n_piece
    cdef Py_ssize_t blocks = (m + m_piece - 1) // m_piece * across
    cdef Py_ssize_t t, i, j
    for t in prange(blocks, num_threads=threads, schedule="dynamic"):
        i = t // across * m_piece
        j = t % across * n_piece
        block(min(m_piece, m - i), min(n_piece, n - j), k, a + i * a_row, a_row, a_col,
              b + (j * b_row if b_transposed else j), b_row, b_transposed,
              bias + j if bias != NULL else NULL, False, c + i * n + j, n, activation)


cdef inline bint in_parts(Py_ssize_t m, Py_ssize_t k) noexcept nogil:
    """Whether a product with m rows and a sum over k is computed in parts of k."""
    return m <= FEW_ROWS and k >= 2 * K_PART


cdef floating *partial_sums(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                            const floating *c) except? NULL:
    """Memory for the parts. c is there for its type only."""
    cdef Py_ssize_t piece = even_piece(k, K_PART), parts = (k + piece - 1) // piece
    cdef floating *partial = <floating *> malloc((parts * m * n + 1) * sizeof(floating))
    if partial == NULL:
        raise MemoryError("dense: no memory for partial sums")
    return partial


cdef void add_parts(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *partial,
                    const floating *bias, floating *c, Activation activation) noexcept nogil:
    """C = f(the parts, in order, + bias)."""
    cdef Py_ssize_t piece = even_piece(k, K_PART), i, j, p
    cdef float_mode mode = flush_denormals()
    for i in range(m):
        for j in range(n):
            c[i * n + j] = partial[i * n + j]
        for p in range(1, (k + piece - 1) // piece):
            for j in range(n):
                c[i * n + j] += partial[(p * m + i) * n + j]
        if bias != NULL:
            for j in range(n):
                c[i * n + j] += bias[j]
        activate(activation, c + i * n, n)
    set_float_mode(mode)


cdef int product_in_parts(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *a, const floating *b,
    const floating *bias, floating *c, Activation activation,
) except -1:
    """C = f(A B + bias) for few rows and a long k, as for a batch of 10 images.

    There the time is that of reading B once. Each part of k, a contiguous piece of B, gives a
    partial C; these are added in order. Their number depends on the shape only, so the bits
    are those of any number of threads.
    """
    cdef Py_ssize_t piece = even_piece(k, K_PART), p
    cdef floating *partial = partial_sums(m, n, k, c)
    for p in prange((k + piece - 1) // piece, num_threads=threads_for(2.0 * m * n * k / 100),
                    schedule="static", nogil=True):
        block(m, n, min(piece, k - p * piece), a + p * piece, k, 1,
              b + p * piece * n, n, False, <const floating *> NULL, False,
              partial + p * m * n, n, IDENTITY)
    with nogil:
        add_parts(m, n, k, partial, bias, c, activation)
    free(partial)
    return 0


cdef int forward(
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *x, const floating *w,
    const floating *bias, floating *y, Activation activation,
) except -1:
    if in_parts(m, k):
        return product_in_parts(m, n, k, x, w, bias, y, activation)
    with nogil:
        product(m, n, k, x, k, 1, w, n, False, bias, y, activation)
    return 0


def dense(const floating[:, ::1] x, const floating[:, ::1] w, const floating[::1] b,
          int activation, floating[:, ::1] y):
    """y = f(x w + b): A = x, B = w."""
    cdef Py_ssize_t m = x.shape[0], k = x.shape[1], n = w.shape[1]
    cdef const floating *bias = NULL if b is None else &b[0]
    if m == 0:
        return
    forward(m, n, k, &x[0, 0], &w[0, 0], bias, &y[0, 0], <Activation> activation)


def dense_dx(const floating[:, ::1] dz, const floating[:, ::1] w, floating[:, ::1] dx):
    """dx = dz wT: A = dz, B = w transposed."""
    cdef Py_ssize_t m = dz.shape[0], k = dz.shape[1], n = w.shape[0]
    if m == 0:
        return
    with nogil:
        product(m, n, k, &dz[0, 0], k, 1, &w[0, 0], k, True, <const floating *> NULL,
                &dx[0, 0], IDENTITY)


def dense_dw(const floating[:, ::1] x, const floating[:, ::1] dz, Py_ssize_t start,
             floating[:, ::1] dw):
    """dw = xT dz for the rows start, start+1, ...: A = x transposed, B = dz."""
    cdef Py_ssize_t m = dw.shape[0], k = x.shape[0], n = dz.shape[1]
    if k == 0:
        dw[:, :] = 0
        return
    with nogil:
        product(m, n, k, &x[0, start], 1, x.shape[1], &dz[0, 0], n, False,
                <const floating *> NULL, &dw[0, 0], IDENTITY)


cdef void add_rows(Py_ssize_t m, Py_ssize_t n, const floating *rows,
                   floating *total) noexcept nogil:
    """total = sum of the rows; of short ones, several side by side at a time."""
    cdef Py_ssize_t i = 0, j, each = DB_WIDTH // n if n < DB_WIDTH // 4 else 1
    cdef floating wide[DB_WIDTH]
    cdef float_mode mode = flush_denormals()
    if each == 1:
        for j in range(n):
            total[j] = 0
    else:
        for j in range(each * n):
            wide[j] = 0
        while i + each <= m:
            for j in range(each * n):
                wide[j] += rows[i * n + j]
            i += each
        for j in range(n):
            total[j] = wide[j]
        for j in range(n, each * n):
            total[j % n] += wide[j]
    while i < m:
        for j in range(n):
            total[j] += rows[i * n + j]
        i += 1
    set_float_mode(mode)


def dense_db(const floating[:, ::1] dz, floating[::1] db):
    """db = sum of the rows of dz, in parts of DB_ROWS that are added in order."""
    cdef Py_ssize_t m = dz.shape[0], n = dz.shape[1], parts = (m + DB_ROWS - 1) // DB_ROWS, p
    if parts < 2:
        add_rows(m, n, &dz[0, 0] if m else NULL, &db[0])
        return
    cdef floating *partial = <floating *> malloc(parts * n * sizeof(floating))
    if partial == NULL:
        raise MemoryError("dense_db: no memory for partial sums")
    for p in prange(parts, num_threads=threads_for(0.1 * m * n), nogil=True):
        add_rows(min(<Py_ssize_t> DB_ROWS, m - p * DB_ROWS), n, &dz[p * DB_ROWS, 0],
                 partial + p * n)
    add_rows(parts, n, partial, &db[0])
    free(partial)


cdef inline void update_bands(
    const Rule *rule, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const floating *x, Py_ssize_t x_row,
    const floating *dz, Py_ssize_t band, floating *dw, floating *w, const State *state,
    Py_ssize_t place,
) noexcept nogil:
    """Update m rows of w band by band, each as soon as its gradient is made."""
    cdef Py_ssize_t i = 0, rows
    cdef band_plan plan
    if k <= FEW_ROWS:
        if floating is float:
            plan = plan_bands_f32(n, k, 1, x_row, dz)
        else:
            plan = plan_bands_f64(n, k, 1, x_row, dz)
    while i < m:
        rows = min(band, m - i)
        if k > FEW_ROWS:
            block(rows, n, k, x + i, 1, x_row, dz, n, False, <const floating *> NULL, False,
                  dw, n, IDENTITY)
        elif floating is float:
            band_f32(&plan, rows, x + i, dw, w + (i + rows) * n)
        else:
            band_f64(&plan, rows, x + i, dw, w + (i + rows) * n)
        apply_rule(rule, w + i * n, dw, state, place + i * n, rows * n)
        i += rows


cdef inline void stream(
    const Rule *rule, Py_ssize_t m, Py_ssize_t n, Py_ssize_t batch, Py_ssize_t ahead,
    Py_ssize_t x_row, const floating *x, const floating *dz, floating *w, const State *state,
    Py_ssize_t place, const floating *x_next, floating *y_next,
) noexcept nogil:
    cdef floating *state_1 = <floating *> state.arrays[0] + place
    cdef floating *state_2 = <floating *> state.arrays[1] + place
    if floating is float:
        streamed_update_f32(rule, m, n, batch, ahead, x_row, x, dz, w, state_1, state_2, x_next,
                            y_next)
    else:
        streamed_update_f64(rule, m, n, batch, ahead, x_row, x, dz, w, state_1, state_2, x_next,
                            y_next)


def dense_dw_update(const floating[:, ::1] x, const floating[:, ::1] dz, floating[:, ::1] w,
                    tuple state, rule, const floating[:, ::1] x_next, floating[:, ::1] y_next):
    """dw = xT dz, straight to the optimizer; then y_next = x_next w.

    Memory sees w and the state once, and no gradient; but x_next of many rows, or a short w, is
    multiplied by itself. Threads share the rows of w. If it can, a thread does all while it has
    a piece of w in registers: see streamed_update.h. Else it makes a band of dw, updates its
    rows of w and the state from it, and makes the next over it, so that the gradient stays in
    its core's cache; then it multiplies what it has updated with its part of x_next before that
    leaves the cache.
    """
    cdef Py_ssize_t m = w.shape[0], n = w.shape[1], k = x.shape[0]
    cdef Py_ssize_t ahead = 0 if x_next is None else x_next.shape[0]
    cdef bint fused = ahead > 0 and in_parts(ahead, m)
    cdef Py_ssize_t i, p, stop, size, row_bytes = n * sizeof(floating)
    cdef Py_ssize_t band = (BAND if k <= FEW_ROWS else PANEL) // row_bytes
    cdef Rule r = find_rule(rule)
    cdef State s = find_state(state, &w[0, 0])
    cdef bint in_registers = (
        s.form == FULL and k <= FEW_ROWS
        and can_stay_in_registers(n, k + (ahead if fused else 0), sizeof(floating)))
    cdef Py_ssize_t together = rows_together(&s, n)
    band = max(<Py_ssize_t> 1, min(MC, band) // together) * together
    if in_registers:
        band = TILE_ROWS
    cdef Py_ssize_t piece = band * max(<Py_ssize_t> 1, PANEL // row_bytes // band)
    cdef Py_ssize_t band_size = band * n + 64 // <Py_ssize_t> sizeof(floating)
    cdef int threads = threads_for(<double> m * n * (1 + 2.0 * k / 100))
    # A share is some pieces, one after another in memory: that streams better.
    cdef Py_ssize_t share = max(piece, min(SHARE // row_bytes, m // (4 * threads)) // piece * piece)
    fused = fused and even_piece(m, K_PART) % together == 0
    if fused:
        share = even_piece(m, K_PART)
    cdef floating *w_0 = &w[0, 0]
    cdef const floating *x_0 = &x[0, 0] if k else NULL
    cdef const floating *dz_0 = &dz[0, 0] if k else NULL
    cdef const floating *next_0 = &x_next[0, 0] if fused else NULL
    cdef float_mode mode
    cdef floating *partial = partial_sums(ahead, n, m, w_0)
    cdef floating *bands = <floating *> malloc(threads * band_size * sizeof(floating))
    if bands == NULL:
        free(partial)
        raise MemoryError("dense: no memory for bands of the gradient")
    for p in prange((m + share - 1) // share, num_threads=threads, schedule="dynamic", nogil=True):
        mode = flush_denormals()
        i = p * share
        stop = min(m, i + share)
        if in_registers:
            stream(&r, stop - i, n, k, ahead if fused else 0, m, x_0 + i, dz_0, w_0 + i * n,
                   &s, i * n, next_0 + i, partial + p * ahead * n)
        else:
            while i < stop:
                size = min(piece, stop - i)
                update_bands(&r, size, n, k, x_0 + i, m, dz_0, band,
                             bands + threadid() * band_size, w_0 + i * n, &s, i * n)
                if fused:
                    block(ahead, n, size, next_0 + i, m, 1, w_0 + i * n, n, False,
                          <const floating *> NULL, i > p * share, partial + p * ahead * n, n,
                          IDENTITY)
                i = i + size
        set_float_mode(mode)
    free(bands)
    if fused:
        with nogil:
            add_parts(ahead, n, m, partial, <const floating *> NULL, &y_next[0, 0], IDENTITY)
    free(partial)
    if ahead and not fused:
        forward(ahead, n, m, &x_next[0, 0], w_0, <const floating *> NULL, &y_next[0, 0], IDENTITY)
