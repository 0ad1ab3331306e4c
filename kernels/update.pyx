"""Optimizer updates, in place: the rules of rules.h, in parallel over whole arrays.

All arrays are 1-D and of one size.
"""
include "parallel.pxi"
include "apply_rule.pxi"

cdef enum:
    LINE = 64  # bytes of a line of cache


def update(floating[::1] param, const floating[::1] grad, tuple state, rule):
    """The rule on all elements, in chunks of CHUNK of them.

    All but the first chunk begin at a line of cache of param: large arrays of NumPy's begin 16
    bytes after one, all of them, and vectors across lines take a tenth more time.
    """
    cdef Py_ssize_t n = param.shape[0], c, start, stop, head = 0
    if n == 0:
        return
    cdef Rule r = find_rule(rule)
    cdef floating *p = &param[0]
    cdef const floating *g = &grad[0]
    cdef State s = find_state(state, p)
    cdef float_mode mode
    if s.form == FULL:
        head = -<Py_ssize_t> p & (LINE - 1)
        head //= <Py_ssize_t> sizeof(floating)
    # About a nanosecond an element, whatever the rule.
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        start = c * CHUNK + (head if c > 0 else 0)
        stop = min(n, (c + 1) * CHUNK + head)
        apply_rule(&r, p + start, g + start, &s, start, max(<Py_ssize_t> 0, stop - start))
        set_float_mode(mode)
