# The update rules, one scalar rule and one loop around it each. Included by update.pyx, which
# runs them over whole arrays, and by dense.pyx, which runs them on a gradient in cache.
#
# p parameter, g gradient, n elements. Scalars come rounded to the arrays' type, and the
# operations are those of fastnn/backends/reference/update.py in its order: the bits are the same.
from libc.math cimport sqrt, sqrtf


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


cdef inline void adam(floating *p, const floating *g, floating *m, floating *v, floating rate,
                      floating beta_1, floating one_minus_beta_1, floating beta_2,
                      floating one_minus_beta_2, floating correction_1, floating correction_2,
                      floating epsilon, bint inside, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        m[i] = beta_1 * m[i] + one_minus_beta_1 * g[i]
        v[i] = beta_2 * v[i] + one_minus_beta_2 * (g[i] * g[i])
        p[i] -= rate * (m[i] * correction_1) / root(v[i] * correction_2, epsilon, inside)


cdef enum RuleName:
    SGD, MOMENTUM, ADAGRAD, RMSPROP, ADAM


cdef struct Rule:
    RuleName name
    double rate, beta_1, beta_2, correction_1, correction_2, epsilon
    bint epsilon_inside, nesterov, rate_inside


cdef Rule sgd_rule(double learning_rate):
    return Rule(SGD, learning_rate, 0, 0, 1, 1, 0, False, False, False)


cdef Rule momentum_rule(double learning_rate, double momentum, bint nesterov,
                        bint rate_in_velocity):
    return Rule(MOMENTUM, learning_rate, momentum, 0, 1, 1, 0, False, nesterov, rate_in_velocity)


cdef Rule adagrad_rule(double learning_rate, double epsilon, bint epsilon_inside_root):
    return Rule(ADAGRAD, learning_rate, 0, 0, 1, 1, epsilon, epsilon_inside_root, False, False)


cdef Rule rmsprop_rule(double learning_rate, double rho, double epsilon,
                       bint epsilon_inside_root):
    return Rule(RMSPROP, learning_rate, rho, 0, 1, 1, epsilon, epsilon_inside_root, False, False)


cdef Rule adam_rule(long step, double learning_rate, double beta_1, double beta_2,
                    double epsilon, bint epsilon_inside_root, bint bias_correction):
    return Rule(ADAM, learning_rate, beta_1, beta_2,
                1 / (1 - beta_1 ** step) if bias_correction else 1,
                1 / (1 - beta_2 ** step) if bias_correction else 1,
                epsilon, epsilon_inside_root, False, False)


cdef void apply_rule(const Rule *r, floating *p, const floating *g, floating *state_1,
                     floating *state_2, Py_ssize_t n) noexcept nogil:
    """One rule on n elements; pointers to state the rule doesn't have are not looked at."""
    cdef floating rate = <floating> r.rate, epsilon = <floating> r.epsilon
    cdef floating beta_1 = <floating> r.beta_1, beta_2 = <floating> r.beta_2
    cdef floating rest_1 = <floating> (1 - r.beta_1), rest_2 = <floating> (1 - r.beta_2)
    if r.name == SGD:
        sgd(p, g, rate, n)
    elif r.name == MOMENTUM:
        momentum(p, g, state_1, rate, beta_1, r.nesterov, r.rate_inside, n)
    elif r.name == ADAGRAD:
        adagrad(p, g, state_1, rate, epsilon, r.epsilon_inside, n)
    elif r.name == RMSPROP:
        rmsprop(p, g, state_1, rate, beta_1, rest_1, epsilon, r.epsilon_inside, n)
    else:
        adam(p, g, state_1, state_2, rate, beta_1, rest_1, beta_2, rest_2,
             <floating> r.correction_1, <floating> r.correction_2, epsilon, r.epsilon_inside, n)
