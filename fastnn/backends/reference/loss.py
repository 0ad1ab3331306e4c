"""Losses on logits. Each returns ``weight`` times the loss as a Python float and writes into
dx the gradient of that number. N batch, C classes.
"""

import numpy as np


def softmax_cross_entropy(x, labels, weight, dx):
    """L = meanₙ (log Σⱼ exp(xₙⱼ) − xₙ,label), dx = (softmax(x) − onehot(labels)) / N.

    x, dx (N, C); labels (N,) int64 in 0 … C−1. The row's maximum is taken off first, so that
    exp can't overflow.
    """
    n = len(x)
    rows = np.arange(n)
    shifted = x - x.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) - shifted[rows, labels]
    np.divide(e, total, out=dx)
    dx[rows, labels] -= 1
    dx *= weight / n
    return weight * float(losses.sum(dtype=np.float64)) / n


def softmax_cross_entropy_targets(x, targets, weight, dx):
    """L = meanₙ Σⱼ tₙⱼ (log Σᵢ exp(xₙᵢ) − xₙⱼ), dx = (softmax(x) Σⱼ tₙⱼ − t) / N.

    x, targets, dx (N, C); each row of targets is a distribution over the classes.
    """
    n = len(x)
    shifted = x - x.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    mass = targets.sum(axis=1, keepdims=True)
    losses = (targets * (np.log(total) - shifted)).sum(axis=1)
    np.multiply(e / total, mass, out=dx)
    dx -= targets
    dx *= weight / n
    return weight * float(losses.sum(dtype=np.float64)) / n


def sigmoid_cross_entropy(x, targets, weight, dx):
    """L = mean (max(x, 0) − x t + log(1 + exp(−|x|))), dx = (sigmoid(x) − t) / size.

    x, targets, dx of one shape; the mean is over all elements.
    """
    e = np.exp(-np.abs(x))
    losses = np.maximum(x, 0) - x * targets + np.log1p(e)
    np.divide(np.where(x >= 0, 1, e), 1 + e, out=dx)
    dx -= targets
    dx *= weight / x.size
    return weight * float(losses.sum(dtype=np.float64)) / x.size


def mse(x, targets, weight, dx):
    """L = mean (x − t)², dx = 2 (x − t) / size; the mean is over all elements."""
    np.subtract(x, targets, out=dx)
    loss = weight * float(np.square(dx).sum(dtype=np.float64)) / x.size
    dx *= 2 * weight / x.size
    return loss
