"""Dense layer, forward and backward. N batch, K inputs, O outputs."""

import numpy as np

from fastnn.backends.reference.activation import relu, sigmoid, tanh
from fastnn.ops import FUSED_ACTIVATIONS

_APPLY = {
    FUSED_ACTIVATIONS["relu"]: relu,
    FUSED_ACTIVATIONS["sigmoid"]: sigmoid,
    FUSED_ACTIVATIONS["tanh"]: tanh,
}


def dense(x, w, b, activation, y):
    """y = f(x w + b), with f by its code in ``FUSED_ACTIVATIONS``.

    x (N, K), w (K, O), b (O,) or None, y (N, O).
    """
    np.matmul(x, w, out=y)
    if b is not None:
        y += b
    if activation in _APPLY:
        _APPLY[activation](y, y)


def dense_dx(dz, w, dx):
    """dx = dz wᵀ: the gradient of the input from dz, the gradient of x w + b.

    dz (N, O), w (K, O), dx (N, K).
    """
    np.matmul(dz, w.T, out=dx)


def dense_dw(x, dz, start, dw):
    """dw = xᵀ dz for the rows start, start+1, … of the weight gradient.

    x (N, K), dz (N, O), dw (R, O) with start + R <= K. A whole gradient has start 0 and
    R = K; an optimizer that takes the gradient panel by panel asks for R rows at a time.
    """
    np.matmul(x[:, start : start + len(dw)].T, dz, out=dw)


def dense_db(dz, db):
    """db = Σₙ dz: the gradient of the bias. dz (N, O), db (O,)."""
    np.sum(dz, axis=0, out=db)
