"""Pooling, forward and backward: rows of windows that are reduced in registers. Letters as in
fastnn.geometry.

Windows of a row with the same taps in the image form a line: one list of pointers, one per tap,
serves them all. With few channels and a stride, the columns of an image's row are first sorted by
their remainder modulo the stride; then what a tap meets lies together, and a line is one long
window.

Backward is the same on the other grid: a row of dx gathers from the windows that meet it, in
their order: oy and ox ascend as the taps descend. So each row is the work of one thread, and a
wrong index writes nothing.
"""
from cython.parallel cimport threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

include "parallel.pxi"
include "axis.pxi"

cdef extern from "reduce.h" nogil:
    enum: MAX, SUM, CHOSEN_SUM
    ctypedef struct windows:
        int op, size
        Py_ssize_t count, n, step, to_step, taps, divisor
        const int *number
        const void *origin
    void reduce_f32(const windows *p, const float *const *x, float *to, char *index)
    void reduce_f64(const windows *p, const double *const *x, double *to, char *index)

ctypedef fused position:    # of a tap in its window
    unsigned char
    int

cdef enum:
    FEW = 16    # channels: fewer, and the columns are sorted

cdef struct Plan:
    Axis rows, columns
    int op, size               # of an index
    bint back
    Py_ssize_t channels, x_row, y_row
    Py_ssize_t parts, width    # a sorted row has a part of this width for each remainder
    Py_ssize_t lists, copy, slot, n_lines
    char *scratch              # a slot for each thread: its lists of pointers, its copies of rows
    Line *lines


cdef inline Py_ssize_t inside(const Axis *axis, Py_ssize_t window) noexcept nogil:
    cdef Py_ssize_t tap, n = 0
    for tap in range(axis.kernel):
        n += met(axis, False, window, tap) >= 0
    return n


cdef Plan make_plan(geometry, int op, bint back, int size, Py_ssize_t itemsize,
                    int threads) except *:
    cdef Plan p
    memset(&p, 0, sizeof(Plan))
    p.rows, p.columns = axis_of(geometry.rows), axis_of(geometry.columns)
    p.op, p.back, p.size, p.channels = op, back, size, geometry.channels
    p.x_row, p.y_row = p.columns.size * p.channels, p.columns.out * p.channels
    p.parts = 1 if p.channels >= FEW or p.columns.out == 1 else p.columns.stride
    p.width = ((p.columns.size - 1) // p.parts + 1) * p.channels + (p.parts > 1) * 64
    p.copy = max(p.parts * p.width if p.parts > 1 else 0, p.y_row if back and op == SUM else 0)
    cdef Py_ssize_t taps = p.rows.kernel * p.columns.kernel
    p.lists = ((p.rows.kernel + taps) * sizeof(void *) + taps * sizeof(int)) // 64 * 64 + 64
    p.slot = p.lists + (p.rows.kernel + 1) * p.copy * itemsize // 64 * 64 + 64
    p.scratch = <char *> malloc(
        threads * p.slot + max(p.columns.size, p.columns.out) * sizeof(Line))
    if p.scratch == NULL:
        raise MemoryError("pool: no memory for a row")
    p.lines = <Line *> (p.scratch + threads * p.slot)
    p.n_lines = find_lines(&p.columns, back, p.lines)
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


cdef inline void divide(const Plan *p, Py_ssize_t oy, const floating *y,
                        floating *to) noexcept nogil:
    """to = y / number of taps in the image, for the windows of row oy."""
    cdef Py_ssize_t i, o, down = inside(&p.rows, oy)
    cdef floating count
    for o in range(p.columns.out):
        count = <floating> (down * inside(&p.columns, o))
        for i in range(o * p.channels, (o + 1) * p.channels):
            to[i] = y[i] / count


cdef inline Py_ssize_t place(const Plan *p, Py_ssize_t column) noexcept nogil:
    return column % p.parts * p.width + column // p.parts * p.channels


cdef void make_row(const Plan *p, Py_ssize_t r, const floating *source, floating *to,
                   char *index) noexcept nogil:
    """Row r of y from rows of x, or of dx from rows of dy."""
    cdef const Axis *c = &p.columns
    cdef Py_ssize_t height = p.rows.size if p.back else p.rows.out, k, ky, at, i, j, tap, index_at
    cdef Py_ssize_t source_height = p.rows.out if p.back else p.rows.size
    cdef Py_ssize_t source_row = p.y_row if p.back else p.x_row
    cdef Py_ssize_t to_row = p.x_row if p.back else p.y_row
    cdef char *slot = p.scratch + threadid() * p.slot
    cdef floating *copies = <floating *> (slot + p.lists)
    cdef const floating **rows = <const floating **> slot    # what each row of the window meets
    cdef const floating **taps = rows + p.rows.kernel
    cdef int *numbers = <int *> (taps + p.rows.kernel * c.kernel)
    cdef floating *made
    cdef const Line *line
    cdef windows w = windows(p.op, p.size, 0, 0, 0, 0, 0, 1, numbers, source)
    for ky in range(p.rows.kernel):
        at = met(&p.rows, p.back, r % height, ky)
        rows[ky] = NULL if at < 0 else source + (r // height * source_height + at) * source_row
        if at >= 0 and p.copy and (p.op == SUM or not p.back):
            if p.back:
                divide(p, at, rows[ky], copies + (ky + 1) * p.copy)
            else:
                sort(p, rows[ky], copies + (ky + 1) * p.copy, False)
            rows[ky] = copies + (ky + 1) * p.copy
    for i in range(p.n_lines):
        line = p.lines + i
        w.taps = 0
        for k in range(p.rows.kernel):
            ky = p.rows.kernel - 1 - k if p.back else k
            for tap in range(line.taps if rows[ky] != NULL else 0):
                j = line.taps - 1 - tap if p.back else tap
                at = line.source + j * line.source_tap
                taps[w.taps] = rows[ky] + (at * p.channels if p.back else place(p, at))
                numbers[w.taps] = <int> (ky * c.kernel + line.tap + j * line.tap_step)
                w.taps += 1
        w.divisor = 1 if p.back else w.taps
        w.count, w.n, w.step, w.to_step = line.count, p.channels, p.channels, p.channels
        if p.parts == c.stride:
            w.count, w.n = 1, line.count * p.channels
        elif p.back:
            w.to_step *= c.stride
        else:
            w.step *= c.stride
        made = copies if p.back and p.parts > 1 else to + r * to_row
        at = place(p, line.first) if p.back else line.first * p.channels
        index_at = 0 if p.back else (r * to_row + at) * p.size
        if floating is float:
            reduce_f32(&w, taps, made + at, index + index_at)
        else:
            reduce_f64(&w, taps, made + at, index + index_at)
    if p.back and p.parts > 1:
        sort(p, copies, to + r * to_row, True)


cdef int pool(int op, bint back, int size, geometry, Py_ssize_t n, const floating *source,
              floating *to, char *index) except -1:
    cdef Axis down = axis_of(geometry.rows), across = axis_of(geometry.columns)
    cdef double cost = n * geometry.channels * (
        0.1 * down.size * across.size + 0.05 * down.out * across.out)
    cdef int threads = threads_for(cost)  # once: another thread may change it meanwhile
    cdef Plan p = make_plan(geometry, op, back, size, sizeof(floating), threads)
    cdef Py_ssize_t r, rows = n * (p.rows.size if back else p.rows.out)
    cdef float_mode mode
    for r in prange(rows, num_threads=threads, nogil=True, schedule="static"):
        mode = flush_denormals()
        make_row(&p, r, source, to, index)
        set_float_mode(mode)
    free(p.scratch)
    return 0


def max_pool2d(const floating[:, :, :, ::1] x, geometry, floating[:, :, :, ::1] y,
               position[:, :, :, ::1] index):
    pool(MAX, False, sizeof(position), geometry, x.shape[0], &x[0, 0, 0, 0], &y[0, 0, 0, 0],
         <char *> &index[0, 0, 0, 0])


def max_pool2d_backward(const floating[:, :, :, ::1] dy, const position[:, :, :, ::1] index,
                        geometry, floating[:, :, :, ::1] dx):
    pool(CHOSEN_SUM, True, sizeof(position), geometry, dy.shape[0], &dy[0, 0, 0, 0],
         &dx[0, 0, 0, 0], <char *> &index[0, 0, 0, 0])


def average_pool2d(const floating[:, :, :, ::1] x, geometry, floating[:, :, :, ::1] y):
    pool(SUM, False, 0, geometry, x.shape[0], &x[0, 0, 0, 0], &y[0, 0, 0, 0], NULL)


def average_pool2d_backward(const floating[:, :, :, ::1] dy, geometry,
                            floating[:, :, :, ::1] dx):
    pool(SUM, True, 0, geometry, dy.shape[0], &dy[0, 0, 0, 0], &dx[0, 0, 0, 0], NULL)
