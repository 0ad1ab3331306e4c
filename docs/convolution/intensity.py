"""What bounds a layer, arithmetic or memory: ``python docs/convolution/intensity.py``.

Flops and bytes are those of the op table: every array read or written once. The machine's two
rates, of multiply-adds in registers and of reading memory, come from ``fastnn/limits.py``, which
needs a C compiler. Their quotient is the ridge: what does fewer flops per byte waits for memory,
however good its kernel. Each layer is also timed, on the backend in force.
"""

import argparse
import inspect
import sys
import time
from pathlib import Path

import numpy as np

import fastnn
from fastnn import backends
from fastnn.ops import FUSED_ACTIVATIONS, OPS

sys.path.append(str(Path(__file__).parents[2]))  # for bench/, which isn't installed
from bench import shapes
from fastnn.limits import Limits, NoLimits

STREAM = 1 << 26  # floats to read: 256 MB, more than any cache

LAYERS = (
    ("conv2d", "cifar10-conv1"),
    ("conv2d", "cifar10-conv2"),
    ("conv2d_dx", "cifar10-conv2"),
    ("conv2d_dw", "cifar10-conv2"),
    ("conv2d", "cifar10-conv3"),
    ("conv2d", "cifar10-conv4"),
    ("conv2d", "vgg16-conv1_2"),
    ("conv2d", "resnet50-56-3x3-64-64"),
    ("conv2d", "resnet50-56-1x1-64-64"),
    ("conv2d", "resnet50-56-1x1-64-256"),
    ("conv2d", "resnet50-56-1x1-256-64"),
    ("conv2d", "resnet50-7-1x1-2048-512"),
    ("conv2d", "lenet5-c1"),
    ("conv2d", "tail-depthwise"),
    ("max_pool2d", "cifar10-pool1"),
    ("max_pool2d_backward", "cifar10-pool1"),
)


def arguments(op, shape, images=None):
    """What the op takes, for a shape of ``bench/shapes``, with another batch if one is given."""
    pool = shape in shapes.POOL
    sizes = (shapes.POOL if pool else shapes.CONV)[shape]
    sizes = sizes | {"n": images or sizes["n"]}
    geometry = (shapes.pool_geometry if pool else shapes.conv_geometry)(sizes)
    x, y = (sizes["n"], *geometry.in_shape), (sizes["n"], *geometry.out_shape)
    rng = np.random.default_rng(0)
    given = {"geometry": geometry, "activation": FUSED_ACTIVATIONS["relu"]}
    for name, size in {"x": x, "dx": x, "y": y, "dy": y, "dz": y}.items():
        given[name] = rng.standard_normal(size, np.float32)
    if pool:
        given["index"] = np.full(y, geometry.taps // 2, geometry.index_dtype)
    else:
        given["w"] = rng.standard_normal(geometry.w_shape, np.float32)
        given["b"], given["dw"] = given["w"][0, 0, 0].copy(), given["w"].copy()
    names = inspect.signature(OPS[op].bytes).parameters
    return [given[name] for name in names]


def seconds(kernel, given, repeats):
    """The shortest of some runs, after one that isn't timed."""
    kernel(*given)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        kernel(*given)
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the best counts")
    parser.add_argument("--shape", help="only this one of them")
    parser.add_argument("--images", type=int, help="in place of the shapes' batch")
    options = parser.parse_args()
    layers = [row for row in LAYERS if options.shape in (None, row[1])]
    if not layers:
        parser.error(f"--shape must be one of {', '.join(dict.fromkeys(row[1] for row in LAYERS))}")
    if options.threads < 1 or options.repeats < 1:
        parser.error("--threads and --repeats must be at least 1")
    fastnn.set_num_threads(options.threads)
    try:
        limits = Limits(options.threads)
    except NoLimits as error:
        parser.exit(1, f"{error}\n")
    peak = max(limits.peak(200_000) for _ in range(options.repeats))
    reading = min(limits.streams(0, 1, STREAM) for _ in range(options.repeats))
    limits.forget()
    bandwidth = 4e-9 * STREAM / reading
    ridge = peak / bandwidth
    print(f"{peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s: the ridge is at {ridge:.1f} flops a byte")
    print(f"{'layer':25}{'op':>21}{'MB':>7}{'flops/byte':>12}"
          f"{'FMA ms':>9}{'memory ms':>11}{'ms':>9}{'of limit':>10}  bound by")  # fmt: skip
    kernels = backends.kernels("float32")
    for name, shape in layers:
        given = arguments(name, shape, options.images)
        flops, size = OPS[name].flops(*given), OPS[name].bytes(*given)
        # Comparisons and additions of a pool aren't multiply-adds.
        multiply_add = flops / peak / 1e6 if OPS[name].family == "conv" else 0.0
        memory = size / bandwidth / 1e6
        measured = 1e3 * seconds(getattr(kernels, name), given, options.repeats)
        bound = "arithmetic" if multiply_add > memory else "memory"
        print(f"{shape:25}{name:>21}{size / 1e6:7.1f}{flops / size:12.1f}{multiply_add:9.2f}"
              f"{memory:11.2f}{measured:9.2f}{max(multiply_add, memory) / measured:10.0%}"
              f"  {bound}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
