# Included by the kernels that apply an activation to what they have just made.
cdef enum Activation:  # the codes of fastnn.ops.FUSED_ACTIVATIONS
    IDENTITY = 0
    RELU = 1
    SIGMOID = 2
    TANH = 3


cdef inline void activate(Activation activation, floating *y, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if activation == RELU:
        for i in range(n):
            y[i] = relu_f32(y[i]) if floating is float else relu_f64(y[i])
    elif activation == SIGMOID:
        for i in range(n):
            y[i] = sigmoid_f32(y[i]) if floating is float else sigmoid_f64(y[i])
    elif activation == TANH:
        for i in range(n):
            y[i] = tanh_f32(y[i]) if floating is float else tanh_f64(y[i])
