"""Convolution without its matrix: implicit im2col on the register tile.

The textbook copies every window of x into a row of a matrix (im2col) and multiplies. Here that
matrix is never made: a row of it is read where it lies, as a few runs of x, one per row of the
window or one per tap. Neighbouring windows differ only in where they begin, so a tile of C
takes one pointer a row and one list of runs for all its rows. Taps in the padding are left out
of the list: windows with the same taps in the image form a block, and the rows of a tile come
from one block, of whichever images.

    forward   y  = f(windows of x · w + b)     rows: pixels of y        sum: taps, C
    dx        dx = windows of dz · wT          rows: pixels of x        sum: taps, O
    dw        dw = (windows of x)T · dz        rows: taps, C            sum: pixels of y

Why it is fast: w (or dz, for dw) is packed a strip of one tile's width at a time, at most 256 KB,
and read from the L2 cache by all tiles of a task. x is read in place, each float broadcast to 64
outputs, and no padding is multiplied but in dw of few channels. Every element of C is one chain of
fused multiply-adds in a fixed order, so the bits don't depend on the threads.

N batch, H W image, C channels in, O out, G groups, KH KW window. "windows of dz" are those that
meet a pixel of x: the same product on another grid, called transposed below.
"""
from cython.parallel cimport threadid
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

include "elementary.pxi"
include "parallel.pxi"
include "axis.pxi"
include "fused.pxi"

cdef extern from "tile.h" nogil:
    enum: ACCUMULATORS, MAX_ROWS, MAX_WIDTH, VECS, VECTOR_BYTES
    Py_ssize_t even_piece(Py_ssize_t size, Py_ssize_t limit)
    Py_ssize_t strip_width(Py_ssize_t cols, Py_ssize_t itemsize)
    char *packed_a()
    char *packed_b()
    ctypedef struct run:
        Py_ssize_t a, b, k
    void pack_f32(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                  const float *source, Py_ssize_t row, float *to)
    void pack_f64(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                  const double *source, Py_ssize_t row, double *to)
    void pack_transposed_f32(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                             const float *source, Py_ssize_t row, float *to)
    void pack_transposed_f64(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                             const double *source, Py_ssize_t row, double *to)
    void add_runs_f32(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t n_runs,
                      const run *runs, const float *const *a, Py_ssize_t a_col, const float *b,
                      const float *init, float *const *c, bint relu)
    void add_runs_f64(Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t n_runs,
                      const run *runs, const double *const *a, Py_ssize_t a_col, const double *b,
                      const double *init, double *const *c, bint relu)

cdef extern from "reduce.h" nogil:
    ctypedef struct windows:
        Py_ssize_t count, n, step, to_step, taps
    void weighted_sum_f32(const windows *p, const float *const *x, const float *const *weights,
                          const float *init, float *to)
    void weighted_sum_f64(const windows *p, const double *const *x, const double *const *weights,
                          const double *init, double *to)

cdef enum:
    STRIP = 256 * 1024     # bytes of packed w
    DZ_STRIP = 128 * 1024  # bytes of packed dz
    DW_BYTES = 128 * 1024  # bytes of dw that a task sums up, in L2 beside the strip
    PIXELS = 512           # of a task, about, with 64 channels: packing w is a small part of it
    PANEL = 256 * 1024     # bytes of copied rows of x
    APART = 256            # bytes of a pixel's groups for one thread: few shared cache lines
    DW_TASKS = 8           # fewer tasks than this, and the sum over pixels is cut into parts


cdef struct Plan:
    # C = A B over one group; the images of A have size in_h in_w in_c, those of C out_*.
    Axis rows, columns
    bint transposed
    Py_ssize_t n, groups, taps
    Py_ssize_t in_w, in_c, in_size, out_h, out_w, out_c
    Py_ssize_t depth, outputs              # channels of A and of C in a group
    Py_ssize_t width, n_strips             # of a strip; strips of a group
    Py_ssize_t taps_piece, depth_piece     # the part of w, or rows of dw, in a strip
    Py_ssize_t images, out_rows            # of a task (dw: rows of y in a strip of dz)
    Py_ssize_t taps_a_tile                 # dw only: 1, KW or all
    Py_ssize_t n_down, n_across
    Line *down
    Line *across
    Activation activation


cdef struct Strip:
    # Columns of C that one tile covers.
    Py_ssize_t group, first, cols, vecs, width


cdef Plan plan_of(object geometry, Py_ssize_t n, bint transposed, Py_ssize_t itemsize) except *:
    cdef Plan p
    cdef Py_ssize_t lanes = VECTOR_BYTES // itemsize
    memset(&p, 0, sizeof(Plan))
    p.rows, p.columns = axis_of(geometry.rows), axis_of(geometry.columns)
    p.n, p.groups, p.transposed = n, geometry.groups, transposed
    p.taps = p.rows.kernel * p.columns.kernel
    in_shape, out_shape = geometry.in_shape, geometry.out_shape
    if transposed:
        in_shape, out_shape = out_shape, in_shape
    p.in_w, p.in_c = in_shape[1:]
    p.in_size = in_shape[0] * p.in_w * p.in_c
    p.out_h, p.out_w, p.out_c = out_shape
    p.depth, p.outputs = p.in_c // p.groups, p.out_c // p.groups
    p.width = lanes * even_piece((p.outputs + lanes - 1) // lanes, VECS)
    p.n_strips = pieces(p.outputs, p.width)
    return p


cdef inline Py_ssize_t pieces(Py_ssize_t size, Py_ssize_t piece) noexcept nogil:
    return (size + piece - 1) // piece


cdef inline Strip strip_of(const Plan *p, Py_ssize_t i, Py_ssize_t itemsize) noexcept nogil:
    cdef Strip s
    s.group, s.first = i // p.n_strips, i % p.n_strips * p.width
    s.cols = min(p.width, p.outputs - s.first)
    s.vecs = pieces(s.cols * itemsize, VECTOR_BYTES)
    s.width = strip_width(s.cols, itemsize)
    return s


cdef inline Py_ssize_t add_run(run *runs, Py_ssize_t n, Py_ssize_t a, Py_ssize_t b, Py_ssize_t k,
                               Py_ssize_t a_col) noexcept nogil:
    """Append a run, or make the last one longer if it goes on there; how many there are."""
    if n and runs[n - 1].b + runs[n - 1].k == b and runs[n - 1].a + runs[n - 1].k * a_col == a:
        runs[n - 1].k += k
        return n
    runs[n].a, runs[n].b, runs[n].k = a, b, k
    return n + 1


cdef inline void pack(bint transposed, Py_ssize_t rows, Py_ssize_t cols, Py_ssize_t width,
                      const floating *source, Py_ssize_t row, floating *to) noexcept nogil:
    if floating is float:
        if transposed:
            pack_transposed_f32(rows, cols, width, source, row, to)
        else:
            pack_f32(rows, cols, width, source, row, to)
    elif transposed:
        pack_transposed_f64(rows, cols, width, source, row, to)
    else:
        pack_f64(rows, cols, width, source, row, to)


cdef inline void add_runs(Py_ssize_t rows, const Strip *s, Py_ssize_t n_runs, const run *runs,
                          const floating **a, Py_ssize_t a_col, const floating *b,
                          const floating *init, floating **c, bint relu) noexcept nogil:
    if floating is float:
        add_runs_f32(rows, s.cols, n_runs, runs, a, a_col, b, init, c, relu)
    else:
        add_runs_f64(rows, s.cols, n_runs, runs, a, a_col, b, init, c, relu)


# --- forward and dx -------------------------------------------------------------------------

cdef inline void pack_w(const Plan *p, const Strip *s, const floating *w, Py_ssize_t tap,
                        Py_ssize_t tap_to, Py_ssize_t d, Py_ssize_t d_size,
                        floating *b) noexcept nogil:
    """A row per tap and channel of A, for the columns of the strip."""
    cdef const floating *source
    for tap in range(tap, tap_to):
        if not p.transposed:
            source = w + (tap * p.depth + d) * p.out_c + s.group * p.outputs + s.first
            pack(False, d_size, s.cols, s.width, source, p.out_c, b)
        else:
            source = w + (tap * p.outputs + s.first) * p.in_c + s.group * p.depth + d
            pack(True, s.cols, d_size, s.width, source, p.in_c, b)
        b += d_size * s.width


cdef inline void block(const Plan *p, const Strip *s, const Line *down, Py_ssize_t from_,
                       Py_ssize_t to, const Line *across, Py_ssize_t images, const floating *a,
                       Py_ssize_t n_runs, const run *runs, const floating *b,
                       const floating *init, floating *c, bint relu) noexcept nogil:
    """The windows of one block in tiles, for the positions from_ … to down the images."""
    cdef const floating *a_rows[MAX_ROWS]
    cdef floating *c_rows[MAX_ROWS]
    cdef const floating *a_row = NULL
    cdef floating *c_row = NULL
    cdef Py_ssize_t total = images * (to - from_) * across.count, done = 0, x = 0, rows = 0, y
    cdef Py_ssize_t limit = even_piece(total, min(ACCUMULATORS // s.vecs, MAX_ROWS))
    while done < total:
        if x == 0:
            y = from_ + done // across.count % (to - from_)
            a_row = a + done // (across.count * (to - from_)) * p.in_size + p.in_c * (
                (down.source + y * down.source_step) * p.in_w + across.source)
            c_row = c + p.out_c * (across.first + p.out_w * (
                done // (across.count * (to - from_)) * p.out_h + down.first + y * down.step))
        a_rows[rows], c_rows[rows] = a_row, c_row
        a_row += across.source_step * p.in_c
        c_row += across.step * p.out_c
        rows, done, x = rows + 1, done + 1, x + 1
        if x == across.count:
            x = 0
        if rows == limit or done == total:
            add_runs(rows, s, n_runs, runs, a_rows, 1, b, init, c_rows, relu)
            rows = 0


cdef inline void piece_of_windows(const Plan *p, const Strip *s, Py_ssize_t top,
                                  Py_ssize_t bottom, Py_ssize_t images, const floating *a,
                                  Py_ssize_t tap_from, Py_ssize_t tap_to, Py_ssize_t d_size,
                                  run *runs, const floating *b, const floating *init, floating *c,
                                  bint last) noexcept nogil:
    """Add one packed piece of w to rows top … bottom of the images."""
    cdef Py_ssize_t u, v, ty, tx, tap, n_runs, from_, to
    cdef const Line *down
    cdef const Line *across
    for u in range(p.n_down):
        down = p.down + u
        if bottom <= down.first:
            continue
        from_ = pieces(top - down.first, down.step) if top > down.first else 0
        to = min(down.count, pieces(bottom - down.first, down.step))
        for v in range(p.n_across if from_ < to else 0):
            across = p.across + v
            n_runs = 0
            for ty in range(down.taps):
                for tx in range(across.taps):
                    tap = ((down.tap + ty * down.tap_step) * p.columns.kernel
                           + across.tap + tx * across.tap_step)
                    if tap_from <= tap < tap_to:
                        n_runs = add_run(
                            runs, n_runs,
                            (ty * down.source_tap * p.in_w + tx * across.source_tap) * p.in_c,
                            (tap - tap_from) * d_size, d_size, 1)
            if n_runs or init != NULL or (last and p.activation == RELU):
                block(p, s, down, from_, to, across, images, a, n_runs, runs, b, init, c,
                      last and p.activation == RELU)


cdef void windows_task(const Plan *p, Py_ssize_t task, const floating *a, const floating *w,
                       const floating *bias, floating *c, run *runs) noexcept nogil:
    """One strip of C for some rows of some images."""
    cdef Py_ssize_t strips = p.n_strips * p.groups, bands = pieces(p.out_h, p.out_rows)
    cdef Strip s = strip_of(p, task % strips, sizeof(floating))
    cdef Py_ssize_t top = task // strips % bands * p.out_rows
    cdef Py_ssize_t bottom = min(p.out_h, top + p.out_rows)
    cdef Py_ssize_t image = task // (strips * bands) * p.images
    cdef Py_ssize_t images = min(p.images, p.n - image)
    cdef Py_ssize_t tap = 0, d, i, tap_to, d_size
    cdef floating *b = <floating *> packed_b()
    cdef floating start[MAX_WIDTH]
    for i in range(s.width):
        start[i] = bias[s.group * p.outputs + s.first + i] if bias != NULL and i < s.cols else 0
    a += image * p.in_size + s.group * p.depth
    c += image * p.out_h * p.out_w * p.out_c + s.group * p.outputs + s.first
    while tap < p.taps:
        tap_to = min(tap + p.taps_piece, p.taps)
        d = 0
        while d < p.depth:
            d_size = min(p.depth_piece, p.depth - d)
            pack_w(p, &s, w, tap, tap_to, d, d_size, b)
            piece_of_windows(p, &s, top, bottom, images, a + d, tap, tap_to, d_size, runs, b,
                             &start[0] if tap == 0 and d == 0 else NULL, c,
                             tap_to == p.taps and d + d_size == p.depth)
            d += d_size
        tap = tap_to
    if p.activation > RELU:  # these call exp: long lines, if all of C's columns are here
        for i in range(images):
            activate_rows(p, &s, (bottom - top) * p.out_w,
                          c + (i * p.out_h + top) * p.out_w * p.out_c)


cdef inline void activate_rows(const Plan *p, const Strip *s, Py_ssize_t pixels,
                               floating *c) noexcept nogil:
    cdef Py_ssize_t i
    if s.cols == p.out_c:
        activate(p.activation, c, pixels * s.cols)
        return
    for i in range(pixels):
        activate(p.activation, c + i * p.out_c, s.cols)


cdef int windows_product(Plan *p, const floating *a, const floating *w, const floating *bias,
                         floating *c) except -1:
    cdef Py_ssize_t rows = STRIP // (p.width * <Py_ssize_t> sizeof(floating))
    cdef double multiply_adds = <double> p.n * p.out_h * p.out_w * p.outputs * p.in_c * p.taps
    cdef int threads = threads_for(multiply_adds / 50)
    p.depth_piece = even_piece(p.depth, rows)
    p.taps_piece = even_piece(p.taps, max(<Py_ssize_t> 1, rows // p.depth_piece))
    cdef Py_ssize_t pixels = PIXELS * max(<Py_ssize_t> 1, 64 // max(p.depth, p.width))
    # Whole images if there are tasks enough, else rows of one.
    p.images = min(p.n, p.n * p.n_strips * p.groups // (4 * threads))
    p.images = max(<Py_ssize_t> 1, min(p.images, pieces(pixels, p.out_h * p.out_w)))
    p.out_rows = p.out_h
    if p.images == 1:
        p.out_rows = even_piece(p.out_h, max(<Py_ssize_t> 1, pixels // p.out_w))
    cdef bint depthwise = is_depthwise(p)
    cdef Py_ssize_t together = 1    # tasks of one thread
    if p.groups > 1 and not depthwise:
        together = pieces(APART, p.outputs * sizeof(floating))
    cdef Py_ssize_t tasks = p.n * p.out_h if depthwise else (
        pieces(p.n, p.images) * pieces(p.out_h, p.out_rows) * p.n_strips * p.groups)
    # A line of an axis ends where a tap enters or leaves the image.
    cdef Py_ssize_t lines_down = min(p.out_h, p.rows.stride * (2 * p.rows.kernel + 1))
    cdef Py_ssize_t lines_across = min(p.out_w, p.columns.stride * (2 * p.columns.kernel + 1))
    cdef Line *lines = <Line *> malloc((lines_down + lines_across) * sizeof(Line))
    cdef Py_ssize_t slot = p.taps * max(sizeof(run), 2 * sizeof(void *)), t
    cdef char *scratch = <char *> malloc(threads * slot)
    cdef floating *zeros = <floating *> calloc(p.out_c, sizeof(floating))
    cdef float_mode mode
    if lines == NULL or scratch == NULL or zeros == NULL:
        free(lines)
        free(scratch)
        free(zeros)
        raise MemoryError("conv2d: no memory for the lists of runs")
    p.down, p.across = lines, lines + lines_down
    p.n_down = find_lines(&p.rows, p.transposed, p.down)
    p.n_across = find_lines(&p.columns, p.transposed, p.across)
    for t in prange(tasks, num_threads=threads, schedule="dynamic", chunksize=together,
                    nogil=True):
        mode = flush_denormals()
        if depthwise:
            depthwise_row(p, t, a, w, bias if bias != NULL else zeros, c,
                          <const floating **> (scratch + threadid() * slot))
        else:
            windows_task(p, t, a, w, bias, c, <run *> (scratch + threadid() * slot))
        set_float_mode(mode)
    free(lines)
    free(scratch)
    free(zeros)
    return 0


def conv2d(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
           const floating[::1] b, object geometry, int activation, floating[:, :, :, ::1] y):
    """y = f(windows of x · w + b)."""
    cdef Plan p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    cdef const floating *bias = NULL if b is None else &b[0]
    p.activation = <Activation> activation
    if p.n == 0:
        return
    windows_product(&p, &x[0, 0, 0, 0], &w[0, 0, 0, 0], bias, &y[0, 0, 0, 0])


def conv2d_dx(const floating[:, :, :, ::1] dz, const floating[:, :, :, ::1] w, object geometry,
              floating[:, :, :, ::1] dx):
    """dx = windows of dz · wT."""
    cdef Plan p = plan_of(geometry, dz.shape[0], True, sizeof(floating))
    if p.n == 0:
        return
    windows_product(&p, &dz[0, 0, 0, 0], &w[0, 0, 0, 0], <const floating *> NULL,
                    &dx[0, 0, 0, 0])


# --- dw -------------------------------------------------------------------------------------

cdef inline Py_ssize_t runs_of_tap(const Plan *p, Py_ssize_t tap, Py_ssize_t line,
                                   Py_ssize_t lines, Py_ssize_t x_from, Py_ssize_t x_size,
                                   run *runs) noexcept nogil:
    """The pixels of x that one tap meets in a block of windows; line counts rows of all y."""
    cdef Py_ssize_t stride = p.columns.stride
    cdef Py_ssize_t to_left = p.columns.before - tap % p.columns.kernel * p.columns.dilation
    cdef Py_ssize_t first = max(x_from, pieces(to_left, stride))
    cdef Py_ssize_t last = min(x_from + x_size, pieces(p.columns.size + to_left, stride))
    cdef Py_ssize_t image = line // p.out_h * p.in_size, oy = line % p.out_h, i, y, n_runs = 0
    for i in range(lines if first < last else 0):
        y = met(&p.rows, False, oy, tap // p.columns.kernel)
        if y >= 0:
            n_runs = add_run(runs, n_runs,
                             image + (y * p.in_w + first * stride - to_left) * p.in_c,
                             i * x_size + first - x_from, last - first, stride * p.in_c)
        oy += 1
        if oy == p.out_h:
            oy, image = 0, image + p.in_size
    return n_runs


cdef inline Py_ssize_t row_size(const Plan *p, Py_ssize_t pixels) noexcept nogil:
    """Elements of a row of x under so many windows side by side."""
    return ((pixels - 1) * p.columns.stride + p.columns.kernel) * p.in_c


cdef inline void copy_rows(const Plan *p, const floating *x, Py_ssize_t line, Py_ssize_t lines,
                           Py_ssize_t x_from, Py_ssize_t x_size, floating *panel) noexcept nogil:
    """The rows of x under a block of windows, KH for each row of windows, with their padding."""
    cdef Py_ssize_t size = row_size(p, x_size), row = p.in_w * p.in_c, i, y
    cdef Py_ssize_t start = (x_from * p.columns.stride - p.columns.before) * p.in_c
    cdef Py_ssize_t first = max(<Py_ssize_t> 0, -start), last = min(size, row - start)
    for i in range(lines * p.rows.kernel):
        y = met(&p.rows, False, (line + i // p.rows.kernel) % p.out_h, i % p.rows.kernel)
        memset(panel, 0, size * sizeof(floating))
        if y >= 0 and first < last:
            memcpy(panel + first, x + (line + i // p.rows.kernel) // p.out_h * p.in_size + y * row
                   + start + first, (last - first) * sizeof(floating))
        panel += size


cdef void dw_task(const Plan *p, Py_ssize_t task, Py_ssize_t parts, const floating *x,
                  const floating *dz, floating *dw, floating *partial, run *runs) noexcept nogil:
    """One strip of dw for some taps and channels, summed over a part of the rows of y."""
    cdef Py_ssize_t tap_pieces = pieces(p.taps, p.taps_piece)
    cdef Py_ssize_t depth_pieces = pieces(p.depth, p.depth_piece)
    cdef Py_ssize_t part = task % parts, tap_from = task // parts % tap_pieces * p.taps_piece
    cdef Py_ssize_t d_from = task // (parts * tap_pieces) % depth_pieces * p.depth_piece
    cdef Py_ssize_t tap_to = min(p.taps, tap_from + p.taps_piece)
    cdef Py_ssize_t d_to = min(p.depth, d_from + p.depth_piece)
    cdef Strip s = strip_of(p, task // (parts * tap_pieces * depth_pieces), sizeof(floating))
    # A block: some rows of y, or a piece of one if it is very long.
    cdef Py_ssize_t all_lines = p.n * p.out_h, share = pieces(all_lines, parts)
    cdef Py_ssize_t line = part * share, line_to = min(all_lines, line + share)
    cdef Py_ssize_t x_piece = even_piece(p.out_w, dz_pixels(p, sizeof(floating)))
    cdef Py_ssize_t lines, x_from, x_size, tap, rows, row, window_row, step, ky, limit, i, n_runs
    cdef floating *b = <floating *> packed_b()
    cdef floating *panel = <floating *> packed_a()
    cdef const floating *source
    cdef const floating *a_rows[MAX_ROWS]
    cdef floating *c_rows[MAX_ROWS]
    cdef floating zeros[MAX_WIDTH]
    cdef const floating *init = &zeros[0]
    memset(zeros, 0, sizeof(zeros))
    if part:
        dw = partial + (part - 1) * p.taps * p.depth * p.out_c
    x += s.group * p.depth
    dw += s.group * p.outputs + s.first
    dz += s.group * p.outputs + s.first
    while line < line_to or init != NULL:
        lines = max(<Py_ssize_t> 0, min(p.out_rows, line_to - line))
        x_from = 0
        while x_from < p.out_w:
            x_size = min(x_piece, p.out_w - x_from)
            for i in range(lines):
                pack(False, x_size, s.cols, s.width,
                     dz + ((line + i) * p.out_w + x_from) * p.out_c, p.out_c,
                     b + i * x_size * s.width)
            if p.taps_a_tile > 1:
                copy_rows(p, x, line, lines, x_from, x_size, panel)
            tap = tap_from
            while tap < tap_to:
                rows, row = (d_to - d_from) * p.taps_a_tile, 0
                if p.taps_a_tile == 1:
                    source, window_row, step = x + d_from, rows, 0
                    n_runs = runs_of_tap(p, tap, line, lines, x_from, x_size, runs)
                else:
                    source, window_row, n_runs = panel, p.columns.kernel * p.depth, 0
                    step, ky = row_size(p, x_size), tap // p.columns.kernel
                    for i in range(lines):
                        if p.taps_a_tile == p.taps or met(
                                &p.rows, False, (line + i) % p.out_h, ky) >= 0:
                            n_runs = add_run(runs, n_runs, (i * p.rows.kernel + ky) * step,
                                             i * x_size, x_size, 0)
                limit = even_piece(rows, min(ACCUMULATORS // s.vecs, MAX_ROWS))
                while row < rows and (n_runs or init != NULL):
                    for i in range(min(limit, rows - row)):
                        a_rows[i] = source + ((row + i) // window_row * step
                                              + (row + i) % window_row)
                        c_rows[i] = dw + (tap * p.depth + d_from + row + i) * p.out_c
                    add_runs(min(limit, rows - row), &s, n_runs, runs, a_rows,
                             p.columns.stride * p.in_c, b, init, c_rows, False)
                    row += limit
                tap += p.taps_a_tile
            init = NULL
            x_from += x_size
        line += max(<Py_ssize_t> 1, lines)


cdef inline Py_ssize_t dz_pixels(const Plan *p, Py_ssize_t itemsize) noexcept nogil:
    """Pixels of dz in a strip."""
    return DZ_STRIP // (p.width * itemsize)


cdef void plan_dw(Plan *p, Py_ssize_t itemsize) noexcept nogil:
    """Few channels: then a tile takes a row of the window, or all of it if that leaves registers
    empty, from rows of x copied with their padding. Else a tap by itself."""
    cdef Py_ssize_t rows = DW_BYTES // (p.width * itemsize), pixels = dz_pixels(p, itemsize)
    cdef Py_ssize_t row_bytes = itemsize * p.rows.kernel * row_size(p, min(p.out_w, pixels))
    cdef Py_ssize_t window_row = p.columns.kernel * p.depth
    p.out_rows = max(<Py_ssize_t> 1, pixels // p.out_w)
    p.taps_a_tile = 1
    if p.depth < MAX_ROWS and p.groups == 1 and p.columns.dilation == 1 and (
            row_bytes <= PANEL and window_row <= rows):
        p.taps_a_tile = p.columns.kernel
        if 2 * window_row * p.width * itemsize <= ACCUMULATORS * VECTOR_BYTES:
            p.taps_a_tile = p.taps
        p.out_rows = min(p.out_rows, PANEL // row_bytes)
    p.depth_piece = even_piece(p.depth, rows)
    p.taps_piece = p.taps_a_tile * even_piece(
        p.taps // p.taps_a_tile, max(<Py_ssize_t> 1, rows // (p.depth_piece * p.taps_a_tile)))


def conv2d_dw(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dz, object geometry,
              floating[:, :, :, ::1] dw):
    """dw = (windows of x)T · dz. Where dw is small, several parts of the sum are made side by
    side and added in order; their number depends on the shape only."""
    cdef Plan p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    if p.n == 0:
        dw[:, :, :, :] = 0
        return
    plan_dw(&p, sizeof(floating))
    cdef bint depthwise = is_depthwise(&p)
    cdef Py_ssize_t size = p.taps * p.depth * p.out_c, t, i
    cdef Py_ssize_t tasks = 1 if depthwise else (
        pieces(p.taps, p.taps_piece) * pieces(p.depth, p.depth_piece) * p.n_strips * p.groups)
    cdef Py_ssize_t parts = min(p.n * p.out_h, max(<Py_ssize_t> 1, DW_TASKS // tasks))
    cdef int threads = threads_for(<double> p.n * p.out_h * p.out_w * size / 50)
    cdef Py_ssize_t slot = max(p.out_rows * sizeof(run), 2 * p.out_w * sizeof(void *))
    cdef char *scratch = <char *> malloc(threads * slot)
    cdef floating *partial = <floating *> malloc(((parts - 1) * size + 1) * sizeof(floating))
    cdef const floating *x_0 = &x[0, 0, 0, 0]
    cdef const floating *dz_0 = &dz[0, 0, 0, 0]
    cdef floating *dw_0 = &dw[0, 0, 0, 0]
    cdef float_mode mode
    if scratch == NULL or partial == NULL:
        free(scratch)
        free(partial)
        raise MemoryError("conv2d_dw: no memory for partial sums")
    for t in prange(tasks * parts, num_threads=threads, schedule="dynamic", nogil=True):
        mode = flush_denormals()
        if depthwise:
            depthwise_dw(&p, t, parts, x_0, dz_0, dw_0 if t == 0 else partial + (t - 1) * size,
                         <const floating **> (scratch + threadid() * slot))
        else:
            dw_task(&p, t, parts, x_0, dz_0, dw_0, partial,
                    <run *> (scratch + threadid() * slot))
        set_float_mode(mode)
    with nogil:
        mode = flush_denormals()
        for t in range(parts - 1):
            for i in range(size):
                dw_0[i] += partial[t * size + i]
        set_float_mode(mode)
    free(scratch)
    free(partial)


# --- depthwise: one channel in and out of a group -------------------------------------------
# A channel for itself is no product of matrices. Vectors run over the channels, which lie side
# by side, and the sums of a window stay in registers.

cdef inline bint is_depthwise(const Plan *p) noexcept nogil:
    return p.groups > 1 and p.depth == 1 and p.outputs == 1


cdef inline void weigh(const windows *p, const floating **x, const floating **weights,
                       const floating *init, floating *to) noexcept nogil:
    if floating is float:
        weighted_sum_f32(p, x, weights, init, to)
    else:
        weighted_sum_f64(p, x, weights, init, to)


cdef void depthwise_row(const Plan *p, Py_ssize_t row, const floating *a, const floating *w,
                        const floating *init, floating *c,
                        const floating **taps) noexcept nogil:
    """One row of the images of C: of y, or transposed of dx."""
    cdef windows v = windows(0, p.out_c, 0, 0, 0)
    cdef Py_ssize_t ky, y, i, j, tap
    cdef const Line *line
    a += row // p.out_h * p.in_size
    c += row * p.out_w * p.out_c
    for i in range(p.n_across):
        line = p.across + i
        v.count, v.taps = line.count, 0
        v.step, v.to_step = line.source_step * p.in_c, line.step * p.out_c
        for ky in range(p.rows.kernel):
            y = met(&p.rows, p.transposed, row % p.out_h, ky)
            for j in range(line.taps if y >= 0 else 0):
                tap = ky * p.columns.kernel + line.tap + j * line.tap_step
                taps[v.taps] = a + (y * p.in_w + line.source + j * line.source_tap) * p.in_c
                taps[p.taps + v.taps] = w + tap * p.out_c
                v.taps += 1
        weigh(&v, taps, taps + p.taps, init, c + line.first * p.out_c)
    activate(p.activation, c, p.out_w * p.out_c)


cdef void depthwise_dw(const Plan *p, Py_ssize_t part, Py_ssize_t parts, const floating *x,
                       const floating *dz, floating *dw,
                       const floating **pixels) noexcept nogil:
    """dw, summed over a part of the rows of y: a window's taps are here the pixels of a row."""
    cdef Py_ssize_t share = pieces(p.n * p.out_h, parts), row, tap, y, ox, at
    cdef windows v = windows(1, p.out_c, 0, 0, 0)
    memset(dw, 0, p.taps * p.out_c * sizeof(floating))
    for row in range(part * share, min(p.n * p.out_h, (part + 1) * share)):
        for tap in range(p.taps):
            y = met(&p.rows, False, row % p.out_h, tap // p.columns.kernel)
            v.taps = 0
            for ox in range(p.out_w if y >= 0 else 0):
                at = met(&p.columns, False, ox, tap % p.columns.kernel)
                if at >= 0:
                    pixels[v.taps] = x + row // p.out_h * p.in_size + (y * p.in_w + at) * p.in_c
                    pixels[p.out_w + v.taps] = dz + (row * p.out_w + ox) * p.out_c
                    v.taps += 1
            weigh(&v, pixels, pixels + p.out_w, dw + tap * p.out_c, dw + tap * p.out_c)


# --- the matrix itself ----------------------------------------------------------------------

cdef void im2col_row(const Plan *p, Py_ssize_t line, const floating *x,
                     floating *columns) noexcept nogil:
    """All windows of one row of y."""
    cdef Py_ssize_t ox, ky, kx, y, at
    x += line // p.out_h * p.in_size
    columns += line * p.out_w * p.taps * p.in_c
    for ox in range(p.out_w):
        for ky in range(p.rows.kernel):
            y = met(&p.rows, False, line % p.out_h, ky)
            for kx in range(p.columns.kernel):
                at = met(&p.columns, False, ox, kx)
                if y >= 0 and at >= 0:
                    memcpy(columns, x + (y * p.in_w + at) * p.in_c, p.in_c * sizeof(floating))
                else:
                    memset(columns, 0, p.in_c * sizeof(floating))
                columns += p.in_c


cdef void col2im_row(const Plan *p, Py_ssize_t line, const floating *columns,
                     floating *x) noexcept nogil:
    """One row of x: each pixel gathers what the windows that meet it hold."""
    cdef Py_ssize_t at, ky, kx, oy, ox, i
    cdef const floating *source
    columns += line // p.out_h * p.rows.out * p.columns.out * p.taps * p.out_c
    x += line * p.out_w * p.out_c
    for at in range(p.out_w):
        memset(x, 0, p.out_c * sizeof(floating))
        for ky in range(p.rows.kernel):
            oy = met(&p.rows, True, line % p.out_h, ky)
            for kx in range(p.columns.kernel if oy >= 0 else 0):
                ox = met(&p.columns, True, at, kx)
                if ox >= 0:
                    source = columns + p.out_c * (
                        (oy * p.columns.out + ox) * p.taps + ky * p.columns.kernel + kx)
                    for i in range(p.out_c):
                        x[i] += source[i]
        x += p.out_c


def im2col(const floating[:, :, :, ::1] x, object geometry, floating[:, ::1] columns):
    """A row per window, its taps one after another."""
    cdef Plan p = plan_of(geometry, x.shape[0], False, sizeof(floating))
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * columns.shape[0] * columns.shape[1])
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        im2col_row(&p, line, &x[0, 0, 0, 0], &columns[0, 0])


def col2im(const floating[:, ::1] columns, object geometry, floating[:, :, :, ::1] x):
    """x = Σ of what im2col would have taken from there."""
    cdef Plan p = plan_of(geometry, x.shape[0], True, sizeof(floating))
    cdef Py_ssize_t line
    cdef int threads = threads_for(0.3 * columns.shape[0] * columns.shape[1])
    cdef float_mode mode
    for line in prange(p.n * p.out_h, num_threads=threads, nogil=True):
        mode = flush_denormals()
        col2im_row(&p, line, &columns[0, 0], &x[0, 0, 0, 0])
        set_float_mode(mode)
