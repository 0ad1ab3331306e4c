"""fastnn: a neural-network engine for CPUs that reads in an evening.

Networks: ``Sequential`` and the layers; by hand: ``fastnn.functional``; which kernels run:
``use_backend``, ``use_isa``, ``set_num_threads``, ``show_config``.
"""

from fastnn import callbacks, functional, initializers, losses, metrics, optimizers
from fastnn.backends import (
    available_backends,
    available_isas,
    current_backend,
    use_backend,
    use_isa,
)
from fastnn.backends.threads import get_num_threads, set_num_threads
from fastnn.config import show_config
from fastnn.gradcheck import check_gradients
from fastnn.layers import Activation, Chain, Dense, Flatten, Heads, Layer, Rescaling
from fastnn.model import Sequential
from fastnn.training import History

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "Chain",
    "Dense",
    "Flatten",
    "Heads",
    "History",
    "Layer",
    "Rescaling",
    "Sequential",
    "available_backends",
    "available_isas",
    "callbacks",
    "check_gradients",
    "current_backend",
    "functional",
    "get_num_threads",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "set_num_threads",
    "show_config",
    "use_backend",
    "use_isa",
]
