"""Branches of a network that meet. All arrays have one shape."""

import numpy as np

from fastnn.backends.reference.activation import relu
from fastnn.ops import FUSED_ACTIVATIONS


def add(a, b, activation, y):
    """y = f(a + b), with f the identity or ReLU by its code; y may be a or b. NaN stays NaN."""
    np.add(a, b, out=y)
    if activation == FUSED_ACTIVATIONS["relu"]:
        relu(y, y)
