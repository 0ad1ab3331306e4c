"""Inputs that brought down another framework's kernels, by the number of its advisory.

TensorFlow's convolutions and pools divided by zero, or reached out of bounds, when they were called
with shapes and strides that nobody had checked. Here the same calls, and their neighbours, are
errors that name the argument, raised before a kernel runs, or the empty result where emptiness is
legal. Each test begins with the advisory's own input.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastnn import AveragePooling2D, Conv2D, MaxPool2D
from fastnn import functional as F
from fastnn.geometry import conv2d_geometry, pool2d_geometry

NOTHING = np.empty((0, 0, 0, 0))


def refused(text, call, *arguments, **named):
    with pytest.raises(ValueError, match=re.escape(text)):
        call(*arguments, **named)


def test_cve_2021_29526_convolution_with_an_empty_filter(backend):
    """Conv2D, where both x and w are (0, 0, 0, 0): C was taken modulo the depth of w."""
    refused("conv2d: x must have H, W and C >= 1, got (0, 0, 0, 0)", F.conv2d,
            NOTHING, NOTHING, padding="same")  # fmt: skip
    x = np.ones((1, 1, 1, 1))
    for shape in ((0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (0, 0, 0, 0)):
        refused(f"conv2d: w must have no size of 0, got {shape}", F.conv2d,
                x, np.empty(shape), padding="same")  # fmt: skip


def test_cve_2021_29525_input_gradient_of_an_empty_filter(backend):
    """Conv2DBackpropInput with w (0, 1, 5, 0): the working set, by whose size the work was cut,
    was 0."""
    op = "conv2d_backward: "
    refused(f"{op}w must have no size of 0, got (0, 1, 5, 0)", F.conv2d_backward,
            np.ones((52, 1, 1, 5)), np.empty((0, 1, 5, 0)), np.empty((52, 1, 1, 0)),
            padding="same")  # fmt: skip
    refused("col2im: kernel_size[0] must be in 1..", F.col2im,
            np.empty((52, 0)), (52, 1, 1, 5), (0, 1), padding="same")  # fmt: skip
    refused("col2im: x_shape must have H, W and C >= 1", F.col2im,
            np.empty((52, 0)), (52, 1, 1, 0), 1)  # fmt: skip


def test_cve_2021_29524_filter_gradient_of_images_without_depth(backend):
    """Conv2DBackpropFilter with x (0, 0, 1, 0), dy (0, 0, 1, 1) and strides of 66 and 18: C was
    taken modulo the depth of w. Then a depth that isn't that of w, and one that doesn't divide."""
    op, dy = "conv2d_backward: ", np.ones((1, 1, 1, 2))
    refused(f"{op}x must have H, W and C >= 1, got (0, 0, 1, 0)", F.conv2d_backward,
            np.empty((0, 0, 1, 0)), np.ones((1, 1, 1, 1)), np.empty((0, 0, 1, 1)),
            strides=(66, 18), padding="same")  # fmt: skip
    refused(f"{op}w must have no size of 0, got (1, 1, 0, 2)", F.conv2d_backward,
            np.ones((1, 1, 1, 3)), np.empty((1, 1, 0, 2)), dy)  # fmt: skip
    refused(f"{op}x has C=3 but w expects C=2", F.conv2d_backward,
            np.ones((1, 1, 1, 3)), np.ones((1, 1, 2, 2)), dy, strides=(66, 18))  # fmt: skip
    refused(f"{op}groups=2 must divide C=3 of x", F.conv2d_backward,
            np.ones((1, 1, 1, 3)), np.ones((1, 1, 2, 2)), dy, groups=2)  # fmt: skip
    # Strides beyond the image are legal: one window.
    _, dw, _ = F.conv2d_backward(
        np.full((1, 1, 1, 1), 3.0), np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 2.0),
        strides=(66, 18), padding="same",
    )  # fmt: skip
    assert dw.item() == 6


def test_cve_2021_29538_filter_gradient_of_nothing(backend):
    """Conv2DBackpropFilter where x, w and dy are (0, 0, 0, 0): the working set was 0. An empty
    batch alone is legal, and gives zeros."""
    refused("conv2d_backward: x must have H, W and C >= 1, got (0, 0, 0, 0)", F.conv2d_backward,
            NOTHING, NOTHING, NOTHING, padding="same")  # fmt: skip
    refused("conv2d_backward: w must have no size of 0, got (0, 0, 0, 0)", F.conv2d_backward,
            np.empty((0, 3, 3, 1)), NOTHING, NOTHING, padding="same")  # fmt: skip
    w = np.ones((3, 3, 1, 2))
    dx, dw, db = F.conv2d_backward(np.empty((0, 3, 3, 1)), w, np.empty((0, 1, 1, 2)))
    assert dx.shape == (0, 3, 3, 1)
    np.testing.assert_array_equal(dw, np.zeros_like(w))
    np.testing.assert_array_equal(db, np.zeros(2))


def test_cve_2021_29573_pool_gradient_of_an_empty_batch(backend):
    """MaxPoolGradWithArgmax with x and dy (0, 0, 0, 0) and no indices: the number of indices was
    divided by the batch. An empty batch of images is legal."""
    op, none = "max_pool2d_backward: ", np.empty((0,), np.uint8)
    refused(f"{op}x_shape must have H, W and C >= 1, got (0, 0, 0, 0)", F.max_pool2d_backward,
            NOTHING, none, (0, 0, 0, 0), 1, 1, "same")  # fmt: skip
    shape = (0, 1, 1, 1)
    dy, idx = np.empty(shape), np.empty(shape, np.uint8)
    refused(f"{op}idx must have shape {shape} (that of dy), got (0,)", F.max_pool2d_backward,
            dy, none, shape, 1)  # fmt: skip
    refused(f"{op}dy must have shape {shape}", F.max_pool2d_backward,
            np.ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1), np.uint8), shape, 1)  # fmt: skip
    assert F.max_pool2d_backward(dy, idx, shape, 1, 1, "same").shape == shape


def test_cve_2021_29579_pool_gradient_of_another_shape(backend):
    """MaxPoolGrad of x (1, 1, 1, 1) with a gradient of (0, 0, 0, 0), past whose end it read. Then
    other shapes, and indices past the end of dx, to which it would write."""
    op, one = "max_pool2d_backward: ", np.zeros((1, 1, 1, 1), np.uint8)
    refused(f"{op}dy must have shape (1, 1, 1, 1) (N, OH, OW, C), got (0, 0, 0, 0)",
            F.max_pool2d_backward, NOTHING, one, (1, 1, 1, 1), 1, 1, "same")  # fmt: skip
    shape, dy, idx = (1, 4, 4, 1), np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1), np.uint8)
    for other in ((1, 1, 1, 1), (1, 4, 4, 1), (2, 2, 2, 1), (1, 2, 2, 2), (4,), ()):
        refused(f"{op}dy must have shape (1, 2, 2, 1)", F.max_pool2d_backward,
                np.ones(other), idx, shape, 2)  # fmt: skip
        refused(f"{op}idx must have shape (1, 2, 2, 1)", F.max_pool2d_backward,
                dy, np.zeros(other, np.uint8), shape, 2)  # fmt: skip
    for bad in (4, 17, 255):
        refused(f"{op}idx must be positions in the window that lie in the image, got {bad}",
                F.max_pool2d_backward, dy, np.full_like(idx, bad), shape, 2)  # fmt: skip
    refused(f"{op}idx must be uint8", F.max_pool2d_backward, dy, idx.astype(int) - 9, shape, 2)


@pytest.mark.parametrize("stride", [0, -1, (0, 1), (1, 0), (2, -3)])
def test_cve_2021_29586_pool_with_a_zero_stride(stride):
    """Pooling with a stride of 0, by which the padding's size was divided, before any kernel."""
    x = np.ones((1, 4, 4, 1))
    for padding in ("same", "valid", 1):
        for pool in (F.max_pool2d, F.average_pool2d):
            refused(f"{pool.__name__}: strides", pool, x, 2, stride, padding)
        refused("max_pool2d_backward: strides", F.max_pool2d_backward,
                x, x.astype(np.uint8), x.shape, 2, stride, padding)  # fmt: skip
    for layer in (MaxPool2D, AveragePooling2D):
        refused(f"{layer.__name__}: strides", layer, 2, stride)


def test_cve_2021_37675_shapes_of_a_convolution_of_nothing():
    """Shape inference of Conv2D with x and w (0, 0, 0, 0), which divided by sizes of w. Then each
    of the sizes and steps that a shape is computed from."""
    refused("conv: w must have no size of 0", conv2d_geometry, "conv", (0, 0, 0), (0, 0, 0, 0),
            padding="same")  # fmt: skip
    image, w_shape = (4, 4, 2), (2, 2, 2, 2)
    for empty in ((0, 4, 2), (4, 0, 2)):
        refused("conv: x must have H >= 1 and W >= 1", conv2d_geometry, "conv", empty, w_shape)
    refused("conv: x has C=0 but w expects C=2", conv2d_geometry, "conv", (4, 4, 0), w_shape)
    for padding in ("same", "valid"):
        for i in range(4):
            empty = tuple(0 if i == j else n for j, n in enumerate(w_shape))
            refused("conv: w must have no size of 0", conv2d_geometry,
                    "conv", image, empty, padding=padding)  # fmt: skip
        for name in ("strides", "dilation", "groups"):
            refused(f"conv: {name} must be in 1..", conv2d_geometry,
                    "conv", image, w_shape, padding=padding, **{name: 0})  # fmt: skip
        refused("pool: pool_size must be in 1..", pool2d_geometry, "pool", image, 0, 1, padding)
    for name in ("filters", "kernel_size", "strides", "dilation_rate", "groups"):
        refused(f"Conv2D: {name} must be in 1..", Conv2D,
                **{"filters": 1, "kernel_size": 2, name: 0})  # fmt: skip


def test_cve_2022_21725_size_formula_with_a_zero_stride():
    """AvgPoolGrad of x (1, 1, 1, 1) with dy (3, 1, 3, 1) and a stride of 0 across, by which the
    cost estimate divided. Ours reads a geometry, which there isn't for such a stride."""
    refused("average_pool2d_backward: strides[1] must be in 1..", F.average_pool2d_backward,
            np.ones((3, 1, 3, 1)), (1, 1, 1, 1), 1, (1, 0), "valid")  # fmt: skip
    for padding in ("valid", "same", 0):
        for stride in (0, (0, 1), (1, 0)):
            refused("conv: strides", conv2d_geometry, "conv", (4, 4, 1), (2, 2, 1, 1), stride,
                    padding)  # fmt: skip
            refused("pool: strides", pool2d_geometry, "pool", (4, 4, 1), 2, stride, padding)
            refused("im2col: strides", F.im2col, np.ones((1, 4, 4, 1)), 2, stride, padding)
    assert conv2d_geometry("conv", (4, 4, 1), (2, 2, 1, 1)).multiply_adds == 36
