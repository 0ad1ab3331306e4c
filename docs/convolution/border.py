"""What leaving out the padding is worth: ``python docs/convolution/border.py``.

Times the convolutions of the CIFAR-10 network, SAME, forward and on one thread, beside the same
kernel on images that have their padding as zeros in memory: then every window has all its taps.
"""

import argparse

import numpy as np
from intensity import arguments, seconds

import fastnn
from fastnn import backends
from fastnn.geometry import conv2d_geometry

LAYERS = ("cifar10-conv1", "cifar10-conv2", "cifar10-conv3", "cifar10-conv4")


def with_padding(x, w, b, geometry, activation, y):
    """The arguments of a convolution without padding that gives the same y."""
    rows, columns = geometry.rows, geometry.columns
    sides = (0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0)
    x = np.pad(x, sides)
    return x, w, b, conv2d_geometry("border", x.shape[1:], w.shape), activation, np.empty_like(y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of each; the best counts")
    parser.add_argument("--images", type=int, help="in place of the shapes' batch")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    fastnn.set_num_threads(1)
    conv2d = backends.kernels("float32").conv2d
    print(
        f"{'layer':15}{'taps in the image':>18}{'left out, ms':>14}{'as zeros, ms':>14}{'gain':>7}"
    )
    for name in LAYERS:
        given = arguments("conv2d", name, options.images)
        padded = with_padding(*given)
        useful = given[3].multiply_adds / padded[3].multiply_adds
        clipped, whole = (1e3 * seconds(conv2d, a, options.repeats) for a in (given, padded))
        np.testing.assert_allclose(given[-1], padded[-1], rtol=1e-4, atol=1e-3)
        print(f"{name:15}{useful:18.3f}{clipped:14.2f}{whole:14.2f}{1 - clipped / whole:7.1%}")


if __name__ == "__main__":
    main()
