"""Layers. Each file holds one family; ``base.py`` says what a layer is."""

from fastnn.layers.activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from fastnn.layers.base import Layer
from fastnn.layers.branches import Add, Branches, Concat, Residual
from fastnn.layers.conv import Conv2D, DepthwiseConv2D
from fastnn.layers.dense import Dense
from fastnn.layers.dropout import AlphaDropout, Dropout
from fastnn.layers.heads import Heads
from fastnn.layers.maxout import Maxout
from fastnn.layers.normalization import BatchNormalization, LocalResponseNormalization
from fastnn.layers.pool import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from fastnn.layers.rescaling import Rescaling
from fastnn.layers.reshape import Flatten, ZeroPadding2D
from fastnn.layers.sequence import Chain

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "AlphaDropout",
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
    "Layer",
    "LeakyReLU",
    "LocalResponseNormalization",
    "MaxPool2D",
    "MaxPooling2D",
    "Maxout",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Residual",
    "Softmax",
    "ZeroPadding2D",
]
