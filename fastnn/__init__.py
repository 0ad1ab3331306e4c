"""fastnn: a neural-network engine for CPUs that reads in an evening.

Networks: ``Sequential`` and the layers; by hand: ``fastnn.functional``; which kernels run:
``use_backend``, ``use_isa``, ``set_num_threads``, ``show_config``.
"""

from fastnn import (
    augmentation,
    callbacks,
    functional,
    initializers,
    losses,
    metrics,
    optimizers,
    preprocessing,
    regularizers,
    zoo,
)
from fastnn.augmentation import Augmentation
from fastnn.backends import (
    available_backends,
    available_isas,
    current_backend,
    use_backend,
    use_isa,
)
from fastnn.backends.threads import get_num_threads, set_num_threads
from fastnn.config import show_config
from fastnn.folding import fold_batch_norm
from fastnn.gradcheck import check_gradients
from fastnn.layers import (
    ELU,
    Activation,
    Add,
    AlphaDropout,
    AveragePooling2D,
    BatchNormalization,
    Branches,
    Chain,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Heads,
    Layer,
    LeakyReLU,
    LocalResponseNormalization,
    Maxout,
    MaxPool2D,
    MaxPooling2D,
    PReLU,
    ReLU,
    Rescaling,
    Residual,
    Softmax,
    ZeroPadding2D,
)
from fastnn.model import Sequential
from fastnn.recorder import Recorder
from fastnn.training import History

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "AlphaDropout",
    "Augmentation",
    "AveragePooling2D",
    "BatchNormalization",
    "Branches",
    "Chain",
    "Concat",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Heads",
    "History",
    "Layer",
    "LeakyReLU",
    "LocalResponseNormalization",
    "MaxPool2D",
    "MaxPooling2D",
    "Maxout",
    "PReLU",
    "ReLU",
    "Recorder",
    "Rescaling",
    "Residual",
    "Sequential",
    "Softmax",
    "ZeroPadding2D",
    "augmentation",
    "available_backends",
    "available_isas",
    "callbacks",
    "check_gradients",
    "current_backend",
    "fold_batch_norm",
    "functional",
    "get_num_threads",
    "initializers",
    "losses",
    "metrics",
    "optimizers",
    "preprocessing",
    "regularizers",
    "set_num_threads",
    "show_config",
    "use_backend",
    "use_isa",
    "zoo",
]
