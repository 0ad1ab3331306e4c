"""The oracle: every op of the table as the definition reads, in Python loops and float64.

Each function takes the arguments of the op, converts arrays to nested lists of Python floats,
and writes its outputs back. Nothing here uses NumPy's arithmetic, so that it shares no mistake
with the reference.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product


def _act(code, z):
    return [lambda z: z, _relu, _sigmoid, math.tanh][code](z)


def _relu(z):
    return z if z > 0 else 0.0


def _sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > -700 else math.exp(z)


def dense(x, w, b, activation, y):
    a, c = x.tolist(), w.tolist()
    for n in range(len(a)):
        for o in range(w.shape[1]):
            total = 0.0 if b is None else float(b[o])
            for k in range(len(c)):
                total += a[n][k] * c[k][o]
            y[n, o] = _act(activation, total)


def dense_dx(dz, w, dx):
    a, c = dz.tolist(), w.tolist()
    for n in range(len(a)):
        for k in range(len(c)):
            dx[n, k] = sum(a[n][o] * c[k][o] for o in range(w.shape[1]))


def dense_dw(x, dz, start, dw):
    a, c = x.tolist(), dz.tolist()
    for k in range(dw.shape[0]):
        for o in range(dw.shape[1]):
            dw[k, o] = sum(a[n][start + k] * c[n][o] for n in range(len(a)))


def dense_dw_update(x, dz, w, state, rule, x_next, y_next):
    dw = w.copy()
    dense_dw(x, dz, 0, dw)
    update(w.reshape(-1), dw.reshape(-1), state, rule)
    if x_next is not None:
        dense(x_next, w, None, 0, y_next)


def dense_db(dz, db):
    rows = dz.tolist()
    for o in range(len(db)):
        db[o] = sum(row[o] for row in rows)


def _places(array):
    return product(*map(range, array.shape))


def _taps(geometry, oy, ox):
    """(ky, kx, iy, ix) of the taps of a window that lie in the image."""
    rows, columns = geometry.rows, geometry.columns
    for ky in range(rows.kernel):
        for kx in range(columns.kernel):
            iy = oy * rows.stride + ky * rows.dilation - rows.before
            ix = ox * columns.stride + kx * columns.dilation - columns.before
            if 0 <= iy < rows.size and 0 <= ix < columns.size:
                yield ky, kx, iy, ix


def _products(w, geometry, shape):
    """((n, oy, ox, o), (n, iy, ix, c), (ky, kx, c in the group, o)) of every product."""
    depth, filters = w.shape[2:]
    for n, oy, ox, o in product(*map(range, shape)):
        first = o // (filters // geometry.groups) * depth
        for ky, kx, iy, ix in _taps(geometry, oy, ox):
            for c in range(depth):
                yield (n, oy, ox, o), (n, iy, ix, first + c), (ky, kx, c, o)


def _window_of(row, shape):
    """(n, oy, ox) of a row of the columns."""
    _, oh, ow, _ = shape
    return row // (oh * ow), row // ow % oh, row % ow


def im2col(x, geometry, columns):
    rows, width, channels = geometry.rows, geometry.columns.kernel, x.shape[3]
    shape = (len(x), *geometry.out_shape)
    for row in range(len(columns)):
        n, oy, ox = _window_of(row, shape)
        for k in range(rows.kernel * width * channels):
            columns[row, k] = 0.0
        for ky, kx, iy, ix in _taps(geometry, oy, ox):
            for c in range(channels):
                columns[row, (ky * width + kx) * channels + c] = float(x[n, iy, ix, c])


def col2im(columns, geometry, x):
    width, channels = geometry.columns.kernel, x.shape[3]
    shape, sums = (len(x), *geometry.out_shape), defaultdict(float)
    for row, values in enumerate(columns.tolist()):
        n, oy, ox = _window_of(row, shape)
        for ky, kx, iy, ix in _taps(geometry, oy, ox):
            for c in range(channels):
                sums[n, iy, ix, c] += values[(ky * width + kx) * channels + c]
    for place in _places(x):
        x[place] = sums[place]


def conv2d(x, w, b, geometry, activation, y):
    sums = defaultdict(float)
    for out, image, tap in _products(w, geometry, y.shape):
        sums[out] += float(x[image]) * float(w[tap])
    for place in _places(y):
        bias = 0.0 if b is None else float(b[place[3]])
        y[place] = _act(activation, sums[place] + bias)


def conv2d_dx(dz, w, geometry, dx):
    sums = defaultdict(float)
    for out, image, tap in _products(w, geometry, dz.shape):
        sums[image] += float(dz[out]) * float(w[tap])
    for place in _places(dx):
        dx[place] = sums[place]


def conv2d_dw(x, dz, geometry, dw):
    sums = defaultdict(float)
    for out, image, tap in _products(dw, geometry, dz.shape):
        sums[tap] += float(x[image]) * float(dz[out])
    for place in _places(dw):
        dw[place] = sums[place]


def max_pool2d(x, geometry, y, index):
    for n, oy, ox, c in _places(y):
        best, where = None, None
        for ky, kx, iy, ix in _taps(geometry, oy, ox):
            value = float(x[n, iy, ix, c])
            if best is None or value > best or (value != value and best == best):
                best, where = value, ky * geometry.columns.kernel + kx
        y[n, oy, ox, c], index[n, oy, ox, c] = best, where


def max_pool2d_backward(dy, index, geometry, dx):
    sums = defaultdict(float)
    for n, oy, ox, c in _places(dy):
        for ky, kx, iy, ix in _taps(geometry, oy, ox):
            if int(index[n, oy, ox, c]) == ky * geometry.columns.kernel + kx:
                sums[n, iy, ix, c] += float(dy[n, oy, ox, c])
    for place in _places(dx):
        dx[place] = sums[place]


def average_pool2d(x, geometry, y):
    for n, oy, ox, c in _places(y):
        values = [float(x[n, iy, ix, c]) for _, _, iy, ix in _taps(geometry, oy, ox)]
        y[n, oy, ox, c] = sum(values) / len(values)


def average_pool2d_backward(dy, geometry, dx):
    sums = defaultdict(float)
    for n, oy, ox, c in _places(dy):
        taps = list(_taps(geometry, oy, ox))
        for _, _, iy, ix in taps:
            sums[n, iy, ix, c] += float(dy[n, oy, ox, c]) / len(taps)
    for place in _places(dx):
        dx[place] = sums[place]


def relu(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = _relu(z)


def add(a, b, activation, y):
    for i, (one, other) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        y[i] = _relu(one + other) if activation else one + other


def relu_backward(dy, y, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = g if out > 0 else 0.0


def sigmoid(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = _sigmoid(z)


def sigmoid_backward(dy, y, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = g * out * (1 - out)


def tanh(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = math.tanh(z)


def tanh_backward(dy, y, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = g * (1 - out * out)


def _shifted(row):
    """The row less its maximum, and the logarithm of the sum of its exponentials."""
    top = max(row)
    row = [z - top for z in row]
    return row, math.log(math.fsum(math.exp(z) for z in row))


def softmax_cross_entropy(x, labels, weight, dx):
    rows, n = x.tolist(), len(x)
    losses = []
    for i, row in enumerate(rows):
        row, log_sum = _shifted(row)
        losses.append(log_sum - row[labels[i]])
        for j, z in enumerate(row):
            dx[i, j] = weight * (math.exp(z - log_sum) - (j == labels[i])) / n
    return weight * math.fsum(losses) / n


def softmax_cross_entropy_targets(x, targets, weight, dx):
    rows, n = x.tolist(), len(x)
    losses = []
    for i, (row, t) in enumerate(zip(rows, targets.tolist(), strict=True)):
        (row, log_sum), mass = _shifted(row), math.fsum(t)
        for j, z in enumerate(row):
            losses.append(t[j] * (log_sum - z))
            dx[i, j] = weight * (math.exp(z - log_sum) * mass - t[j]) / n
    return weight * math.fsum(losses) / n


def sigmoid_cross_entropy(x, targets, weight, dx):
    n = len(x)
    losses = []
    for i, (z, t) in enumerate(zip(x.tolist(), targets.tolist(), strict=True)):
        losses.append(max(z, 0.0) - z * t + math.log1p(math.exp(-abs(z))))
        dx[i] = weight * (_sigmoid(z) - t) / n
    return weight * math.fsum(losses) / n


def mse(x, targets, weight, dx):
    n = len(x)
    losses = []
    for i, (z, t) in enumerate(zip(x.tolist(), targets.tolist(), strict=True)):
        losses.append((z - t) ** 2)
        dx[i] = 2 * weight * (z - t) / n
    return weight * math.fsum(losses) / n


def update(param, grad, state, rule):
    """The rule, number by number; state in full."""
    for i in range(len(param)):
        p, g, s = float(param[i]), float(grad[i]), [float(a[i]) for a in state]
        g = min(max(rule.scale * g, -rule.limit), rule.limit)
        if rule.decoupled:
            p -= rule.learning_rate * rule.weight_decay * p
        else:
            g += rule.weight_decay * p
        param[i], *s = globals()[f"_{rule.name}"](p, g, *s, rule)
        for array, value in zip(state, s, strict=True):
            array[i] = value


def _sgd(p, g, r):
    return (p - r.learning_rate * g,)


def _momentum(p, g, velocity, r):
    pull = r.learning_rate * g if r.rate_in_velocity else g
    v = r.momentum * velocity + pull
    delta = r.momentum * v + pull if r.nesterov else v
    return p - (delta if r.rate_in_velocity else r.learning_rate * delta), v


def _adagrad(p, g, a, r):
    a += g * g
    return p - r.learning_rate * g / _root(a, r.epsilon, r.epsilon_inside_root), a


def _adadelta(p, g, s, d, r):
    s = r.rho * s + (1 - r.rho) * g * g
    step = math.sqrt((d + r.epsilon) / (s + r.epsilon)) * g
    return p - r.learning_rate * step, s, r.rho * d + (1 - r.rho) * step**2


def _rmsprop(p, g, s, r):
    s = r.rho * s + (1 - r.rho) * g * g
    return p - r.learning_rate * g / _root(s, r.epsilon, r.epsilon_inside_root), s


def _adam(p, g, m, v, r):
    m = r.beta_1 * m + (1 - r.beta_1) * g
    v = r.beta_2 * v + (1 - r.beta_2) * g * g
    root = _root(v * r.correction_2, r.epsilon, r.epsilon_inside_root)
    return p - r.learning_rate * m * r.correction_1 / root, m, v


def _lion(p, g, m, r):
    c = r.beta_1 * m + (1 - r.beta_1) * g
    return p - r.learning_rate * ((c > 0) - (c < 0)), r.beta_2 * m + (1 - r.beta_2) * g


def _root(square, epsilon, inside):
    return math.sqrt(square + epsilon) if inside else math.sqrt(square) + epsilon


def batch_norm_statistics(x, mean, variance):
    for c in range(x.shape[1]):
        column = x[:, c].tolist()
        mean[c] = math.fsum(column) / len(column)
        variance[c] = math.fsum((v - float(mean[c])) ** 2 for v in column) / len(column)


def _normalized(x, m, c, mean, variance, epsilon):
    return (float(x[m, c]) - float(mean[c])) / math.sqrt(float(variance[c]) + epsilon)


def batch_norm(x, mean, variance, gamma, beta, epsilon, activation, y):
    for m, c in _places(x):
        x_hat = _normalized(x, m, c, mean, variance, epsilon)
        y[m, c] = _act(activation, float(gamma[c]) * x_hat + float(beta[c]))


def _dz(dy, x_hat, m, c, gamma, beta, activation):
    off = activation and float(gamma[c]) * x_hat + float(beta[c]) <= 0
    return 0.0 if off else float(dy[m, c])


def batch_norm_sums(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta):
    for c in range(x.shape[1]):
        dgamma[c] = dbeta[c] = 0.0
    for m, c in _places(x):
        x_hat = _normalized(x, m, c, mean, variance, epsilon)
        dz = _dz(dy, x_hat, m, c, gamma, beta, activation)
        dbeta[c] += dz
        dgamma[c] += dz * x_hat


def batch_norm_dx(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta, dx):
    for m, c in _places(x):
        x_hat = _normalized(x, m, c, mean, variance, epsilon)
        dz = _dz(dy, x_hat, m, c, gamma, beta, activation)
        centred = dz - (float(dbeta[c]) + x_hat * float(dgamma[c])) / len(x)
        dx[m, c] = float(gamma[c]) / math.sqrt(float(variance[c]) + epsilon) * centred


def _responses(x, m, size, alpha, bias):
    """The channels around each of row m, and bias + α/size · Σ of their squares."""
    count, before = x.shape[1], (size - 1) // 2
    around = [range(max(0, c - before), min(count, c - before + size)) for c in range(count)]
    return around, [bias + alpha / size * sum(float(x[m, j]) ** 2 for j in js) for js in around]


def local_response_norm(x, size, alpha, beta, bias, y):
    for m, c in _places(x):
        y[m, c] = float(x[m, c]) / _responses(x, m, size, alpha, bias)[1][c] ** beta


def local_response_norm_backward(dy, x, size, alpha, beta, bias, dx):
    """Each output's derivative by each input, as the quotient rule has it."""
    for m in range(len(x)):
        around, s = _responses(x, m, size, alpha, bias)
        row = [0.0] * x.shape[1]
        for c, js in enumerate(around):
            row[c] += float(dy[m, c]) * s[c] ** -beta
            for j in js:
                ds = 2 * alpha / size * float(x[m, j])
                row[j] -= float(dy[m, c]) * float(x[m, c]) * beta * s[c] ** (-beta - 1) * ds
        for c, value in enumerate(row):
            dx[m, c] = value


def leaky_relu(x, slope, y):
    for i, z in enumerate(x.tolist()):
        y[i] = z if z > 0 else slope * z


def leaky_relu_backward(dy, y, slope, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = g if out > 0 else slope * g


def prelu(x, slope, y):
    for n, c in _places(x):
        z = float(x[n, c])
        y[n, c] = z if z > 0 else float(slope[c]) * z


def prelu_backward(dy, x, slope, dx, terms):
    for n, c in _places(x):
        g, z = float(dy[n, c]), float(x[n, c])
        dx[n, c] = g if z > 0 else float(slope[c]) * g
        terms[n, c] = g * min(z, 0.0)


def _elu(x, scale, alpha, y):
    for i, z in enumerate(x.tolist()):
        y[i] = scale * z if z > 0 else scale * alpha * math.expm1(z)


def _elu_backward(dy, y, scale, alpha, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = scale * g if out > 0 else g * (out + scale * alpha)


def elu(x, alpha, y):
    _elu(x, 1.0, alpha, y)


def elu_backward(dy, y, alpha, dx):
    _elu_backward(dy, y, 1.0, alpha, dx)


#: λ and α of SELU, to more digits than the kernels have.
_SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu(x, y):
    _elu(x, *_SELU, y)


def selu_backward(dy, y, dx):
    _elu_backward(dy, y, *_SELU, dx)


def swish(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = z * _sigmoid(z)


def swish_backward(dy, x, dx):
    for i, (g, z) in enumerate(zip(dy.tolist(), x.tolist(), strict=True)):
        dx[i] = g * (_sigmoid(z) + z * _sigmoid(z) * _sigmoid(-z))


def gelu(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = z * 0.5 * math.erfc(-z / math.sqrt(2))


def gelu_backward(dy, x, dx):
    for i, (g, z) in enumerate(zip(dy.tolist(), x.tolist(), strict=True)):
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        dx[i] = g * (0.5 * math.erfc(-z / math.sqrt(2)) + z * density)


def gelu_tanh(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = z * 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def gelu_tanh_backward(dy, x, dx):
    for i, (g, z) in enumerate(zip(dy.tolist(), x.tolist(), strict=True)):
        t = math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
        dx[i] = g * (0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope)


def softplus(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = max(z, 0.0) + math.log1p(math.exp(-abs(z)))


def softplus_backward(dy, y, dx):
    for i, (g, out) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        dx[i] = g * -math.expm1(-out)


def heaviside(x, y):
    for i, z in enumerate(x.tolist()):
        y[i] = 1.0 if z > 0 else 0.0


def softmax(x, y):
    for n, row in enumerate(x.tolist()):
        e = [math.exp(z - max(row)) for z in row]
        for c in range(len(row)):
            y[n, c] = e[c] / sum(e)


def softmax_backward(dy, y, dx):
    for n, (gradients, row) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        mean = sum(g * p for g, p in zip(gradients, row, strict=True))
        for c in range(len(row)):
            dx[n, c] = row[c] * (gradients[c] - mean)
