"""Dense layers as convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from fastnn.layers.activation import Activation
from fastnn.layers.base import Layer
from fastnn.layers.conv import Conv2D
from fastnn.layers.dense import Dense
from fastnn.layers.dropout import Dropout
from fastnn.layers.normalization import BatchNormalization
from fastnn.layers.pool import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPool2D,
)
from fastnn.layers.rescaling import Rescaling
from fastnn.layers.reshape import Flatten


def convolutional(where: str, layers: Sequence[Layer]) -> list[Layer]:
    """Built layers with the dense ones, and what makes features of images, as windows over images.

    The others are handed on as they are. Raises ``ValueError``, naming ``where``, where that can't
    be.
    """
    found: list[Layer] = []
    window: tuple[int, ...] = ()  # of the features since the image ended
    for layer in layers:
        if isinstance(layer, (Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D)):
            if window or len(layer.input_shape) != 3:
                raise _unfit(where, layer, "needs images")
            window = layer.input_shape[:2]
            if not isinstance(layer, Flatten):
                pool = AveragePooling2D if isinstance(layer, AveragePooling2D) else MaxPool2D
                found.append(pool(window, 1, name=layer.name))
                window = (1, 1)
        elif type(layer) is Dense:  # one that makes more of it isn't a convolution
            if not window:
                raise _unfit(where, layer, "needs Flatten or a global pooling before it")
            found.append(_convolution(layer, window))
            window = (1, 1)
        elif window and not (
            isinstance(layer, (Dropout, Rescaling))
            or (isinstance(layer, Activation) and layer.f.name != "softmax")
            # Of a larger window they take features of all places together.
            or (isinstance(layer, (Activation, BatchNormalization)) and window == (1, 1))
        ):
            raise _unfit(where, layer, "can't follow the image's features")
        else:
            found.append(layer)
    if window not in ((), (1, 1)):
        flatten = next(layer for layer in layers if isinstance(layer, Flatten))
        raise _unfit(where, flatten, "needs a dense layer after it")
    return found


def _convolution(layer: Dense, window: tuple[int, ...]) -> Layer:
    """w (H·W·C, units) as (H, W, C, units): the same numbers in the same order."""
    made = Conv2D(
        layer.units, window, activation=layer.activation, use_bias=layer.use_bias,
        kernel_initializer=layer.kernel_initializer, bias_initializer=layer.bias_initializer,
        kernel_regularizer=layer.kernel_regularizer, name=layer.name,
    )  # fmt: skip
    made.trainable = layer.trainable
    return made


def _unfit(where: str, layer: Layer, why: str) -> ValueError:
    return ValueError(f"{where}: {type(layer).__name__} {layer.name!r} {why}")
