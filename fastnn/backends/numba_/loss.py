"""Losses on logits. Each returns ``weight`` times the loss and writes its gradient into dx.

Why it is fast: one pass over the logits, with a row's exponentials in a scratch row that stays
in the nearest cache, where NumPy makes five arrays as big as the logits. Inside an element
everything is computed in double and rounded once. The loss is summed by blocks of a fixed
number of elements or rows, and then over the blocks in order, so that its bits don't depend
on the number of threads.
"""

import math

import numpy as np
from numba import prange

from fastnn.backends.numba_ import call_parallel, kernel, num_threads, parallel_kernel, plain

#: Elements that give one partial sum of the loss (rows of C classes: about as many elements).
BLOCK = 2048


def softmax_cross_entropy(x, labels, weight, dx):
    n, classes = x.shape
    args = plain(x), plain(labels), weight / n, dx
    return weight * _sum(_softmax, _softmax_parallel, args, n, classes, 10) / n


def softmax_cross_entropy_targets(x, targets, weight, dx):
    n, classes = x.shape
    args = plain(x), plain(targets), weight / n, dx
    return weight * _sum(_softmax_targets, _softmax_targets_parallel, args, n, classes, 14) / n


def sigmoid_cross_entropy(x, targets, weight, dx):
    n = x.size
    args = plain(x).reshape(n), plain(targets).reshape(n), weight / n, dx.reshape(n)
    return weight * _sum(_sigmoid, _sigmoid_parallel, args, n, 1, 16) / n


def mse(x, targets, weight, dx):
    n = x.size
    scale = dx.dtype.type(2 * weight / n)
    args = plain(x).reshape(n), plain(targets).reshape(n), scale, dx.reshape(n)
    return weight * _sum(_mse, _mse_parallel, args, n, 1, 2) / n


def _sum(serial, parallel, args, items, size, cost):
    """Sum of the losses of ``items`` rows or elements of ``size`` logits, ``cost`` ns a logit."""
    block = max(1, BLOCK // max(1, size))
    partial = np.empty(-(-items // block))
    n = num_threads(items * size * cost)
    if n == 1:
        serial(*args, partial, block, 0, partial.size)
    else:
        call_parallel(parallel, n, *args, partial, block)
    return float(partial.sum())


@kernel
def _softmax(x, labels, scale, dx, partial, block, start, stop):
    """L = Σₙ (log Σⱼ exp(xₙⱼ) − xₙ,label), dx = scale (softmax(x) − onehot(labels)).

    x, dx (N, C); labels (N,). Blocks start … stop of ``block`` rows, one partial sum each.
    """
    e = np.empty(x.shape[1])
    for i in range(start, stop):
        loss = 0.0
        for n in range(i * block, min(len(x), (i + 1) * block)):
            high, total = _exponentials(x[n], e)
            row, label = dx[n], labels[n]
            loss += math.log(total) - (x[n, label] - high)
            factor = scale / total
            for j in range(row.size):
                row[j] = factor * e[j]
            row[label] = scale * (e[label] / total - 1)
        partial[i] = loss


@parallel_kernel
def _softmax_parallel(x, labels, scale, dx, partial, block):
    for i in prange(partial.size):
        _softmax(x, labels, scale, dx, partial, block, i, i + 1)


@kernel
def _softmax_targets(x, targets, scale, dx, partial, block, start, stop):
    """L = Σₙ Σⱼ tₙⱼ (log Σᵢ exp(xₙᵢ) − xₙⱼ), dx = scale (softmax(x) Σⱼ tₙⱼ − t).

    x, targets, dx (N, C). Blocks start … stop of ``block`` rows, one partial sum each.
    """
    e = np.empty(x.shape[1])
    for i in range(start, stop):
        loss = 0.0
        for n in range(i * block, min(len(x), (i + 1) * block)):
            high, total = _exponentials(x[n], e)
            row, t, logits = dx[n], targets[n], x[n]
            log_total, mass = math.log(total), 0.0
            for j in range(row.size):
                loss += t[j] * (log_total - (logits[j] - high))
                mass += t[j]
            for j in range(row.size):
                row[j] = scale * (e[j] / total * mass - t[j])
        partial[i] = loss


@parallel_kernel
def _softmax_targets_parallel(x, targets, scale, dx, partial, block):
    for i in prange(partial.size):
        _softmax_targets(x, targets, scale, dx, partial, block, i, i + 1)


@kernel
def _exponentials(row, e):
    """eⱼ = exp(rowⱼ − max row); returns (max row, Σⱼ eⱼ). A NaN is taken for the maximum."""
    high = row[0]
    for j in range(row.size):
        if row[j] > high or row[j] != row[j]:
            high = row[j]
    high, total = np.float64(high), 0.0
    for j in range(row.size):
        e[j] = math.exp(row[j] - high)
        total += e[j]
    return high, total


@kernel
def _sigmoid(x, targets, scale, dx, partial, block, start, stop):
    """L = Σ (max(x, 0) − x t + log(1 + exp(−|x|))), dx = scale (sigmoid(x) − t); 1-D arrays."""
    for i in range(start, stop):
        loss = 0.0
        for n in range(i * block, min(x.size, (i + 1) * block)):
            z, t = np.float64(x[n]), np.float64(targets[n])
            e = math.exp(-abs(z))
            loss += max(z, 0.0) - z * t + math.log1p(e)
            dx[n] = scale * ((e if z < 0 else 1.0) / (1.0 + e) - t)
        partial[i] = loss


@parallel_kernel
def _sigmoid_parallel(x, targets, scale, dx, partial, block):
    for i in prange(partial.size):
        _sigmoid(x, targets, scale, dx, partial, block, i, i + 1)


@kernel
def _mse(x, targets, scale, dx, partial, block, start, stop):
    """L = Σ (x − t)², dx = scale (x − t); 1-D arrays. Differences and squares in the dtype."""
    for i in range(start, stop):
        loss = 0.0
        for n in range(i * block, min(x.size, (i + 1) * block)):
            d = x[n] - targets[n]
            loss += d * d
            dx[n] = d * scale
        partial[i] = loss


@parallel_kernel
def _mse_parallel(x, targets, scale, dx, partial, block):
    for i in prange(partial.size):
        _mse(x, targets, scale, dx, partial, block, i, i + 1)
