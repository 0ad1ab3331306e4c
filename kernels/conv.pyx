"""Convolution without its matrix: implicit im2col on the register tile.

The textbook copies every window of x into a row of a matrix (im2col) and multiplies. Here a row
of that matrix is never built. It is read where it lies: a few runs of x, one per row of the
window, or per tap. What differs between neighbouring windows is where the runs begin, so the
tile takes one pointer a row and one list of runs for all its rows. Windows at the border have
taps in the padding: those are left out of the list. Windows with the same taps in the image form
a block; a tile takes its rows from one block, whichever images they are from.

    forward   y  = x windows · w      rows: pixels of y,       k: taps and C
    dx        dx = dz windows · wT    rows: pixels of x,       k: taps and O
    dw        dw = x windowsT · dz    rows: taps and C,        k: pixels of y

N batch, C channels in, O out, G groups.
"""
from cython.parallel cimport threadid
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

include "elementary.pxi"
include "parallel.pxi"
include "fused.pxi"

cdef extern from "tile.h" nogil:
    enum: ACCUMULATORS, MAX_ROWS, MAX_WIDTH, VECS, VECTOR_BYTES
    Py_ssize_t even_piece(Py_ssize_t size, Py_ssize_t limit)
    ctypedef struct run:
        Py_ssize_t a, b, k
    char *packed_b()
    void pack_f32(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                  const float *source, Py_ssize_t row, float *to)
    void pack_f64(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                  const double *source, Py_ssize_t row, double *to)
    void pack_transposed_f32(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                             const float *source, Py_ssize_t row, float *to)
    void pack_transposed_f64(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                             const double *source, Py_ssize_t row, double *to)
    void add_runs_f32(int rows, Py_ssize_t cols, int vecs, Py_ssize_t n_runs, const run *runs,
                      const float *const *a, Py_ssize_t a_col, const float *b,
                      const float *init, float *const *c, bint relu)
    void add_runs_f64(int rows, Py_ssize_t cols, int vecs, Py_ssize_t n_runs, const run *runs,
                      const double *const *a, Py_ssize_t a_col, const double *b,
                      const double *init, double *const *c, bint relu)

cdef enum:
    STRIP = 384 * 1024   # bytes of packed B: they stay in the L2 cache while tiles use them
    PIXELS = 1024        # a task has about so many pixels, so that packing is a small part of it
    DW_BYTES = 1 << 17   # of dw that a task makes, to stay in the L2 cache while it sums
    DW_STRIP = 32 * 1024 # of dz that it packs at a time
    DW_TASKS = 8         # cut the sum over pixels where there are fewer


cdef struct Axis:
    Py_ssize_t size, kernel, stride, dilation, before, out


cdef struct Line:
    # Positions along an axis whose windows have the same taps in the image.
    Py_ssize_t first, step, count  # positions of the output
    Py_ssize_t source, source_step  # the first tap's element for the first position, the next one
    Py_ssize_t tap, tap_step, taps, source_tap  # taps, and how far the next one's element is


cdef Axis axis_of(object axis) except *:
    return Axis(axis.size, axis.kernel, axis.stride, axis.dilation, axis.before, axis.out)


cdef inline Py_ssize_t met(const Axis *axis, bint transposed, Py_ssize_t position,
                           Py_ssize_t tap) noexcept nogil:
    """The element that a tap meets, -1 if none; transposed: the window whose tap meets it."""
    cdef Py_ssize_t at
    if not transposed:
        at = position * axis.stride + tap * axis.dilation - axis.before
        return at if 0 <= at < axis.size else -1
    at = position + axis.before - tap * axis.dilation
    if at < 0 or at % axis.stride or at // axis.stride >= axis.out:
        return -1
    return at // axis.stride


cdef Py_ssize_t find_lines(const Axis *axis, bint transposed, Line *lines) noexcept nogil:
    """Cuts the positions along an axis into lines; how many."""
    cdef Py_ssize_t step = axis.stride if transposed else 1
    cdef Py_ssize_t size = axis.size if transposed else axis.out
    cdef Py_ssize_t n = 0, start, position, tap, at
    cdef Line line
    for start in range(min(step, size)):
        position = start
        while position < size:
            memset(&line, 0, sizeof(Line))
            line.first, line.step, line.count = position, step, 1
            line.source_step = 1 if transposed else axis.stride
            for tap in range(axis.kernel):
                at = met(axis, transposed, position, tap)
                if at < 0:
                    continue
                if line.taps == 0:
                    line.tap, line.source = tap, at
                elif line.taps == 1:
                    line.tap_step, line.source_tap = tap - line.tap, at - line.source
                line.taps += 1
            if position > start and line.tap == lines[n - 1].tap and (
                    line.taps == lines[n - 1].taps):
                lines[n - 1].count += 1
            else:
                lines[n] = line
                n += 1
            position += step
    return n


cdef inline Py_ssize_t add_run(run *runs, Py_ssize_t n, Py_ssize_t a, Py_ssize_t b, Py_ssize_t k,
                               Py_ssize_t a_col) noexcept nogil:
    """Appends a run, or makes the last one longer if it goes on there; their number."""
    if n and runs[n - 1].b + runs[n - 1].k == b and runs[n - 1].a + runs[n - 1].k * a_col == a:
        runs[n - 1].k += k
        return n
    runs[n].a, runs[n].b, runs[n].k = a, b, k
    return n + 1


cdef struct Plan:
    # What all tasks of a product share. depth and outputs are those of one group.
    Axis rows, columns
    Line *down
    Line *across
    Py_ssize_t n_down, n_across, n, groups, depth, outputs
    Py_ssize_t in_w, in_c, in_size, out_h, out_w, out_c
    Py_ssize_t taps, taps_piece, depth_piece  # pieces of k
    Py_ssize_t n_vecs, width, n_strips, images, out_rows  # a task: a strip, images, rows of each
    Activation activation
    bint transposed


cdef Plan plan_of(object geometry, Py_ssize_t n, bint transposed, size_t itemsize) except *:
    cdef Plan p
    memset(&p, 0, sizeof(Plan))
    p.rows, p.columns = axis_of(geometry.rows), axis_of(geometry.columns)
    p.n, p.groups, p.transposed = n, geometry.groups, transposed
    h, w, c = geometry.in_shape
    p.out_h, p.out_w, p.out_c = geometry.out_shape
    p.in_w, p.in_c, p.in_size = w, c, h * w * c
    if transposed:
        p.in_w, p.in_c, p.in_size = p.out_w, p.out_c, p.out_h * p.out_w * p.out_c
        p.out_h, p.out_w, p.out_c = h, w, c
    p.depth, p.outputs = p.in_c // p.groups, p.out_c // p.groups
    p.taps = p.rows.kernel * p.columns.kernel
    cdef Py_ssize_t w_lanes = VECTOR_BYTES // <Py_ssize_t> itemsize
    p.n_vecs = even_piece((p.outputs + w_lanes - 1) // w_lanes, VECS)
    p.width = p.n_vecs * w_lanes
    p.n_strips = (p.outputs + p.width - 1) // p.width
    return p


cdef Line *lines_of(Plan *p) except NULL:
    """Memory for the lines of both axes, filled."""
    cdef Py_ssize_t most_down = p.rows.stride * (2 * p.rows.kernel + 1)
    cdef Py_ssize_t most_across = p.columns.stride * (2 * p.columns.kernel + 1)
    most_down, most_across = min(most_down, p.out_h), min(most_across, p.out_w)
    p.down = <Line *> malloc((most_down + most_across) * sizeof(Line))
    if p.down == NULL:
        raise MemoryError("conv2d: no memory for the lines")
    p.across = p.down + most_down
    p.n_down = find_lines(&p.rows, p.transposed, p.down)
    p.n_across = find_lines(&p.columns, p.transposed, p.across)
    return p.down


cdef inline void pack_piece(const Plan *p, const floating *w, Py_ssize_t group, Py_ssize_t j,
                            Py_ssize_t cols, Py_ssize_t tap, Py_ssize_t tap_end, Py_ssize_t d,
                            Py_ssize_t d_size, Py_ssize_t width, floating *to) noexcept nogil:
    """B: a row per tap and per channel of the depth, `cols` outputs from j on."""
    cdef const floating *source
    for tap in range(tap, tap_end):
        if not p.transposed:
            source = w + (tap * p.depth + d) * p.out_c + group * p.outputs + j
            if floating is float:
                pack_f32(d_size, cols, width, source, p.out_c, to)
            else:
                pack_f64(d_size, cols, width, source, p.out_c, to)
        else:
            source = w + (tap * p.outputs + j) * p.in_c + group * p.depth + d
            if floating is float:
                pack_transposed_f32(cols, d_size, width, source, p.in_c, to)
            else:
                pack_transposed_f64(cols, d_size, width, source, p.in_c, to)
        to += d_size * width


cdef inline void block(const Plan *p, const Line *y_line, Py_ssize_t y_from, Py_ssize_t y_count,
                       const Line *x_line, Py_ssize_t images, const floating *a,
                       Py_ssize_t n_runs, const run *runs, Py_ssize_t cols, int vecs,
                       const floating *b, const floating *init, floating *c,
                       Activation activation) noexcept nogil:
    """All windows of the same taps, as rows of tiles. a, c: of the first image."""
    cdef const floating *a_rows[MAX_ROWS]
    cdef floating *c_rows[MAX_ROWS]
    cdef Py_ssize_t total = images * y_count * x_line.count, done = 0, i, rows
    cdef Py_ssize_t limit = even_piece(total, min(ACCUMULATORS // vecs, MAX_ROWS))
    cdef Py_ssize_t image = 0, y = 0, x = 0
    while done < total:
        rows = min(limit, total - done)
        for i in range(rows):
            a_rows[i] = a + image * p.in_size + (
                (y_line.source + (y_from + y) * y_line.source_step) * p.in_w
                + x_line.source + x * x_line.source_step) * p.in_c
            c_rows[i] = c + ((image * p.out_h + y_line.first + (y_from + y) * y_line.step) * p.out_w
                             + x_line.first + x * x_line.step) * p.out_c
            x += 1
            if x == x_line.count:
                x, y = 0, y + 1
                if y == y_count:
                    y, image = 0, image + 1
        if floating is float:
            add_runs_f32(<int> rows, cols, vecs, n_runs, runs, a_rows, 1, b, init, c_rows,
                         activation == RELU)
        else:
            add_runs_f64(<int> rows, cols, vecs, n_runs, runs, a_rows, 1, b, init, c_rows,
                         activation == RELU)
        if activation > RELU:
            for i in range(rows):
                activate(activation, c_rows[i], cols)
        done += rows


cdef void windows_task(const Plan *p, Py_ssize_t task, const floating *a, const floating *w,
                       const floating *bias, floating *c, run *runs) noexcept nogil:
    """One strip of outputs for some rows of some images."""
    cdef Py_ssize_t row_tasks = (p.out_h + p.out_rows - 1) // p.out_rows
    cdef Py_ssize_t image_tasks = (p.n + p.images - 1) // p.images
    cdef Py_ssize_t top = task % row_tasks * p.out_rows
    cdef Py_ssize_t bottom = min(p.out_h, top + p.out_rows)
    cdef Py_ssize_t image = task // row_tasks % image_tasks * p.images
    cdef Py_ssize_t images = min(p.images, p.n - image)
    cdef Py_ssize_t strip = task // (row_tasks * image_tasks)
    cdef Py_ssize_t group = strip // p.n_strips, j = strip % p.n_strips * p.width
    cdef Py_ssize_t cols = min(p.width, p.outputs - j)
    cdef int vecs = <int> ((cols * sizeof(floating) + VECTOR_BYTES - 1) // VECTOR_BYTES)
    cdef Py_ssize_t width = vecs * (VECTOR_BYTES // <Py_ssize_t> sizeof(floating))
    cdef floating *b = <floating *> packed_b()
    cdef floating start[MAX_WIDTH]
    cdef const floating *init
    cdef Py_ssize_t tap, tap_end, d, d_size, u, v, ty, tx, t, n_runs, y_from, y_to, i
    cdef const Line *down
    cdef const Line *across
    cdef bint last
    for i in range(width):
        start[i] = bias[group * p.outputs + j + i] if bias != NULL and i < cols else 0
    a += image * p.in_size + group * p.depth
    c += image * p.out_h * p.out_w * p.out_c + group * p.outputs + j
    tap = 0
    while tap < p.taps:
        d = 0
        while d < p.depth:
            tap_end, d_size = min(tap + p.taps_piece, p.taps), min(p.depth_piece, p.depth - d)
            pack_piece(p, w, group, j, cols, tap, tap_end, d, d_size, width, b)
            init = &start[0] if tap == 0 and d == 0 else NULL
            last = tap_end == p.taps and d + d_size == p.depth
            for u in range(p.n_down):
                down = p.down + u
                y_from = max(<Py_ssize_t> 0, (top - down.first + down.step - 1) // down.step)
                y_to = min(down.count, (bottom - down.first + down.step - 1) // down.step)
                if bottom <= down.first or y_from >= y_to:
                    continue
                for v in range(p.n_across):
                    across = p.across + v
                    n_runs = 0
                    for ty in range(down.taps):
                        for tx in range(across.taps):
                            t = ((down.tap + ty * down.tap_step) * p.columns.kernel
                                 + across.tap + tx * across.tap_step)
                            if tap <= t < tap_end:
                                n_runs = add_run(
                                    runs, n_runs, (ty * down.source_tap * p.in_w
                                                   + tx * across.source_tap) * p.in_c + d,
                                    (t - tap) * d_size, d_size, 1)
                    if n_runs or init != NULL or last:
                        block(p, down, y_from, y_to - y_from, across, images, a, n_runs, runs,
                              cols, vecs, b, init, c, p.activation if last else IDENTITY)
            d += p.depth_piece
        tap += p.taps_piece


cdef int windows_product(Plan *p, const floating *a, const floating *w, const floating *bias,
                         floating *c) except -1:
    cdef Py_ssize_t rows = STRIP // (p.width * <Py_ssize_t> sizeof(floating))
    cdef double work = 2.0 * p.n * p.out_h * p.out_w * p.out_c * p.taps * p.depth
    cdef int threads = threads_for(work / 100)
    p.depth_piece = even_piece(p.depth, rows)
    p.taps_piece = even_piece(p.taps, max(<Py_ssize_t> 1, rows // p.depth_piece))
    # Whole images if there are enough, else rows of one.
    cdef Py_ssize_t image = p.out_h * p.out_w
    p.images = max(<Py_ssize_t> 1, min((PIXELS + image - 1) // image, p.n // (4 * threads)))
    p.out_rows = p.out_h
    if p.images == 1:
        p.out_rows = even_piece(p.out_h, max(<Py_ssize_t> 1, PIXELS // p.out_w))
    cdef Py_ssize_t tasks = ((p.n + p.images - 1) // p.images
                             * ((p.out_h + p.out_rows - 1) // p.out_rows) * p.n_strips * p.groups)
    cdef Py_ssize_t t
    cdef run *runs
    lines_of(p)
    runs = <run *> malloc(threads * (p.taps + 1) * sizeof(run))
    if runs == NULL:
        free(p.down)
        raise MemoryError("conv2d: no memory for the runs")
    cdef float_mode mode
    for t in prange(tasks, num_threads=threads, schedule="dynamic", nogil=True):
        mode = flush_denormals()
        windows_task(p, t, a, w, bias, c, runs + threadid() * (p.taps + 1))
        set_float_mode(mode)
    free(runs)
    free(p.down)
    return 0


cdef void dw_task(const Plan *p, Py_ssize_t task, Py_ssize_t parts, const floating *x,
                  const floating *dz, floating *dw, floating *partial, run *runs) noexcept nogil:
    """One strip of outputs of dw, for some taps and channels, over a part of the pixels."""
    cdef Py_ssize_t part = task % parts
    cdef Py_ssize_t tap_tasks = (p.taps + p.taps_piece - 1) // p.taps_piece
    cdef Py_ssize_t depth_tasks = (p.depth + p.depth_piece - 1) // p.depth_piece
    cdef Py_ssize_t tap_from = task // parts % tap_tasks * p.taps_piece
    cdef Py_ssize_t tap_to = min(p.taps, tap_from + p.taps_piece)
    cdef Py_ssize_t d_from = task // (parts * tap_tasks) % depth_tasks * p.depth_piece
    cdef Py_ssize_t d_to = min(p.depth, d_from + p.depth_piece)
    cdef Py_ssize_t strip = task // (parts * tap_tasks * depth_tasks)
    cdef Py_ssize_t group = strip // p.n_strips, j = strip % p.n_strips * p.width
    cdef Py_ssize_t cols = min(p.width, p.outputs - j)
    cdef int vecs = <int> ((cols * sizeof(floating) + VECTOR_BYTES - 1) // VECTOR_BYTES)
    cdef Py_ssize_t lanes = VECTOR_BYTES // <Py_ssize_t> sizeof(floating), width = vecs * lanes
    cdef Py_ssize_t limit = min(ACCUMULATORS // vecs, MAX_ROWS)
    # Rows of all images of y one after another; a block is some of them, or a piece of one.
    cdef Py_ssize_t lines = p.n * p.out_h, share = (lines + parts - 1) // parts
    cdef Py_ssize_t line_to = min(lines, (part + 1) * share), line = part * share
    cdef Py_ssize_t pixels = DW_STRIP // (width * <Py_ssize_t> sizeof(floating))
    cdef Py_ssize_t x_piece = even_piece(p.out_w, pixels)
    cdef Py_ssize_t line_piece = max(<Py_ssize_t> 1, pixels // p.out_w)
    cdef Py_ssize_t x_from, x_size, lines_here, l, tap, ky, kx, first, stop, iy, n_runs, d, rows, i
    cdef Py_ssize_t x_col = p.columns.stride * p.in_c
    cdef floating *b = <floating *> packed_b()
    cdef const floating *a_rows[MAX_ROWS]
    cdef floating *c_rows[MAX_ROWS]
    cdef floating zeros[MAX_WIDTH]
    cdef const floating *init = &zeros[0]
    memset(zeros, 0, sizeof(zeros))
    if part:
        dw = partial + (part - 1) * p.taps * p.depth * p.out_c
    x += group * p.depth
    dw += group * p.outputs + j
    dz += group * p.outputs + j
    while line < line_to or init != NULL:
        lines_here = max(<Py_ssize_t> 0, min(line_piece, line_to - line))
        x_from = 0
        while x_from < p.out_w:
            x_size = min(x_piece, p.out_w - x_from)
            for l in range(lines_here):
                if floating is float:
                    pack_f32(x_size, cols, width, dz + ((line + l) * p.out_w + x_from) * p.out_c,
                             p.out_c, b + l * x_size * width)
                else:
                    pack_f64(x_size, cols, width, dz + ((line + l) * p.out_w + x_from) * p.out_c,
                             p.out_c, b + l * x_size * width)
            for tap in range(tap_from, tap_to):
                ky, kx = tap // p.columns.kernel, tap % p.columns.kernel
                # The windows of this piece whose tap is in the image.
                first, stop = x_from, x_from + x_size
                while first < stop and met(&p.columns, False, first, kx) < 0:
                    first += 1
                while stop > first and met(&p.columns, False, stop - 1, kx) < 0:
                    stop -= 1
                n_runs = 0
                for l in range(lines_here if first < stop else 0):
                    iy = met(&p.rows, False, (line + l) % p.out_h, ky)
                    if iy >= 0:
                        n_runs = add_run(
                            runs, n_runs, (line + l) // p.out_h * p.in_size
                            + (iy * p.in_w + met(&p.columns, False, first, kx)) * p.in_c,
                            l * x_size + first - x_from, stop - first, x_col)
                if n_runs == 0 and init == NULL:
                    continue
                d = d_from
                while d < d_to:
                    rows = min(even_piece(d_to - d_from, limit), d_to - d)
                    for i in range(rows):
                        a_rows[i] = x + d + i
                        c_rows[i] = dw + (tap * p.depth + d + i) * p.out_c
                    if floating is float:
                        add_runs_f32(<int> rows, cols, vecs, n_runs, runs, a_rows, x_col, b, init,
                                     c_rows, False)
                    else:
                        add_runs_f64(<int> rows, cols, vecs, n_runs, runs, a_rows, x_col, b, init,
                                     c_rows, False)
                    d += rows
            x_from += x_size
            init = NULL
        line += line_piece


# Depthwise: a channel for itself, C/G = 1. There is no product of matrices in it; vectors run over
# the channels, which lie side by side, and sums stay in the L1 cache.

cdef inline void multiply_add(floating *total, const floating *a, const floating *b,
                              Py_ssize_t n, Py_ssize_t each) noexcept nogil:
    """total[i] += a[i // each] b[i]."""
    cdef Py_ssize_t i, j
    if each == 1:
        for i in range(n):
            total[i] += a[i] * b[i]
    else:
        for i in range(n // each):
            for j in range(each):
                total[i * each + j] += a[i] * b[i * each + j]


cdef void depthwise_row(const Plan *p, Py_ssize_t line, const floating *x, const floating *w,
                        const floating *bias, floating *y) noexcept nogil:
    """One row of windows."""
    cdef Py_ssize_t ox, ky, kx, iy, ix, o
    cdef const floating *image = x + line // p.out_h * p.in_size
    cdef floating *total = y + line * p.out_w * p.out_c
    for ox in range(p.out_w):
        for o in range(p.out_c):
            total[o] = bias[o] if bias != NULL else 0
        for ky in range(p.rows.kernel):
            iy = met(&p.rows, False, line % p.out_h, ky)
            for kx in range(p.columns.kernel if iy >= 0 else 0):
                ix = met(&p.columns, False, ox, kx)
                if ix >= 0:
                    multiply_add(total, image + (iy * p.in_w + ix) * p.in_c,
                                 w + (ky * p.columns.kernel + kx) * p.out_c, p.out_c, p.outputs)
        activate(p.activation, total, p.out_c)
        total += p.out_c


cdef void depthwise_dx_row(const Plan *p, Py_ssize_t line, const floating *dz, const floating *w,
                           floating *dx) noexcept nogil:
    """One row of pixels of x. p is transposed: depth outputs a channel."""
    cdef Py_ssize_t x, ky, kx, oy, ox, c, m
    cdef const floating *image = dz + line // p.out_h * p.in_size
    cdef const floating *z
    cdef const floating *v
    cdef floating *total = dx + line * p.out_w * p.out_c
    for x in range(p.out_w):
        memset(total, 0, p.out_c * sizeof(floating))
        for ky in range(p.rows.kernel):
            oy = met(&p.rows, True, line % p.out_h, ky)
            for kx in range(p.columns.kernel if oy >= 0 else 0):
                ox = met(&p.columns, True, x, kx)
                if ox < 0:
                    continue
                z = image + (oy * p.in_w + ox) * p.in_c
                v = w + (ky * p.columns.kernel + kx) * p.in_c
                if p.depth == 1:
                    multiply_add(total, z, v, p.in_c, 1)
                    continue
                for c in range(p.out_c):
                    for m in range(c * p.depth, (c + 1) * p.depth):
                        total[c] += z[m] * v[m]
        total += p.out_c


cdef void depthwise_dw_tap(const Plan *p, Py_ssize_t tap, const floating *x, const floating *dz,
                           floating *dw) noexcept nogil:
    """dw of one tap, over all windows."""
    cdef Py_ssize_t line, iy, ix, ox
    cdef floating *total = dw + tap * p.out_c
    memset(total, 0, p.out_c * sizeof(floating))
    for line in range(p.n * p.out_h):
        iy = met(&p.rows, False, line % p.out_h, tap // p.columns.kernel)
        for ox in range(p.out_w if iy >= 0 else 0):
            ix = met(&p.columns, False, ox, tap % p.columns.kernel)
            if ix >= 0:
                multiply_add(total, x + line // p.out_h * p.in_size + (iy * p.in_w + ix) * p.in_c,
                             dz + (line * p.out_w + ox) * p.out_c, p.out_c, p.outputs)


def conv2d(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
           const floating[::1] b, object geometry, int activation,
           floating[:, :, :, ::1] y):
    """y = f(windows of x · w + b)."""
    cdef Plan p
    if x.shape[0] == 0:
        return
    p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    p.activation = <Activation> activation
    cdef const floating *bias = NULL if b is None else &b[0]
    if p.depth > 1 or p.groups == 1:
        windows_product(&p, &x[0, 0, 0, 0], &w[0, 0, 0, 0], bias, &y[0, 0, 0, 0])
        return
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * y.size * p.taps)
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        depthwise_row(&p, line, &x[0, 0, 0, 0], &w[0, 0, 0, 0], bias, &y[0, 0, 0, 0])


def conv2d_dx(const floating[:, :, :, ::1] dz, const floating[:, :, :, ::1] w, object geometry,
              floating[:, :, :, ::1] dx):
    """dx = windows of dz · wT: those that meet a pixel of x."""
    cdef Plan p
    if dz.shape[0] == 0:
        return
    p = plan_of(geometry, dz.shape[0], True, sizeof(floating))
    if p.outputs > 1 or p.groups == 1:
        windows_product(&p, &dz[0, 0, 0, 0], &w[0, 0, 0, 0], <const floating *> NULL,
                        &dx[0, 0, 0, 0])
        return
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * dz.size * p.taps)
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        depthwise_dx_row(&p, line, &dz[0, 0, 0, 0], &w[0, 0, 0, 0], &dx[0, 0, 0, 0])


def conv2d_dw(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dz, object geometry,
              floating[:, :, :, ::1] dw):
    """dw = windows of x, transposed, · dz."""
    cdef Plan p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    cdef Py_ssize_t size = dw.size
    if x.shape[0] == 0:
        dw[:, :, :, :] = 0
        return
    cdef Py_ssize_t t
    cdef int threads = threads_for(0.3 * dz.size * p.taps)
    if p.depth == 1 and p.groups > 1:
        for t in prange(p.taps, num_threads=threads, nogil=True):
            depthwise_dw_tap(&p, t, &x[0, 0, 0, 0], &dz[0, 0, 0, 0], &dw[0, 0, 0, 0])
        return
    cdef Py_ssize_t rows = DW_BYTES // (p.width * <Py_ssize_t> sizeof(floating))
    p.depth_piece = even_piece(p.depth, rows)
    p.taps_piece = even_piece(p.taps, max(<Py_ssize_t> 1, rows // p.depth_piece))
    cdef Py_ssize_t tasks = (((p.taps + p.taps_piece - 1) // p.taps_piece)
                             * ((p.depth + p.depth_piece - 1) // p.depth_piece)
                             * p.n_strips * p.groups)
    cdef Py_ssize_t parts = min(p.n * p.out_h, max(<Py_ssize_t> 1, DW_TASKS // tasks))
    threads = threads_for(2.0 * p.n * p.out_h * p.out_w * size / 100)
    cdef Py_ssize_t i
    cdef run *runs = <run *> malloc(threads * (DW_STRIP // 16 + 2) * sizeof(run))
    cdef floating *partial = <floating *> malloc(((parts - 1) * size + 1) * sizeof(floating))
    cdef const floating *x_0 = &x[0, 0, 0, 0]
    cdef const floating *dz_0 = &dz[0, 0, 0, 0]
    cdef floating *dw_0 = &dw[0, 0, 0, 0]
    cdef float_mode mode
    if runs == NULL or partial == NULL:
        free(runs)
        free(partial)
        raise MemoryError("conv2d_dw: no memory for partial sums")
    for t in prange(tasks * parts, num_threads=threads, schedule="dynamic", nogil=True):
        mode = flush_denormals()
        dw_task(&p, t, parts, x_0, dz_0, dw_0, partial, runs + threadid() * (DW_STRIP // 16 + 2))
        set_float_mode(mode)
    with nogil:
        for t in range(parts - 1):
            for i in range(size):
                dw_0[i] += partial[t * size + i]
    free(runs)
    free(partial)


def im2col(const floating[:, :, :, ::1] x, object geometry, floating[:, ::1] columns):
    """A row per window, a window's taps one after another."""
    cdef Plan p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * columns.size)
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        im2col_row(&p, line, &x[0, 0, 0, 0], &columns[0, 0])


cdef void im2col_row(const Plan *p, Py_ssize_t line, const floating *x,
                     floating *columns) noexcept nogil:
    cdef Py_ssize_t ox, ky, kx, iy, ix, bytes_ = p.in_c * sizeof(floating)
    cdef const floating *image = x + line // p.out_h * p.in_size
    cdef floating *to = columns + line * p.out_w * p.taps * p.in_c
    for ox in range(p.out_w):
        for ky in range(p.rows.kernel):
            iy = met(&p.rows, False, line % p.out_h, ky)
            for kx in range(p.columns.kernel):
                ix = met(&p.columns, False, ox, kx)
                if iy >= 0 and ix >= 0:
                    memcpy(to, image + (iy * p.in_w + ix) * p.in_c, bytes_)
                else:
                    memset(to, 0, bytes_)
                to += p.in_c


def col2im(const floating[:, ::1] columns, object geometry, floating[:, :, :, ::1] x):
    """Each pixel gathers what its windows hold of it."""
    cdef Plan p = plan_of(geometry, x.shape[0], True, sizeof(floating))
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * columns.size)
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        col2im_row(&p, line, &columns[0, 0], &x[0, 0, 0, 0])


cdef void col2im_row(const Plan *p, Py_ssize_t line, const floating *columns,
                     floating *x) noexcept nogil:
    cdef Py_ssize_t ix, ky, kx, oy, ox, c
    cdef const floating *image = columns + (
        line // p.out_h * p.rows.out * p.columns.out * p.taps * p.out_c)
    cdef const floating *source
    cdef floating *total = x + line * p.out_w * p.out_c
    for ix in range(p.out_w):
        memset(total, 0, p.out_c * sizeof(floating))
        for ky in range(p.rows.kernel):
            oy = met(&p.rows, True, line % p.out_h, ky)
            for kx in range(p.columns.kernel if oy >= 0 else 0):
                ox = met(&p.columns, True, ix, kx)
                if ox < 0:
                    continue
                source = image + ((oy * p.columns.out + ox) * p.taps
                                  + ky * p.columns.kernel + kx) * p.out_c
                for c in range(p.out_c):
                    total[c] += source[c]
        total += p.out_c
