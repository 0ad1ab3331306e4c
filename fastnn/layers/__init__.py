"""Layers. Each file holds one family; ``base.py`` says what a layer is."""

from fastnn.layers.activation import Activation
from fastnn.layers.base import Layer
from fastnn.layers.dense import Dense
from fastnn.layers.heads import Heads
from fastnn.layers.rescaling import Rescaling
from fastnn.layers.reshape import Flatten
from fastnn.layers.sequence import Chain

__all__ = ["Activation", "Chain", "Dense", "Flatten", "Heads", "Layer", "Rescaling"]
