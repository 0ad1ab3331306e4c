"""Windows over images: counted one by one, against TensorFlow's sizes, and every bad argument."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from fastnn.geometry import (
    MAX_SIZE,
    Axis,
    check_bytes,
    conv2d_geometry,
    pads,
    pool2d_geometry,
)

IMAGE = (7, 9, 4)
W = (3, 2, 4, 8)


def test_windows_and_taps_one_by_one():
    """Against a walk over the padded axis: where windows begin, and which taps meet the image."""
    count = 0
    for size, kernel, stride, dilation, before, after in product(
        range(1, 7), range(1, 5), (1, 2, 3), (1, 2, 3), range(4), (0, 1, 3)
    ):
        axis = Axis(size, kernel, stride, dilation, before, after)
        padded = range(-before, size + after)
        taps = [t * dilation for t in range(kernel)]
        if taps[-1] >= len(padded):
            continue
        windows = [start for start in padded[::stride] if start + taps[-1] in padded]
        assert axis.span == taps[-1] + 1
        assert axis.out == len(windows)
        inside = [[t for t, at in enumerate(taps) if 0 <= s + at < size] for s in windows]
        assert [list(axis.taps_inside(o)) for o in range(axis.out)] == inside, axis
        assert axis.inside == sum(map(len, inside))
        count += 1
    assert count > 2000


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "out", "before", "after"),
    [
        # The sizes and pads of tf.nn.conv2d(padding="SAME"): the odd element at the end.
        (32, 5, 1, 1, 32, 2, 2),
        (32, 3, 2, 1, 16, 0, 1),
        (33, 3, 2, 1, 17, 1, 1),
        (224, 7, 2, 1, 112, 2, 3),
        (13, 6, 5, 1, 3, 1, 2),
        (5, 2, 1, 1, 5, 0, 1),
        (5, 1, 2, 1, 3, 0, 0),
        (7, 2, 3, 1, 3, 0, 1),
        (4, 1, 3, 1, 2, 0, 0),
        (10, 3, 1, 2, 10, 2, 2),
        (10, 4, 2, 2, 5, 2, 3),
        (2, 5, 1, 1, 2, 2, 2),
        (1, 3, 4, 1, 1, 1, 1),
    ],
)
def test_same_padding_is_tensorflows(size, kernel, stride, dilation, out, before, after):
    image, w = (size, 3, 1), (kernel, 1, 1, 1)
    rows = conv2d_geometry("conv2d", image, w, (stride, 1), "same", (dilation, 1)).rows
    assert (rows.out, rows.before, rows.after) == (out, before, after)
    image = (3, size, 1)
    columns = pool2d_geometry("p", image, (1, kernel), (1, stride), "same", (1, dilation)).columns
    assert columns == rows


def test_arguments_go_to_their_axis():
    geometry = conv2d_geometry("c", (11, 13, 6), (3, 2, 2, 9), (2, 3), ((1, 2), (3, 4)), (4, 5), 3)
    assert geometry.rows == Axis(11, 3, 2, 4, 1, 2)
    assert geometry.columns == Axis(13, 2, 3, 5, 3, 4)
    assert geometry.in_shape == (11, 13, 6)
    assert geometry.out_shape == (3, 5, 9)
    assert geometry.w_shape == (3, 2, 2, 9)
    assert geometry.taps == 6
    assert conv2d_geometry("c", IMAGE, W, padding=2).rows == Axis(7, 3, 1, 1, 2, 2)
    numbers = conv2d_geometry("c", IMAGE, W, np.int64(2), [[1, 1], [0, 0]], [1, np.int32(2)])
    assert numbers == conv2d_geometry("c", IMAGE, W, 2, ((1, 1), (0, 0)), (1, 2))
    assert {type(n) for n in vars(numbers.rows).values()} == {int}
    assert pads("p", "same") == pads("p", "valid") == ((0, 0), (0, 0))


def test_pools():
    """Strides are the size of the window unless said otherwise; a byte counts to 255."""
    assert pool2d_geometry("p", IMAGE, (2, 3)).out_shape == (3, 3, 4)
    assert pool2d_geometry("p", IMAGE, (2, 3), 1).out_shape == (6, 7, 4)
    assert pool2d_geometry("p", IMAGE, IMAGE[:2]).out_shape == (1, 1, 4)
    assert pool2d_geometry("p", (16, 16, 1), 16).index_dtype == np.uint8
    assert pool2d_geometry("p", (257, 1, 1), (257, 1)).index_dtype == np.int32


def test_useful_multiply_adds():
    """By counting: of a 3x3 kernel over 4x5 pixels, 9 taps inside, 6 at an edge, 4 in a corner."""
    geometry = conv2d_geometry("c", (4, 5, 6), (3, 3, 3, 10), padding="same", groups=2)
    assert geometry.multiply_adds == (6 * 9 + 10 * 6 + 4 * 4) * 3 * 10
    assert conv2d_geometry("c", (4, 5, 6), (3, 3, 6, 10)).multiply_adds == 6 * 9 * 6 * 10


def conv(image=IMAGE, w=W, **named):
    return conv2d_geometry("conv2d", image, w, **named)


def pool(image=IMAGE, size=3, **named):
    return pool2d_geometry("max_pool2d", image, size, **named)


PADS = "padding must be 'valid', 'same', an integer >= 0 or ((top, bottom), (left, right)), got "


@pytest.mark.parametrize(
    ("call", "named", "text"),
    [
        *(
            (call, {name: bad}, f"{op}: {name} must be {expected}, got {bad}")
            for call, op, names in (
                (conv, "conv2d", ("strides", "dilation", "groups")),
                (pool, "max_pool2d", ("strides", "dilation")),
            )
            for name in names
            for bad, expected in (
                (0, f"in 1..{MAX_SIZE}"),
                (-2, f"in 1..{MAX_SIZE}"),
                (2**31, f"in 1..{MAX_SIZE}"),
                (True, "an integer >= 1"),
                (1.0, "an integer >= 1"),
            )
        ),
        (conv, {"strides": (1, 0)}, f"conv2d: strides[1] must be in 1..{MAX_SIZE}, got 0"),
        (conv, {"strides": (None, 1)}, "conv2d: strides[0] must be an integer >= 1, got None"),
        (conv, {"strides": "2"}, "conv2d: strides must be an integer >= 1, got '2'"),
        (conv, {"dilation": (1, True)}, "conv2d: dilation[1] must be an integer >= 1, got True"),
        (conv, {"dilation": [1]}, "conv2d: dilation must be an integer or a pair, got [1]"),
        (conv, {"groups": (1, 1)}, "conv2d: groups must be an integer >= 1, got (1, 1)"),
        (pool, {"size": 0}, f"max_pool2d: pool_size must be in 1..{MAX_SIZE}, got 0"),
        (pool, {"size": (2, -1)}, f"max_pool2d: pool_size[1] must be in 1..{MAX_SIZE}, got -1"),
        (pool, {"size": 2.0}, "max_pool2d: pool_size must be an integer >= 1, got 2.0"),
        (pool, {"size": (1, 2, 3)}, "max_pool2d: pool_size must be an integer or a pair, got"),
        *(
            (conv, {"w": w}, f"conv2d: w must have no size of 0, got {w} as KH,KW,C,O")
            for w in ((0, 3, 4, 8), (3, 0, 4, 8), (3, 3, 0, 8), (3, 3, 4, 0))
        ),
        *((conv, {"padding": bad}, f"conv2d: {PADS}{bad!r}") for bad in (
            -1, 1.0, True, None, (1, 1), ((0, 0),), ((0, -1), (0, 0)), ((0, 0), (0, 1.0)),
            ((0, 0), (False, 0)), ((0, 0, 0), (0, 0)), 2**31,
        )),
        (conv, {"padding": "SAME"}, "unknown padding for conv2d 'SAME'"),
        (conv, {"padding": "samme"}, "unknown padding for conv2d 'samme'"),
        (conv, {"image": (0, 9, 4)}, "conv2d: x must have H >= 1 and W >= 1, got (N, 0, 9, 4)"),
        (pool, {"image": (7, 0, 4)}, "max_pool2d: x must have H >= 1 and W >= 1, got"),
        (pool, {"image": (7, 9, 0)}, "max_pool2d: x must have C >= 1, got (N, 7, 9, 0)"),
        (conv, {"image": (2, 9, 4)},
         "conv2d: the window's height 3 (kernel 3, dilation 1) is larger than the padded input's 2 "
         "(size 2, padding 0, 0)"),
        (conv, {"dilation": (1, 9)},
         "conv2d: the window's width 10 (kernel 2, dilation 9) is larger than the padded input's 9 "
         "(size 9, padding 0, 0)"),
        (pool, {"size": (3, 12), "padding": ((0, 0), (0, 2))},
         "max_pool2d: the window's width 12 (kernel 12, dilation 1) is larger than the padded "
         "input's 11 (size 9, padding 0, 2)"),
        (conv, {"padding": ((MAX_SIZE, 0), (0, 0))},
         f"conv2d: the padded height must be at most {MAX_SIZE}, got {MAX_SIZE + 7}"),
        (conv, {"dilation": MAX_SIZE, "padding": "same"},
         f"conv2d: the padded height must be at most {MAX_SIZE}, got "),
        (conv, {"w": (3, 2, 3, 8)},
         "conv2d: x has C=4 but w expects C=3 (x: (N, 7, 9, 4) as N,H,W,C; w: (3, 2, 3, 8) as "
         "KH,KW,C/G,O)"),
        (conv, {"groups": 2}, "conv2d: x has C=4 but w expects C=8 (C/G=4, G=2)"),
        (conv, {"groups": 3}, "conv2d: groups=3 must divide C=4 of x and O=8 of w"),
        (conv, {"groups": 4, "w": (3, 2, 1, 6)},
         "conv2d: groups=4 must divide C=4 of x and O=6 of w"),
        (pool, {"padding": ((3, 0), (0, 0))},
         "max_pool2d: a window lies wholly in the padding along the height: padding (3, 0) for a "
         "window of 3"),
        (pool, {"padding": ((0, 0), (0, 3)), "strides": 1},
         "max_pool2d: a window lies wholly in the padding along the width: padding (0, 3) for a "
         "window of 3"),
    ],
)  # fmt: skip
def test_bad_arguments(call, named, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        call(**named)


def test_arrays_too_large_to_be_addressed():
    check_bytes("im2col", "columns", (2**30, 2**30), 4)
    text = "im2col: columns would have shape (1073741824, 2147483648), 9.22e+18 bytes"
    with pytest.raises(ValueError, match=re.escape(text)):
        check_bytes("im2col", "columns", (2**30, 2**31), 4)
    check_bytes("im2col", "columns", (0, 2**62), 8)


def test_a_window_in_the_padding_is_refused_wherever_it_lies():
    """Also where dilation jumps over the image, and where the windows at the ends meet it."""
    with pytest.raises(ValueError, match="wholly in the padding"):
        pool((1, 9, 4), (2, 1), padding=((1, 1), (0, 0)), dilation=(2, 1), strides=1)
    for size, kernel, stride, dilation, before, after in product(
        range(1, 5), (1, 2, 3), (1, 2), (1, 2, 3), range(4), range(4)
    ):
        axis = Axis(size, kernel, stride, dilation, before, after)
        if axis.out < 1 or size + before + after < axis.span:
            continue
        arguments = ((size, 1, 1), (kernel, 1), (stride, 1), ((before, after), (0, 0)))
        if all(axis.taps_inside(o) for o in range(axis.out)):
            pool2d_geometry("p", *arguments, (dilation, 1))
        else:
            with pytest.raises(ValueError, match="wholly in the padding"):
                pool2d_geometry("p", *arguments, (dilation, 1))
