# Included by every kernel module: the threads knob and the fused type's names.
from cython cimport floating
from cython.parallel cimport prange

cdef extern from "parallel.h" nogil:
    int max_threads
    int threads_for(double nanoseconds)

cdef enum:
    CHUNK = 16384  # elements a thread takes at a time: a multiple of every vector, so that
    #                where threads cut never changes the bits


def set_num_threads(int n):
    """Let the kernels of this module use up to n threads."""
    global max_threads
    max_threads = n
