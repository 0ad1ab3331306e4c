"""Dense layer, forward and backward. N batch, K inputs, O outputs."""

import numpy as np

from fastnn.backends.reference.activation import relu, sigmoid, tanh
from fastnn.backends.reference.update import update
from fastnn.ops import FUSED_ACTIVATIONS
from fastnn.rules import part, rows_together

#: Bytes of a panel of the gradient: a part of an L2 cache, yet few calls for a large layer.
PANEL_BYTES = 1 << 19

#: The fused activations by code, but the identity.
APPLY = {
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
    if activation in APPLY:
        APPLY[activation](y, y)


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


def dense_dw_update(x, dz, w, state, rule, x_next, y_next):
    """dw = xᵀ dz goes straight to the optimizer: update(w, dw, state, rule). Then the next step's
    y_next = x_next w, unless x_next is None: a fast kernel does it while w is at hand.

    x (N, K), dz (N, O), w (K, O), x_next (M, K), y_next (M, O); ``state`` and ``rule`` as in
    ``update``, for n = K·O elements. No array of the size of dw is made.
    """
    update_by_panels(dense_dw, update, x, dz, w, state, rule)
    if x_next is not None:
        np.matmul(x_next, w, out=y_next)


def update_by_panels(dense_dw, update, x, dz, w, state, rule):
    """Panels of rows of dw, each handed to ``update`` while it is in cache."""
    together, columns = rows_together(w.shape[1], state), w.shape[1]
    rows = max(1, PANEL_BYTES // max(w[:1].nbytes * together, 1)) * together
    panel = np.empty((min(rows, len(w)), columns), w.dtype)
    for start in range(0, len(w), rows):
        values = w[start : start + rows].reshape(-1)
        dw = panel[: values.size // max(columns, 1)]
        dense_dw(x, dz, start, dw)
        first = start * columns
        here = part(state, first, first + values.size)
        update(values, dw.reshape(-1), here, rule._replace(place=rule.place + first))
