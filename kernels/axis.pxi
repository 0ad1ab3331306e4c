# Included by the kernels whose windows slide over images.
cdef struct Axis:  # see fastnn.geometry.Axis
    Py_ssize_t size, kernel, stride, dilation, before, out


cdef inline Axis axis_of(object axis) except *:
    return Axis(axis.size, axis.kernel, axis.stride, axis.dilation, axis.before, axis.out)
