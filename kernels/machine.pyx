"""The loops of machine.h, for fastnn.limits."""

cdef extern from "machine.h" nogil:
    double multiply_add(int threads, long rounds)
    double streams(int threads, int updated, int read, float **arrays, long n, long repeats)
    long granule(int threads)


def seconds_of_multiply_adds(int threads, long rounds):
    """Of so many rounds of 12 vector multiply-adds on every thread."""
    with nogil:
        seconds = multiply_add(threads, rounds)
    return seconds


def seconds_of_streams(int threads, int updated, list arrays, long repeats):
    """Of so many passes: the first ``updated`` arrays are read and written, the others read."""
    cdef float *pointers[5]
    cdef float[::1] view
    cdef int i, count = len(arrays)
    cdef long n = len(arrays[0])
    for i in range(count):
        view = arrays[i]
        pointers[i] = &view[0]
    with nogil:
        seconds = streams(threads, updated, count - updated, pointers, n, repeats)
    return seconds


def floats_together(int threads):
    """What the length of the arrays must be a multiple of; 0: there are no such loops here."""
    return granule(threads)
