"""Pooling, forward and backward, row by row and tap by tap. Letters as in fastnn.geometry.

All windows of a row meet the same tap at equal steps. With few channels and a stride, the columns
of an image's row are first sorted by their remainder modulo the stride; then what a tap meets
lies together, and whatever the stride and the channels, each tap is a few long lines of a row
that stays in cache.

Backward, a row of dx gathers from the windows that meet it, in their order: oy and ox ascend as
the taps descend. So each row is the work of one thread, and a wrong index writes nothing.
"""
from cython.parallel cimport threadid
from libc.math cimport INFINITY
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

include "parallel.pxi"
include "axis.pxi"

ctypedef fused position:    # of a tap in its window
    unsigned char
    int

cdef enum:
    LONG = 64    # elements: a line of so many, or of a multiple, is long enough

cdef enum Op:
    MAX, AVERAGE, MAX_BACKWARD, AVERAGE_BACKWARD

cdef struct Tap:
    Py_ssize_t x, y, lines, x_line, n    # lines of n elements from x on in a row of x, y in y

cdef struct Plan:
    Axis rows, columns
    Py_ssize_t channels, x_row, y_row
    Py_ssize_t parts, width    # a sorted row has a part of this width for each remainder
    Py_ssize_t slot
    char *scratch              # a slot for each thread
    Tap *taps                  # of one row of the window


cdef inline Py_ssize_t steps(Py_ssize_t distance, Py_ssize_t step, Py_ssize_t most) noexcept nogil:
    """How many of the first ``most`` multiples of step, from 0 on, are smaller than distance."""
    return 0 if distance <= 0 else min(most, (distance - 1) // step + 1)


cdef inline Py_ssize_t windows_before(const Axis *a, Py_ssize_t tap, Py_ssize_t i) noexcept nogil:
    """The number of windows whose tap lies before element i of the image."""
    return steps(i + a.before - tap * a.dilation, a.stride, a.out)


cdef inline Py_ssize_t taps_before(const Axis *a, Py_ssize_t window, Py_ssize_t i) noexcept nogil:
    """The number of taps of a window that lie before element i of the image."""
    return steps(i + a.before - window * a.stride, a.dilation, a.kernel)


cdef Plan make_plan(geometry, Py_ssize_t itemsize) except *:
    cdef Axis rows = axis_of(geometry.rows), c = axis_of(geometry.columns)
    cdef Py_ssize_t channels = geometry.channels, tap, first, count, at
    cdef Py_ssize_t parts = 1 if channels % LONG == 0 or c.out == 1 else c.stride
    cdef bint joined = parts == c.stride    # all windows in one line
    cdef Plan p = Plan(rows, c, channels, c.size * channels, c.out * channels, parts,
                       ((c.size - 1) // parts + 1) * channels + (parts > 1) * 64, 0, NULL, NULL)
    p.slot = (parts * p.width + p.y_row) * itemsize // 64 * 64 + 64
    p.scratch = <char *> malloc(max_threads * p.slot + c.kernel * sizeof(Tap))
    if p.scratch == NULL:
        raise MemoryError("pool: no memory for a row")
    p.taps = <Tap *> (p.scratch + max_threads * p.slot)
    for tap in range(c.kernel):
        first = windows_before(&c, tap, 0)
        count = windows_before(&c, tap, c.size) - first
        at = first * c.stride + tap * c.dilation - c.before
        p.taps[tap] = Tap(at % parts * p.width + at // parts * channels, first * channels,
                          1 if joined else count, c.stride * channels,
                          count * channels if joined else channels)
    return p


cdef inline void sort(const Plan *p, const floating *x, floating *to, bint back) noexcept nogil:
    """The columns of a row by their remainder modulo the stride, or back into their order.

    A few channels are copied as 64 bytes: what is too much is written over by the next column.
    """
    cdef Py_ssize_t i, c = p.channels, part = 0, place = 0, sorted_
    cdef bint few = c * sizeof(floating) <= 64
    for i in range(p.columns.size):
        sorted_ = part * p.width + place
        if few and (i + 1) * c + 64 // <Py_ssize_t> sizeof(floating) <= p.x_row:
            memcpy(to + (i * c if back else sorted_), x + (sorted_ if back else i * c), 64)
        else:
            memcpy(to + (i * c if back else sorted_), x + (sorted_ if back else i * c),
                   c * sizeof(floating))
        part += 1
        if part == p.parts:
            part, place = 0, place + c


cdef inline void max_line(Py_ssize_t n, const floating *x, position tap, floating *y,
                          position *index) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating a, b
    cdef position before
    cdef bint wins
    for i in range(n):
        a, b, before = x[i], y[i], index[i]    # read before the choice: no branch
        wins = (not a <= b) & (b == b)         # NaN wins, the first one
        y[i] = a if wins else b
        index[i] = tap if wins else before


cdef inline void max_backward_line(Py_ssize_t n, const floating *dy, position tap, floating *dx,
                                   const position *index) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating gradient
    for i in range(n):
        gradient = dy[i]
        dx[i] += gradient if index[i] == tap else <floating> 0


cdef inline void add_line(Py_ssize_t n, const floating *x, floating *total) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        total[i] += x[i]


cdef inline void meet(const Plan *p, Op op, Py_ssize_t ky, Py_ssize_t kx, floating *x, floating *y,
                      position *index) noexcept nogil:
    """What tap ky, kx does to a row of x and a row of y: forward it writes y, backward x."""
    cdef const Tap *tap = &p.taps[kx]
    cdef position number = <position> (ky * p.columns.kernel + kx)
    cdef Py_ssize_t i, j
    for i in range(tap.lines):
        j = tap.y + i * tap.n
        if op == MAX:
            max_line(tap.n, x + tap.x + i * tap.x_line, number, y + j, index + j)
        elif op == MAX_BACKWARD:
            max_backward_line(tap.n, y + j, number, x + tap.x + i * tap.x_line, index + j)
        elif op == AVERAGE:
            add_line(tap.n, x + tap.x + i * tap.x_line, y + j)
        else:
            add_line(tap.n, y + j, x + tap.x + i * tap.x_line)


cdef inline void divide(const Plan *p, Py_ssize_t oy, const floating *y,
                        floating *to) noexcept nogil:
    """to = y / number of taps in the image, for the windows of row oy."""
    cdef Py_ssize_t i, o
    cdef Py_ssize_t down = taps_before(&p.rows, oy, p.rows.size) - taps_before(&p.rows, oy, 0)
    cdef floating count
    for o in range(p.columns.out):
        count = <floating> (down * (taps_before(&p.columns, o, p.columns.size)
                                    - taps_before(&p.columns, o, 0)))
        for i in range(o * p.channels, (o + 1) * p.channels):
            to[i] = y[i] / count


cdef void forward_row(const Plan *p, Op op, Py_ssize_t r, floating *x, floating *y,
                      position *index) noexcept nogil:
    cdef Py_ssize_t i, o, ky, kx, oy = r % p.rows.out
    cdef Py_ssize_t top = taps_before(&p.rows, oy, 0), end = taps_before(&p.rows, oy, p.rows.size)
    cdef floating *row
    cdef floating *sorted_row = <floating *> (p.scratch + threadid() * p.slot)
    y += r * p.y_row
    index += r * p.y_row
    for i in range(p.y_row):
        y[i] = -INFINITY if op == MAX else 0
    if op == MAX:    # where all is -inf, the first tap in the image wins
        for i in range(p.y_row):
            index[i] = <position> (top * p.columns.kernel)
        for i in range(p.y_row):
            o = taps_before(&p.columns, i // p.channels, 0)
            if o == 0:
                break
            index[i] += <position> o
    for ky in range(top, end):
        i = oy * p.rows.stride + ky * p.rows.dilation - p.rows.before
        row = x + (r // p.rows.out * p.rows.size + i) * p.x_row
        if p.parts > 1:
            sort(p, row, sorted_row, False)
            row = sorted_row
        for kx in range(p.columns.kernel):
            meet(p, op, ky, kx, row, y, index)
    if op == AVERAGE:
        divide(p, oy, y, y)


cdef void backward_row(const Plan *p, Op op, Py_ssize_t r, floating *dy, position *index,
                       floating *dx) noexcept nogil:
    cdef Py_ssize_t iy = r % p.rows.size, oy, ky, kx, at
    cdef floating *share = <floating *> (p.scratch + threadid() * p.slot)
    cdef floating *y
    dx += r * p.x_row
    cdef floating *row = share + p.y_row if p.parts > 1 else dx
    memset(row, 0, p.parts * p.width * sizeof(floating))
    for ky in range(p.rows.kernel - 1, -1, -1):
        oy = windows_before(&p.rows, ky, iy)
        if oy == windows_before(&p.rows, ky, iy + 1):
            continue
        at = (r // p.rows.size * p.rows.out + oy) * p.y_row
        y = dy + at
        if op == AVERAGE_BACKWARD:
            divide(p, oy, y, share)
            y = share
        for kx in range(p.columns.kernel - 1, -1, -1):
            meet(p, op, ky, kx, row, y, index + at)
    if p.parts > 1:
        sort(p, row, dx, True)


cdef int pool(Op op, geometry, Py_ssize_t n, const floating *x, const floating *y,
              const position *index) except -1:
    """x or dx, y or dy; the op writes to what it makes."""
    cdef Plan p = make_plan(geometry, sizeof(floating))
    cdef bint backward = op == MAX_BACKWARD or op == AVERAGE_BACKWARD
    cdef Py_ssize_t r, height = p.rows.size if backward else p.rows.out
    cdef double cost = 0.1 * n * p.rows.size * p.x_row + 0.05 * n * p.rows.out * p.y_row
    cdef float_mode mode
    for r in prange(n * height, num_threads=threads_for(cost), nogil=True, schedule="static"):
        mode = flush_denormals()
        if backward:
            backward_row(&p, op, r, <floating *> y, <position *> index, <floating *> x)
        else:
            forward_row(&p, op, r, <floating *> x, <floating *> y, <position *> index)
        set_float_mode(mode)
    free(p.scratch)
    return 0


def max_pool2d(const floating[:, :, :, ::1] x, geometry, floating[:, :, :, ::1] y,
               position[:, :, :, ::1] index):
    pool(MAX, geometry, x.shape[0], &x[0, 0, 0, 0], &y[0, 0, 0, 0], &index[0, 0, 0, 0])


def max_pool2d_backward(const floating[:, :, :, ::1] dy, const position[:, :, :, ::1] index,
                        geometry, floating[:, :, :, ::1] dx):
    pool(MAX_BACKWARD, geometry, dy.shape[0], &dx[0, 0, 0, 0], &dy[0, 0, 0, 0],
         &index[0, 0, 0, 0])


def average_pool2d(const floating[:, :, :, ::1] x, geometry, floating[:, :, :, ::1] y):
    pool(AVERAGE, geometry, x.shape[0], &x[0, 0, 0, 0], &y[0, 0, 0, 0], <unsigned char *> NULL)


def average_pool2d_backward(const floating[:, :, :, ::1] dy, geometry,
                            floating[:, :, :, ::1] dx):
    pool(AVERAGE_BACKWARD, geometry, dy.shape[0], &dx[0, 0, 0, 0], &dy[0, 0, 0, 0],
         <unsigned char *> NULL)
