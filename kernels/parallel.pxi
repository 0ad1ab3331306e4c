# Included by every kernel module: the fused type, parallel loops and the thread knob.
from cython cimport floating
from cython.parallel cimport prange

cdef extern from "denormals.h" nogil:
    ctypedef unsigned long long float_mode
    float_mode flush_denormals()
    void set_float_mode(float_mode mode)

cdef enum:
    CHUNK = 16384  # elements a thread takes at a time: a multiple of every vector, so that
    #                where threads cut never changes the bits

cdef int max_threads = 1


def set_num_threads(int n):
    """Let the kernels of this module use up to n threads."""
    global max_threads
    max_threads = n


cdef inline int threads_for(double nanoseconds) noexcept nogil:
    """Below about 20 microseconds of work, waking a team costs more than it saves."""
    return 1 if nanoseconds < 20e3 else max_threads
