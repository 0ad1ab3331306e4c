# Included by the kernels whose windows slide over images.
from libc.string cimport memset

cdef struct Axis:  # see fastnn.geometry.Axis
    Py_ssize_t size, kernel, stride, dilation, before, out


cdef struct Line:
    # Positions along an axis whose windows have the same taps in the image.
    Py_ssize_t first, step, count          # positions
    Py_ssize_t source, source_step         # what the first tap meets: at first, and further on
    Py_ssize_t tap, tap_step, taps         # those in the image
    Py_ssize_t source_tap                  # from what a tap meets to what the next one does


cdef inline Axis axis_of(object axis) except *:
    return Axis(axis.size, axis.kernel, axis.stride, axis.dilation, axis.before, axis.out)


cdef inline Py_ssize_t met(const Axis *axis, bint transposed, Py_ssize_t position,
                           Py_ssize_t tap) noexcept nogil:
    """The element that a window's tap meets; transposed: the window whose tap meets an element.
    -1 if there is none."""
    cdef Py_ssize_t at
    if not transposed:
        at = position * axis.stride + tap * axis.dilation - axis.before
        return at if 0 <= at < axis.size else -1
    at = position + axis.before - tap * axis.dilation
    if at < 0 or at % axis.stride or at // axis.stride >= axis.out:
        return -1
    return at // axis.stride


cdef Py_ssize_t find_lines(const Axis *axis, bint transposed, Line *lines) noexcept nogil:
    """Cut the positions along an axis into lines; how many.

    Transposed, the taps that meet an element follow each other in steps, and repeat with the
    stride: so do the positions of a line.
    """
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
                if at >= 0:
                    if line.taps == 0:
                        line.tap, line.source = tap, at
                    elif line.taps == 1:
                        line.tap_step, line.source_tap = tap - line.tap, at - line.source
                    line.taps += 1
            if position > start and (line.tap == lines[n - 1].tap
                                     and line.taps == lines[n - 1].taps):
                lines[n - 1].count += 1
            else:
                lines[n] = line
                n += 1
            position += step
    return n
