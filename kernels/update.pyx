"""Optimizer updates, in place: the rules of update_rules.pxi, in parallel over whole arrays.

All arrays are 1-D and of one size. An update reads and writes each array once, in one pass;
NumPy's form makes a pass per operation. It is limited by memory: with division and square
root vectorised (no errno, no division by zero check) the arithmetic hides behind it.
"""
include "parallel.pxi"
include "update_rules.pxi"


cdef void update(Rule rule, floating *p, const floating *g, floating *state_1, floating *state_2,
                 Py_ssize_t n) noexcept:
    cdef Py_ssize_t c, i
    cdef float_mode mode
    # About a nanosecond an element, whatever the rule.
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        i = c * CHUNK
        apply_rule(&rule, p + i, g + i, state_1 + i, state_2 + i, min(CHUNK, n - i))
        set_float_mode(mode)


def sgd_update(floating[::1] param, const floating[::1] grad, double learning_rate):
    update(sgd_rule(learning_rate), &param[0], &grad[0], <floating *> NULL, <floating *> NULL,
           param.shape[0])


def momentum_update(floating[::1] param, const floating[::1] grad, floating[::1] velocity,
                    double learning_rate, double momentum, bint nesterov, bint rate_in_velocity):
    update(momentum_rule(learning_rate, momentum, nesterov, rate_in_velocity), &param[0], &grad[0],
           &velocity[0], <floating *> NULL, param.shape[0])


def adagrad_update(floating[::1] param, const floating[::1] grad, floating[::1] accumulator,
                   double learning_rate, double epsilon, bint epsilon_inside_root):
    update(adagrad_rule(learning_rate, epsilon, epsilon_inside_root), &param[0], &grad[0],
           &accumulator[0], <floating *> NULL, param.shape[0])


def rmsprop_update(floating[::1] param, const floating[::1] grad, floating[::1] mean_square,
                   double learning_rate, double rho, double epsilon, bint epsilon_inside_root):
    update(rmsprop_rule(learning_rate, rho, epsilon, epsilon_inside_root), &param[0], &grad[0],
           &mean_square[0], <floating *> NULL, param.shape[0])


def adam_update(floating[::1] param, const floating[::1] grad, floating[::1] m, floating[::1] v,
                long step, double learning_rate, double beta_1, double beta_2, double epsilon,
                bint epsilon_inside_root, bint bias_correction):
    update(adam_rule(step, learning_rate, beta_1, beta_2, epsilon, epsilon_inside_root,
                     bias_correction), &param[0], &grad[0], &m[0], &v[0], param.shape[0])
