"""Activations, forward and backward: one scalar rule each, one parallel loop around it.

Elementwise ones take 1-D arrays of one size, PReLU and softmax rows. The loops are plain; the
compiler turns them into vector code because the rules (elementary.h) have neither calls nor
branches.
"""
include "elementary.pxi"
include "parallel.pxi"
include "softmax.pxi"

cdef enum Rule:
    RELU, SIGMOID, TANH, LEAKY_RELU, ELU, SWISH, GELU, GELU_TANH, SOFTPLUS, HEAVISIDE

cdef double SELU_SCALE = 1.0507009873554805, SELU_SCALED_ALPHA = 1.7580993408473766


cdef inline void forward_chunk(Rule rule, const floating *x, floating a, floating b, floating *y,
                               Py_ssize_t n) noexcept nogil:
    """a, b: the slope of leaky ReLU; ELU's scale, and its scale times alpha."""
    cdef Py_ssize_t i
    if rule == RELU:
        for i in range(n):
            y[i] = relu_f32(x[i]) if floating is float else relu_f64(x[i])
    elif rule == SIGMOID:
        for i in range(n):
            y[i] = sigmoid_f32(x[i]) if floating is float else sigmoid_f64(x[i])
    elif rule == TANH:
        for i in range(n):
            y[i] = tanh_f32(x[i]) if floating is float else tanh_f64(x[i])
    elif rule == LEAKY_RELU:
        for i in range(n):
            y[i] = x[i] * (<floating> 1 if x[i] > 0 else a)
    elif rule == ELU:
        for i in range(n):
            y[i] = elu_f32(x[i], a, b) if floating is float else elu_f64(x[i], a, b)
    elif rule == SWISH:
        for i in range(n):
            y[i] = swish_f32(x[i]) if floating is float else swish_f64(x[i])
    elif rule == GELU:
        for i in range(n):
            y[i] = gelu_f32(x[i]) if floating is float else gelu_f64(x[i])
    elif rule == GELU_TANH:
        for i in range(n):
            y[i] = gelu_tanh_f32(x[i]) if floating is float else gelu_tanh_f64(x[i])
    elif rule == SOFTPLUS:
        for i in range(n):
            y[i] = softplus_f32(x[i]) if floating is float else softplus_f64(x[i])
    else:
        for i in range(n):
            y[i] = heaviside_f32(x[i]) if floating is float else heaviside_f64(x[i])


cdef inline void backward_chunk(Rule rule, const floating *dy, const floating *kept, floating a,
                                floating b, floating *dx, Py_ssize_t n) noexcept nogil:
    """kept: the output, or the input of swish and GELU."""
    cdef Py_ssize_t i
    cdef floating gradient
    if rule == RELU:
        for i in range(n):
            gradient = dy[i]  # read before the choice, so that the compiler sees no branch
            dx[i] = gradient if kept[i] > 0 else <floating> 0
    elif rule == SIGMOID:
        for i in range(n):
            dx[i] = dy[i] * (kept[i] * (<floating> 1 - kept[i]))
    elif rule == TANH:
        for i in range(n):
            dx[i] = dy[i] * (<floating> 1 - kept[i] * kept[i])
    elif rule == LEAKY_RELU:
        for i in range(n):
            dx[i] = dy[i] * (<floating> 1 if kept[i] > 0 else a)
    elif rule == ELU:
        for i in range(n):
            gradient = kept[i] + b
            dx[i] = dy[i] * (a if kept[i] > 0 else gradient)
    elif rule == SWISH:
        for i in range(n):
            dx[i] = dy[i] * (swish_slope_f32(kept[i]) if floating is float
                             else swish_slope_f64(kept[i]))
    elif rule == GELU:
        for i in range(n):
            dx[i] = dy[i] * (gelu_slope_f32(kept[i]) if floating is float
                             else gelu_slope_f64(kept[i]))
    elif rule == GELU_TANH:
        for i in range(n):
            dx[i] = dy[i] * (gelu_tanh_slope_f32(kept[i]) if floating is float
                             else gelu_tanh_slope_f64(kept[i]))
    else:
        for i in range(n):
            dx[i] = dy[i] * (softplus_slope_f32(kept[i]) if floating is float
                             else softplus_slope_f64(kept[i]))


cdef void forward(Rule rule, const floating[::1] x, floating[::1] y, double cost, double a=0,
                  double b=0):
    """cost: nanoseconds an element takes on one core, about."""
    cdef Py_ssize_t c, n = x.shape[0]
    cdef float_mode mode
    if n == 0:
        return
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(cost * n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        forward_chunk(rule, &x[c * CHUNK], <floating> a, <floating> b, &y[c * CHUNK],
                      min(CHUNK, n - c * CHUNK))
        set_float_mode(mode)


cdef void backward(Rule rule, const floating[::1] dy, const floating[::1] kept, floating[::1] dx,
                   double cost, double a=0, double b=0):
    cdef Py_ssize_t c, n = dy.shape[0]
    cdef float_mode mode
    if n == 0:
        return
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(cost * n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        backward_chunk(rule, &dy[c * CHUNK], &kept[c * CHUNK], <floating> a, <floating> b,
                       &dx[c * CHUNK], min(CHUNK, n - c * CHUNK))
        set_float_mode(mode)


def relu(const floating[::1] x, floating[::1] y):
    forward(RELU, x, y, 0.2)


def relu_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(RELU, dy, y, dx, 0.3)


def sigmoid(const floating[::1] x, floating[::1] y):
    forward(SIGMOID, x, y, 1)


def sigmoid_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(SIGMOID, dy, y, dx, 0.3)


def tanh(const floating[::1] x, floating[::1] y):
    forward(TANH, x, y, 1)


def tanh_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(TANH, dy, y, dx, 0.3)


def leaky_relu(const floating[::1] x, double slope, floating[::1] y):
    forward(LEAKY_RELU, x, y, 0.2, slope)


def leaky_relu_backward(const floating[::1] dy, const floating[::1] y, double slope,
                        floating[::1] dx):
    backward(LEAKY_RELU, dy, y, dx, 0.3, slope)


def elu(const floating[::1] x, double alpha, floating[::1] y):
    forward(ELU, x, y, 1, 1, alpha)


def elu_backward(const floating[::1] dy, const floating[::1] y, double alpha, floating[::1] dx):
    backward(ELU, dy, y, dx, 0.3, 1, alpha)


def selu(const floating[::1] x, floating[::1] y):
    forward(ELU, x, y, 1, SELU_SCALE, SELU_SCALED_ALPHA)


def selu_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(ELU, dy, y, dx, 0.3, SELU_SCALE, SELU_SCALED_ALPHA)


def swish(const floating[::1] x, floating[::1] y):
    forward(SWISH, x, y, 1)


def swish_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx):
    backward(SWISH, dy, x, dx, 1)


def gelu(const floating[::1] x, floating[::1] y):
    forward(GELU, x, y, 1)


def gelu_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx):
    backward(GELU, dy, x, dx, 1)


def gelu_tanh(const floating[::1] x, floating[::1] y):
    forward(GELU_TANH, x, y, 1)


def gelu_tanh_backward(const floating[::1] dy, const floating[::1] x, floating[::1] dx):
    backward(GELU_TANH, dy, x, dx, 1)


def softplus(const floating[::1] x, floating[::1] y):
    forward(SOFTPLUS, x, y, 1)


def softplus_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(SOFTPLUS, dy, y, dx, 1)


def heaviside(const floating[::1] x, floating[::1] y):
    forward(HEAVISIDE, x, y, 0.2)


cdef inline Py_ssize_t rows_at_a_time(Py_ssize_t columns) noexcept nogil:
    return max(<Py_ssize_t> 1, CHUNK // columns)


cdef inline void prelu_rows(const floating *x, const floating *slope, floating *y,
                            Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t _i, j
    cdef float_mode mode = flush_denormals()
    for _i in range(rows):
        for j in range(columns):
            y[j] = x[j] * (<floating> 1 if x[j] > 0 else slope[j])
        x += columns
        y += columns
    set_float_mode(mode)


cdef inline void prelu_backward_rows(const floating *dy, const floating *x, const floating *slope,
                                     floating *dx, floating *terms, Py_ssize_t rows,
                                     Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t _i, j
    cdef float_mode mode = flush_denormals()
    for _i in range(rows):
        for j in range(columns):
            terms[j] = dy[j] * (<floating> 0 if x[j] > 0 else x[j])
            dx[j] = dy[j] * (<floating> 1 if x[j] > 0 else slope[j])
        dy += columns
        x += columns
        dx += columns
        terms += columns
    set_float_mode(mode)


def prelu(const floating[:, ::1] x, const floating[::1] slope, floating[:, ::1] y):
    cdef Py_ssize_t b, r, n = x.shape[0], columns = x.shape[1], step = rows_at_a_time(columns)
    for b in prange((n + step - 1) // step, num_threads=threads_for(0.2 * n * columns),
                    nogil=True, schedule="static"):
        r = b * step
        prelu_rows(&x[r, 0], &slope[0], &y[r, 0], min(step, n - r), columns)


def prelu_backward(const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] slope,
                   floating[:, ::1] dx, floating[:, ::1] terms):
    cdef Py_ssize_t b, r, n = x.shape[0], columns = x.shape[1], step = rows_at_a_time(columns)
    for b in prange((n + step - 1) // step, num_threads=threads_for(0.4 * n * columns),
                    nogil=True, schedule="static"):
        r = b * step
        prelu_backward_rows(&dy[r, 0], &x[r, 0], &slope[0], &dx[r, 0], &terms[r, 0],
                            min(step, n - r), columns)


cdef inline double dot(const floating *a, const floating *b, Py_ssize_t n) noexcept nogil:
    """Sum of a b, in double, in lanes as in ``total``."""
    cdef double[LANES] lanes
    cdef double result = 0
    cdef Py_ssize_t i = 0, j
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] += <double> a[i + j] * b[i + j]
        i += LANES
    for j in range(n - i):
        lanes[j] += <double> a[i + j] * b[i + j]
    for j in range(LANES):
        result += lanes[j]
    return result


cdef inline void softmax_rows(const floating *x, floating *y, Py_ssize_t rows,
                              Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t i
    cdef double top
    cdef float_mode mode = flush_denormals()
    for i in range(rows):
        softmax_row(x + i * columns, y + i * columns, columns, &top)
    set_float_mode(mode)


cdef inline void softmax_backward_rows(const floating *dy, const floating *y, floating *dx,
                                       Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t _i, j
    cdef floating mean
    cdef float_mode mode = flush_denormals()
    for _i in range(rows):
        mean = <floating> dot(dy, y, columns)
        for j in range(columns):
            dx[j] = y[j] * (dy[j] - mean)
        dy += columns
        y += columns
        dx += columns
    set_float_mode(mode)


def softmax(const floating[:, ::1] x, floating[:, ::1] y):
    cdef Py_ssize_t b, r, n = x.shape[0], columns = x.shape[1], step = rows_at_a_time(columns)
    for b in prange((n + step - 1) // step, num_threads=threads_for(1.0 * n * columns),
                    nogil=True, schedule="static"):
        r = b * step
        softmax_rows(&x[r, 0], &y[r, 0], min(step, n - r), columns)


def softmax_backward(const floating[:, ::1] dy, const floating[:, ::1] y, floating[:, ::1] dx):
    cdef Py_ssize_t b, r, n = dy.shape[0], columns = dy.shape[1], step = rows_at_a_time(columns)
    for b in prange((n + step - 1) // step, num_threads=threads_for(0.7 * n * columns),
                    nogil=True, schedule="static"):
        r = b * step
        softmax_backward_rows(&dy[r, 0], &y[r, 0], &dx[r, 0], min(step, n - r), columns)
