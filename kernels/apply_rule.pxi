# A rule of rules.h applied to a piece of a parameter, whatever form its state has; included by
# update.pyx, which updates whole arrays, and by dense.pyx, which updates with a gradient in cache.
#
# A state in fewer bits is widened and narrowed again in pieces that stay in the first-level cache:
# memory sees each array once.
include "narrow_state.pxi"

cdef extern from "rules.h" nogil:
    ctypedef enum rule_name:
        SGD, MOMENTUM, ADAGRAD, ADADELTA, RMSPROP, ADAM, LION
    ctypedef struct Rule "rule":
        rule_name name
        double rate, mu, rho, beta_1, beta_2, correction_1, correction_2, epsilon
        bint epsilon_inside, nesterov, rate_inside
        double scale, limit, weight_decay
        bint decoupled, treats
        unsigned int seed
        Py_ssize_t place
    void run_rule_f32(const Rule *r, Py_ssize_t n, float *p, const float *g, float *s, float *t)
    void run_rule_f64(const Rule *r, Py_ssize_t n, double *p, const double *g, double *s, double *t)

cdef enum:
    PIECE = 512  # elements whose widened state is at hand

RULE_NAMES = {"sgd": SGD, "momentum": MOMENTUM, "adagrad": ADAGRAD, "adadelta": ADADELTA,
              "rmsprop": RMSPROP, "adam": ADAM, "lion": LION}


cdef Rule find_rule(rule) except *:
    cdef Rule r
    (name, r.rate, r.mu, r.rho, r.beta_1, r.beta_2, r.correction_1, r.correction_2, r.epsilon,
     r.epsilon_inside, r.nesterov, r.rate_inside, r.scale, r.limit, r.weight_decay, r.decoupled,
     r.seed, r.place) = rule
    r.name = RULE_NAMES[name]
    r.treats = r.scale != 1 or r.limit < float("inf") or r.weight_decay != 0
    return r


cdef inline void run_rule(const Rule *r, Py_ssize_t n, floating *p, const floating *g, floating *s,
                          floating *t) noexcept nogil:
    if floating is float:
        run_rule_f32(r, n, p, g, s, t)
    else:
        run_rule_f64(r, n, p, g, s, t)


cdef inline bint is_signed(const Rule *r, int which) noexcept nogil:
    """Whether a state of the rule has signs."""
    return which == 0 and (r.name == MOMENTUM or r.name == ADAM or r.name == LION)


cdef void apply_rule(const Rule *r, floating *p, const floating *g, const State *state,
                     Py_ssize_t place, Py_ssize_t n) noexcept nogil:
    """The rule on n elements, of which the first is at ``place`` in the arrays of the state."""
    cdef floating wide[2][PIECE]
    cdef unsigned int bits[PIECE]
    cdef Py_ssize_t i = 0, size
    cdef int k
    if state.form == FULL:
        run_rule(r, n, p, g, <floating *> state.arrays[0] + place,
                 <floating *> state.arrays[1] + place)
        return
    while i < n:
        size = min(<Py_ssize_t> PIECE, n - i)
        for k in range(state.count):
            widen(state, k, is_signed(r, k), place + i, &wide[k][0], size)
        run_rule(r, size, p + i, g + i, &wide[0][0], &wide[1][0])
        random_bits(r.seed, <unsigned int> (r.place + place + i), bits, size)
        for k in range(state.count):
            narrow(state, k, is_signed(r, k), place + i, &wide[k][0], bits, size)
        i += size
