"""Networks of the course, layer by layer as published, from LeNet-5 to a wide ResNet.

Each function returns a ``Sequential`` that knows its shapes but holds no weights yet: these are
drawn when they are first needed, so that ``summary()`` and ``count_params()`` of the largest cost
nothing. Outputs are logits. ``seed`` and ``dtype`` are those of ``Sequential``.

At inputs below 64 pixels a stem that was made for 224 would leave nothing of the image, so it is
another one there, as each function says. All else follows from the input's size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np

from fastnn.errors import unknown
from fastnn.functional import check_count
from fastnn.layers import (
    AveragePooling2D,
    BatchNormalization,
    Branches,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Layer,
    LocalResponseNormalization,
    MaxPool2D,
    Residual,
)
from fastnn.model import Sequential

Shape = tuple[int, ...]
Layers = list[Layer]


class Options(TypedDict, total=False):
    """What all networks hand on to ``Sequential``."""

    dtype: str
    seed: int | None


@dataclass(frozen=True)
class Network:
    """A published network: how to make it, its input and number of classes, and its parameters."""

    make: Callable[..., Sequential]
    arguments: dict[str, Any]
    input_shape: Shape
    classes: int
    parameters: int
    source: str
    variant: str


def get(name: str, **arguments: Any) -> Sequential:
    """A network by its name in ``NETWORKS``; arguments are those of its function."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    network = NETWORKS[name]
    return network.make(**network.arguments | arguments)


# --- chains of convolutions ---------------------------------------------------------------------


def lenet5(
    classes: int = 10, input_shape: Shape = (32, 32, 1), **options: Unpack[Options]
) -> Sequential:
    """LeNet-5, LeCun and others (1998): 61,706 parameters.

    With tanh, plain means in place of trained ones, softmax in place of radial basis functions,
    and every map of the second convolution fed with all of the first, not with a chosen few.
    """
    layers: Layers = [
        Conv2D(6, 5, activation="tanh"),
        AveragePooling2D(2),
        Conv2D(16, 5, activation="tanh"),
        AveragePooling2D(2),
        Flatten(),
        Dense(120, activation="tanh"),
        Dense(84, activation="tanh"),
        Dense(classes),
    ]
    return Sequential(layers, _image(input_shape), **options)


def alexnet(
    classes: int = 1000,
    input_shape: Shape = (224, 224, 3),
    groups: int = 1,
    **options: Unpack[Options],
) -> Sequential:
    """AlexNet: 61,100,840 parameters in one tower, 60,965,224 with ``groups=2``.

    One tower is Krizhevsky's later form (2014, "One weird trick"), as in torchvision. ``groups=2``
    is the network of Krizhevsky, Sutskever and Hinton (2012): two towers that see each other in
    the third convolution, local response normalisation, overlapping pooling in both. Below 64
    pixels the first convolution is 5×5 with stride 1, and pools keep their borders.
    """
    if groups not in (1, 2):
        raise ValueError(f"alexnet: groups must be 1 or 2, got {groups!r}")
    small = _small(input_shape)
    border: Any = "same" if small else "valid"
    filters = (96, 256, 384, 384, 256) if groups == 2 else (64, 192, 384, 256, 256)
    if small:
        layers: Layers = [_conv(filters[0], 5)]
    else:  # 55 × 55 outputs, of 224 as of the 227 that the paper must mean
        padding = ((1, 2), (1, 2)) if groups == 2 else 2
        layers = [_conv(filters[0], 11, 4, padding)]
    for i, (size, own_groups) in enumerate(((5, groups), (3, 1), (3, groups), (3, groups)), 1):
        if i < 3:
            layers += [_response()] if groups == 2 else []
            layers += [MaxPool2D(3, 2, border)]
        layers += [_conv(filters[i], size, groups=own_groups)]
    layers += [MaxPool2D(3, 2, border), Flatten(), *_classifier(classes, dropout_first=True)]
    return Sequential(layers, input_shape, **options)


def zfnet(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """ZFNet, Zeiler and Fergus (2014): 62,357,608 parameters.

    AlexNet with a 7×7 stem of stride 2, one tower, local response normalisation after the pools.
    Below 64 pixels the first two convolutions have stride 1.
    """
    small = _small(input_shape)
    layers: Layers = [
        _conv(96, 7, *((1, "same") if small else (2, 1))),
        MaxPool2D(3, 2, 1),
        _response(),
        _conv(256, 5, *((1, "same") if small else (2, 0))),
        MaxPool2D(3, 2, 1),
        _response(),
        _conv(384, 3),
        _conv(384, 3),
        _conv(256, 3),
        MaxPool2D(3, 2),
        Flatten(),
        *_classifier(classes),
    ]
    return Sequential(layers, input_shape, **options)


def vgg16(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """VGG-16, Simonyan and Zisserman (2015), configuration D: 138,357,544 parameters.

    The same layers at any size from 32 pixels.
    """
    return Sequential(_vgg((2, 2, 3, 3, 3), classes), _image(input_shape), **options)


def vgg19(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """VGG-19, Simonyan and Zisserman (2015), configuration E: 143,667,240 parameters.

    The same layers at any size from 32 pixels.
    """
    return Sequential(_vgg((2, 2, 4, 4, 4), classes), _image(input_shape), **options)


def _vgg(depths: tuple[int, ...], classes: int) -> Layers:
    layers: Layers = []
    for filters, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        layers += [*(_conv(filters, 3) for _ in range(depth)), MaxPool2D(2)]
    return [*layers, Flatten(), *_classifier(classes)]


# --- inception ----------------------------------------------------------------------------------


def googlenet(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """GoogLeNet, Szegedy and others (2015), without its two auxiliary heads: 6,998,552 parameters.

    The paper's layers with 5×5 convolutions and local response normalisation, not the form with
    batch normalisation that torchvision has. Below 64 pixels the stem is one 3×3 convolution with
    192 filters.
    """
    if _small(input_shape):
        layers: Layers = [_conv(192, 3)]
    else:
        layers = [
            _conv(64, 7, 2),
            MaxPool2D(3, 2, "same"),
            _response(),
            _conv(64, 1),
            _conv(192, 3),
            _response(),
            MaxPool2D(3, 2, "same"),
        ]
    stages = (
        ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
        (
            (192, 96, 208, 16, 48, 64),
            (160, 112, 224, 24, 64, 64),
            (128, 128, 256, 24, 64, 64),
            (112, 144, 288, 32, 64, 64),
            (256, 160, 320, 32, 128, 128),
        ),
        ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
    )
    for i, stage in enumerate(stages):
        layers += [MaxPool2D(3, 2, "same")] if i else []
        layers += [_inception(*filters) for filters in stage]
    layers += [GlobalAveragePooling2D(), Dropout(0.4), Dense(classes)]
    return Sequential(layers, input_shape, **options)


def _inception(one: int, before3: int, three: int, before5: int, five: int, pooled: int) -> Layer:
    return Branches(
        [
            _conv(one, 1),
            [_conv(before3, 1), _conv(three, 3)],
            [_conv(before5, 1), _conv(five, 5)],
            [MaxPool2D(3, 1, "same"), _conv(pooled, 1)],
        ]
    )


# --- shortcuts ----------------------------------------------------------------------------------


def resnet18(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """ResNet-18, He and others (2016), with 1×1 shortcuts: 11,689,512 parameters.

    Below 64 pixels the stem is a 3×3 convolution without pooling.
    """
    return Sequential(
        _resnet((2, 2, 2, 2), _basic, 1, classes, input_shape), input_shape, **options
    )


def resnet50(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """ResNet-50, He and others (2016), with bottlenecks: 25,557,032 parameters.

    The stride is in the 3×3 convolution of a block, as in torchvision ("v1.5"); the paper has it
    in the first 1×1, with as many parameters. Below 64 pixels as ``resnet18``.
    """
    return Sequential(
        _resnet((3, 4, 6, 3), _bottleneck, 4, classes, input_shape), input_shape, **options
    )


def resnet152(
    classes: int = 1000, input_shape: Shape = (224, 224, 3), **options: Unpack[Options]
) -> Sequential:
    """ResNet-152, He and others (2016), with bottlenecks as ``resnet50``: 60,192,808 parameters."""
    return Sequential(
        _resnet((3, 8, 36, 3), _bottleneck, 4, classes, input_shape), input_shape, **options
    )


def _resnet(
    depths: tuple[int, ...],
    block: Callable[[int, int], Layers],
    expansion: int,
    classes: int,
    input_shape: Shape,
) -> Layers:
    if _small(input_shape):
        layers = _normalized(64, 3)
    else:
        layers = [*_normalized(64, 7, 2), MaxPool2D(3, 2, 1)]
    channels = 64
    for i, depth in enumerate(depths):
        filters = 64 << i
        for j in range(depth):
            strides = 2 if i and not j else 1
            shortcut: Layers = []
            if strides > 1 or channels != filters * expansion:
                shortcut = _normalized(filters * expansion, 1, strides, None)
            layers.append(Residual(block(filters, strides), shortcut, "relu"))
            channels = filters * expansion
    return [*layers, GlobalAveragePooling2D(), Dense(classes)]


def _basic(filters: int, strides: int) -> Layers:
    return [*_normalized(filters, 3, strides), *_normalized(filters, 3, 1, None)]


def _bottleneck(filters: int, strides: int) -> Layers:
    return [
        *_normalized(filters, 1),
        *_normalized(filters, 3, strides),
        *_normalized(4 * filters, 1, 1, None),
    ]


def wrn(
    classes: int = 10,
    input_shape: Shape = (32, 32, 3),
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
    **options: Unpack[Options],
) -> Sequential:
    """A wide ResNet, Zagoruyko and Komodakis (2016); WRN-28-10: 36,479,194 parameters.

    ``depth`` is 6 n + 4, for n blocks in each of three stages of 16, 32 and 64 times ``width``
    filters. Normalisation and ReLU come before a convolution. ``dropout`` between the two
    convolutions of a block is 0 or, in the paper, 0.3. From 64 pixels the stem is that of
    ``resnet18``, with 16 filters.
    """
    check_count("wrn: depth", depth, 10)
    if (depth - 4) % 6:
        raise ValueError(f"wrn: depth must be 6 n + 4, got {depth}")
    check_count("wrn: width", width, 1)
    layers: Layers = [_plain(16, 3)]
    if not _small(input_shape):
        layers = [_plain(16, 7, 2), MaxPool2D(3, 2, 1)]
    channels = 16
    for i in range(3):
        filters = (16 << i) * width
        for j in range((depth - 4) // 6):
            strides = 2 if i and not j else 1
            main: Layers = [_plain(filters, 3, strides), _norm("relu")]
            main += [Dropout(dropout)] if dropout else []
            main += [_plain(filters, 3)]
            if strides > 1 or channels != filters:  # both branches read what is normalised
                layers += [_norm("relu"), Residual(main, _plain(filters, 1, strides))]
            else:
                layers += [Residual([_norm("relu"), *main])]
            channels = filters
    layers += [_norm("relu"), GlobalAveragePooling2D(), Dense(classes)]
    return Sequential(layers, input_shape, **options)


# --- pieces -------------------------------------------------------------------------------------


def _image(input_shape: Shape) -> Shape:
    images = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    if not images or not all(isinstance(n, int | np.integer) for n in input_shape):
        raise ValueError(f"zoo: input_shape must be (H, W, C), got {input_shape!r}")
    return input_shape


def _small(input_shape: Shape) -> bool:
    return min(_image(input_shape)[:2]) < 64


def _conv(
    filters: int, size: int, strides: int = 1, padding: Any = "same", groups: int = 1
) -> Layer:
    """A convolution with bias and ReLU."""
    return Conv2D(
        filters, size, strides, padding, groups=groups, activation="relu",
        kernel_initializer="he_normal",
    )  # fmt: skip


def _plain(filters: int, size: int, strides: int = 1) -> Layer:
    """A convolution for a normalisation to follow or precede: the same border on all sides."""
    return Conv2D(filters, size, strides, size // 2, use_bias=False, kernel_initializer="he_normal")


def _norm(activation: str | None) -> Layer:
    return BatchNormalization(momentum=0.9, epsilon=1e-5, activation=activation)


def _normalized(
    filters: int, size: int, strides: int = 1, activation: str | None = "relu"
) -> Layers:
    return [_plain(filters, size, strides), _norm(activation)]


def _response() -> Layer:
    """Krizhevsky's: (2 + 1e-4 Σ x²)^0.75 over five maps; the layer's α is for the mean of x²."""
    return LocalResponseNormalization(5, alpha=5e-4, beta=0.75, bias=2.0)


def _classifier(classes: int, dropout_first: bool = False) -> Layers:
    """Two dense layers of 4096 with dropout after each or, as torchvision's AlexNet, before."""
    layers: Layers = []
    for _ in range(2):
        dense = Dense(4096, activation="relu", kernel_initializer="he_normal")
        layers += [Dropout(0.5), dense] if dropout_first else [dense, Dropout(0.5)]
    return [*layers, Dense(classes)]


_IMAGENET = (224, 224, 3)

#: Networks by name, at their published inputs.
NETWORKS: dict[str, Network] = {
    "lenet5": Network(
        lenet5, {}, (32, 32, 1), 10, 61_706, "LeCun and others (1998)",
        "all maps connected, plain means, softmax",
    ),
    "alexnet": Network(
        alexnet, {}, _IMAGENET, 1000, 61_100_840, "Krizhevsky (2014)", "one tower, torchvision's",
    ),
    "alexnet-groups": Network(
        alexnet, {"groups": 2}, _IMAGENET, 1000, 60_965_224,
        "Krizhevsky, Sutskever and Hinton (2012)", "the paper's two towers",
    ),
    "zfnet": Network(
        zfnet, {}, _IMAGENET, 1000, 62_357_608, "Zeiler and Fergus (2014)", "one tower",
    ),
    "vgg16": Network(
        vgg16, {}, _IMAGENET, 1000, 138_357_544, "Simonyan and Zisserman (2015)", "configuration D",
    ),
    "vgg19": Network(
        vgg19, {}, _IMAGENET, 1000, 143_667_240, "Simonyan and Zisserman (2015)", "configuration E",
    ),
    "googlenet": Network(
        googlenet, {}, _IMAGENET, 1000, 6_998_552, "Szegedy and others (2015)",
        "without auxiliary heads",
    ),
    "resnet18": Network(
        resnet18, {}, _IMAGENET, 1000, 11_689_512, "He and others (2016)", "1×1 shortcuts",
    ),
    "resnet50": Network(
        resnet50, {}, _IMAGENET, 1000, 25_557_032, "He and others (2016)", "stride in the 3×3",
    ),
    "resnet152": Network(
        resnet152, {}, _IMAGENET, 1000, 60_192_808, "He and others (2016)", "stride in the 3×3",
    ),
    "wrn-28-10": Network(
        wrn, {}, (32, 32, 3), 10, 36_479_194, "Zagoruyko and Komodakis (2016)", "without dropout",
    ),
}  # fmt: skip
