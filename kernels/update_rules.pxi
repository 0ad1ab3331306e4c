# The update rules, one scalar rule and one loop around it each. Included by update.pyx, which
# runs them over whole arrays, and by dense.pyx, which runs them on a gradient in cache.
#
# What comes before and after a rule (clipping, decay, state in fewer bits) is done on pieces that
# stay in the first-level cache: memory sees each array once, whatever is asked for.
#
# p parameter, g gradient, n elements. Scalars come rounded to the arrays' type, and the
# operations are those of fastnn/backends/reference/update.py in its order: the bits are the same.
from libc.math cimport sqrt, sqrtf

include "narrow_state.pxi"


cdef inline floating root(floating square, floating epsilon, bint inside) noexcept nogil:
    if floating is float:
        return sqrtf(square + epsilon) if inside else sqrtf(square) + epsilon
    else:
        return sqrt(square + epsilon) if inside else sqrt(square) + epsilon


cdef inline void sgd(floating *p, const floating *g, floating rate, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] -= rate * g[i]


cdef inline void momentum(floating *p, const floating *g, floating *velocity, floating rate,
                          floating mu, bint nesterov, bint rate_inside,
                          Py_ssize_t n) noexcept nogil:
    # The rate is a factor of the gradient (inside) or of the step; the other factor is 1,
    # and a product with 1 is exact.
    cdef floating inner = rate if rate_inside else 1, outer = 1 if rate_inside else rate, v
    cdef Py_ssize_t i
    if nesterov:
        for i in range(n):
            v = mu * velocity[i] + inner * g[i]
            velocity[i] = v
            p[i] -= outer * (mu * v + inner * g[i])
    else:
        for i in range(n):
            v = mu * velocity[i] + inner * g[i]
            velocity[i] = v
            p[i] -= outer * v


cdef inline void adagrad(floating *p, const floating *g, floating *accumulator, floating rate,
                         floating epsilon, bint inside, Py_ssize_t n) noexcept nogil:
    cdef floating a
    cdef Py_ssize_t i
    for i in range(n):
        a = accumulator[i] + g[i] * g[i]
        accumulator[i] = a
        p[i] -= rate * g[i] / root(a, epsilon, inside)


cdef inline void rmsprop(floating *p, const floating *g, floating *mean_square, floating rate,
                         floating rho, floating one_minus_rho, floating epsilon, bint inside,
                         Py_ssize_t n) noexcept nogil:
    cdef floating s
    cdef Py_ssize_t i
    for i in range(n):
        s = rho * mean_square[i] + one_minus_rho * (g[i] * g[i])
        mean_square[i] = s
        p[i] -= rate * g[i] / root(s, epsilon, inside)


cdef inline void adadelta(floating *p, const floating *g, floating *mean_square,
                          floating *mean_square_step, floating rate, floating rho,
                          floating one_minus_rho, floating epsilon, Py_ssize_t n) noexcept nogil:
    cdef floating s, step
    cdef Py_ssize_t i
    for i in range(n):
        s = rho * mean_square[i] + one_minus_rho * (g[i] * g[i])
        mean_square[i] = s
        step = root(mean_square_step[i], epsilon, True) / root(s, epsilon, True) * g[i]
        mean_square_step[i] = rho * mean_square_step[i] + one_minus_rho * (step * step)
        p[i] -= rate * step


cdef inline void adam(floating *p, const floating *g, floating *m, floating *v, floating rate,
                      floating beta_1, floating one_minus_beta_1, floating beta_2,
                      floating one_minus_beta_2, floating correction_1, floating correction_2,
                      floating epsilon, bint inside, Py_ssize_t n) noexcept nogil:
    # What was just stored isn't read again: across two lines of cache that takes twice the time.
    cdef floating mean, square
    cdef Py_ssize_t i
    for i in range(n):
        mean = beta_1 * m[i] + one_minus_beta_1 * g[i]
        square = beta_2 * v[i] + one_minus_beta_2 * (g[i] * g[i])
        m[i] = mean
        v[i] = square
        p[i] -= rate * (mean * correction_1) / root(square * correction_2, epsilon, inside)


cdef inline void lion(floating *p, const floating *g, floating *m, floating rate, floating beta_1,
                      floating one_minus_beta_1, floating beta_2, floating one_minus_beta_2,
                      Py_ssize_t n) noexcept nogil:
    cdef floating one = 1, c, sign
    cdef Py_ssize_t i
    for i in range(n):
        c = beta_1 * m[i] + one_minus_beta_1 * g[i]
        sign = one if c > 0 else (-one if c < 0 else c)
        p[i] -= rate * sign
        m[i] = beta_2 * m[i] + one_minus_beta_2 * g[i]


cdef enum:
    PIECE = 512  # elements whose widened state and treated gradient are at hand

cdef enum RuleName:
    SGD, MOMENTUM, ADAGRAD, ADADELTA, RMSPROP, ADAM, LION

RULE_NAMES = {"sgd": SGD, "momentum": MOMENTUM, "adagrad": ADAGRAD, "adadelta": ADADELTA,
              "rmsprop": RMSPROP, "adam": ADAM, "lion": LION}


cdef struct Rule:  # fastnn.rules.Rule
    RuleName name
    double rate, mu, rho, beta_1, beta_2, correction_1, correction_2, epsilon
    bint epsilon_inside, nesterov, rate_inside
    double scale, limit, weight_decay
    bint decoupled, treats
    unsigned int seed
    Py_ssize_t place


cdef Rule find_rule(rule) except *:
    cdef Rule r
    (name, r.rate, r.mu, r.rho, r.beta_1, r.beta_2, r.correction_1, r.correction_2, r.epsilon,
     r.epsilon_inside, r.nesterov, r.rate_inside, r.scale, r.limit, r.weight_decay, r.decoupled,
     r.seed, r.place) = rule
    r.name = RULE_NAMES[name]
    r.treats = r.scale != 1 or r.limit < float("inf") or r.weight_decay != 0
    return r


cdef void run_rule(const Rule *r, floating *p, const floating *g, floating *state_1,
                   floating *state_2, Py_ssize_t n) noexcept nogil:
    """One rule on n elements; pointers to state the rule doesn't have are not looked at."""
    cdef floating rate = <floating> r.rate, epsilon = <floating> r.epsilon
    cdef floating beta_1 = <floating> r.beta_1, beta_2 = <floating> r.beta_2
    cdef floating rest_1 = <floating> (1 - r.beta_1), rest_2 = <floating> (1 - r.beta_2)
    cdef floating rho = <floating> r.rho, rest_rho = <floating> (1 - r.rho)
    if r.name == SGD:
        sgd(p, g, rate, n)
    elif r.name == MOMENTUM:
        momentum(p, g, state_1, rate, <floating> r.mu, r.nesterov, r.rate_inside, n)
    elif r.name == ADAGRAD:
        adagrad(p, g, state_1, rate, epsilon, r.epsilon_inside, n)
    elif r.name == ADADELTA:
        adadelta(p, g, state_1, state_2, rate, rho, rest_rho, epsilon, n)
    elif r.name == RMSPROP:
        rmsprop(p, g, state_1, rate, rho, rest_rho, epsilon, r.epsilon_inside, n)
    elif r.name == ADAM:
        adam(p, g, state_1, state_2, rate, beta_1, rest_1, beta_2, rest_2,
             <floating> r.correction_1, <floating> r.correction_2, epsilon, r.epsilon_inside, n)
    else:
        lion(p, g, state_1, rate, beta_1, rest_1, beta_2, rest_2, n)


cdef inline void treat(const Rule *r, floating *p, const floating *g, floating *treated,
                       Py_ssize_t n) noexcept nogil:
    """g clipped, with the decay; a decoupled decay shrinks p itself."""
    cdef floating scale = <floating> r.scale, limit = <floating> r.limit, one = 1, x
    cdef floating decay = 0 if r.decoupled else <floating> r.weight_decay
    cdef floating keep = <floating> (1 - r.rate * r.weight_decay) if r.decoupled else one
    cdef Py_ssize_t i
    for i in range(n):
        x = scale * g[i]
        x = -limit if x < -limit else (limit if x > limit else x)
        treated[i] = x + decay * p[i]
        p[i] = p[i] * keep


cdef inline bint is_signed(const Rule *r, int which) noexcept nogil:
    """Whether a state of the rule has signs."""
    return which == 0 and (r.name == MOMENTUM or r.name == ADAM or r.name == LION)


cdef void apply_rule(const Rule *r, floating *p, const floating *g, const State *state,
                     Py_ssize_t place, Py_ssize_t n) noexcept nogil:
    """The rule on n elements, of which the first is at ``place`` in the arrays of the state."""
    cdef floating treated[PIECE]
    cdef floating wide[2][PIECE]
    cdef unsigned int bits[PIECE]
    cdef floating *same_1 = <floating *> state.arrays[0] + place
    cdef floating *same_2 = <floating *> state.arrays[1] + place
    cdef const floating *gradient
    cdef Py_ssize_t i = 0, size
    cdef int k
    if state.form == FULL and not r.treats:
        run_rule(r, p, g, same_1, same_2, n)
        return
    while i < n:
        size = min(<Py_ssize_t> PIECE, n - i)
        gradient = g + i
        if r.treats:
            treat(r, p + i, gradient, &treated[0], size)
            gradient = &treated[0]
        if state.form == FULL:
            run_rule(r, p + i, gradient, same_1 + i, same_2 + i, size)
        else:
            for k in range(state.count):
                widen(state, k, is_signed(r, k), place + i, &wide[k][0], size)
            run_rule(r, p + i, gradient, &wide[0][0], &wide[1][0], size)
            random_bits(r.seed, <unsigned int> (r.place + place + i), bits, size)
            for k in range(state.count):
                narrow(state, k, is_signed(r, k), place + i, &wide[k][0], bits, size)
        i += size
