"""One engine in a process of its own, for ``bench.peers``.

Started as ``python -m bench.worker ENGINE THREADS``, with its CPUs and thread variables already
set. It reads one JSON command per line and answers with one JSON line:

    {"prepare": case}                   -> {"variants": [...]}
    {"check": variant}                  -> {"norms": of what one step computes}
    {"run": variant, "steps": k, "warm_up": s, "seconds": s}
                                        -> {"seconds": of k steps, after a warm-up of s seconds}

Between commands it waits for input and its thread pools fall asleep. What an engine must do is
``prepare(case)``: a dict of functions by variant, each doing one step, waiting for its result and
returning it.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads import CASES, Case, Conv, Norm, Pool, Step, Update, Zoo

Steps = dict[str, Callable[[], Any]]

#: What other engines' threads, which wait a few milliseconds for work before they sleep, get
#: where there is no warm-up.
PAUSE = 0.01

RATE = 1e-9  # see bench.networks.STILL


class Fastnn:
    """Training by the public ``train_on_batch``, and as ``fit`` does it: data prepared and checked
    before, the next batch known.
    """

    def __init__(self, threads: int) -> None:
        import fastnn

        fastnn.set_num_threads(threads)
        self.version = f"fastnn {fastnn.__version__} ({fastnn.backends.current_isa() or 'numpy'})"

    def prepare(self, case: Case) -> Steps:
        from fastnn import backends, functional

        kernels = backends.kernels("float32")
        if isinstance(case, Step):
            from bench import networks

            model = networks.model(case.network, case.optimizer, RATE)
            x, y = networks.data(case.network)
            labels = model.check_labels(y, len(x))
            return {
                "fastnn": lambda: model.train_on_batch(x, y),
                "fastnn-step": lambda: sum(model.step(x, labels, x)[1].values()),
            }
        if isinstance(case, Update):
            param, grad, m, v = case.arrays()
            return {"fastnn": lambda: functional.adam_update(param, grad, m, v, 7, RATE)}
        if isinstance(case, Conv):
            return {"fastnn": self.conv(case, kernels)}
        if isinstance(case, Pool):
            return {"fastnn": self.pool(case, kernels)}
        if isinstance(case, Norm):
            return {"fastnn": self.norm(case, kernels)}
        if isinstance(case, Zoo):
            images, targets = case.data()
            net = zoo_network(case)
            prepared = net.check_labels(targets, len(images))
            return {
                "fastnn": lambda: net.train_on_batch(images, targets),
                "fastnn-step": lambda: sum(net.step(images, prepared, images)[1].values()),
            }
        a, b, out = case.arrays()
        product = {
            "forward": lambda: kernels.dense(a, b, None, 0, out),
            "dx": lambda: kernels.dense_dx(a, b, out),
            "dw": lambda: kernels.dense_dw(a, b, 0, out),
        }[case.product]

        def step() -> Any:
            product()
            return out

        return {"fastnn": step}

    def conv(self, case: Conv, kernels: Any) -> Callable[[], Any]:
        geometry, found = case.geometry, case.arrays()
        x, w, b, dy = (found[name] for name in ("x", "w", "b", "dy"))
        results = tuple(found[name] for name in case.results)
        flat_dy = dy.reshape(-1, dy.shape[-1])
        calls = {
            "y": lambda y: kernels.conv2d(x, w, b, geometry, 0, y),
            "dx": lambda dx: kernels.conv2d_dx(dy, w, geometry, dx),
            "dw": lambda dw: kernels.conv2d_dw(x, dy, geometry, dw),
            "db": lambda db: kernels.dense_db(flat_dy, db),
        }
        todo = [(calls[name], array) for name, array in zip(case.results, results, strict=True)]

        def step() -> Any:
            for call, array in todo:
                call(array)
            return results

        return step

    def pool(self, case: Pool, kernels: Any) -> Callable[[], Any]:
        geometry = case.geometry
        x, dy, y, index, dx = case.arrays().values()

        def largest() -> Any:
            kernels.max_pool2d(x, geometry, y, index)
            kernels.max_pool2d_backward(dy, index, geometry, dx)
            return y, dx

        def mean() -> Any:
            kernels.average_pool2d(x, geometry, y)
            kernels.average_pool2d_backward(dy, geometry, dx)
            return y, dx

        return largest if case.is_max else mean

    def norm(self, case: Norm, kernels: Any) -> Callable[[], Any]:
        x, dy, gamma, beta, y, dx = case.arrays().values()
        x, dy, y_rows, dx_rows = (a.reshape(-1, a.shape[-1]) for a in (x, dy, y, dx))
        mean, variance, dgamma, dbeta = np.empty((4, gamma.size), np.float32)
        given = x, mean, variance, gamma, beta, 1e-5, 1

        def step() -> Any:
            kernels.batch_norm_statistics(x, mean, variance)
            kernels.batch_norm(*given, y_rows)
            kernels.batch_norm_sums(dy, *given, dgamma, dbeta)
            kernels.batch_norm_dx(dy, *given, dgamma, dbeta, dx_rows)
            return y, dx, dgamma, dbeta

        return step


def zoo_network(case: Zoo) -> Any:
    """The compiled network whose weights every engine starts from.

    Without dropout, which draws other units in every engine: the losses can be compared so.
    """
    from fastnn import optimizers, zoo
    from fastnn.layers import Dropout

    net = zoo.get(case.network, seed=1)
    for layer in net.chain.leaves():
        if isinstance(layer, Dropout):
            layer.rate = 0.0
    net.compile(optimizers.SGD(RATE), "softmax_cross_entropy")
    return net


class Torch:
    """Eager PyTorch; the optimizer fused, by lists (foreach) and plain; images in both of its
    memory formats, what it is given in them included.
    """

    FORMATS = ("default", "channels_last")

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.version = f"torch {torch.__version__}"

    def optimizer(self, name: str, parameters: list[Any], form: str) -> Any:
        optim = self.torch.optim
        if name == "rmsprop":
            return optim.RMSprop(parameters, lr=RATE, alpha=0.9, foreach=form == "foreach")
        rule = {"sgd": optim.SGD, "adam": optim.Adam}[name]
        return rule(parameters, lr=RATE, fused=form == "fused", foreach=form == "foreach")

    def prepare(self, case: Case) -> Steps:
        torch = self.torch
        torch.set_grad_enabled(isinstance(case, (Step, Zoo)))
        if isinstance(case, Step):
            forms = {"sgd": ("fused", "plain"), "adam": ("fused", "foreach")}
            formats = ("default",) if case.is_dense else self.FORMATS
            return {
                "-".join(("torch", *([] if case.is_dense else [layout]), form)): self.step(
                    case, layout, form
                )
                for layout in formats
                for form in forms.get(case.optimizer, ("foreach", "plain"))
            }
        if isinstance(case, Update):
            found = {}
            for form in ("fused", "foreach", "plain"):
                p, g = (torch.from_numpy(a) for a in case.arrays()[:2])
                p.grad = g
                found[f"torch-{form}"] = self.optimizer("adam", [p], form).step
            return found
        if isinstance(case, Conv):
            return {f"torch-{layout}": self.conv(case, layout) for layout in self.FORMATS}
        if isinstance(case, Pool):
            return {f"torch-{layout}": self.pool(case, layout) for layout in self.FORMATS}
        if isinstance(case, Norm):
            return {f"torch-{layout}": self.norm(case, layout) for layout in self.FORMATS}
        if isinstance(case, Zoo):
            return {f"torch-{layout}-fused": self.zoo(case, layout) for layout in self.FORMATS}
        a, b, out = (torch.from_numpy(array) for array in case.arrays())
        return {
            "torch": {
                "forward": lambda: torch.mm(a, b, out=out),
                "dx": lambda: torch.mm(a, b.t(), out=out),
                "dw": lambda: torch.mm(a.t(), b, out=out),
            }[case.product]
        }

    def images(self, array: np.ndarray, layout: str) -> Any:
        """NHWC as PyTorch's NCHW, in one of its memory formats."""
        return self.as_format(self.torch.from_numpy(array).permute(0, 3, 1, 2), layout)

    def kernel(self, w: np.ndarray, layout: str) -> Any:
        """HWIO as PyTorch's OIHW."""
        return self.as_format(self.torch.from_numpy(w).permute(3, 2, 0, 1), layout)

    def as_format(self, tensor: Any, layout: str) -> Any:
        """In one of the memory formats."""
        memory_format = {
            "default": self.torch.contiguous_format, "channels_last": self.torch.channels_last,
        }[layout]  # fmt: skip
        return tensor.contiguous(memory_format=memory_format)

    def conv(self, case: Conv, layout: str) -> Callable[[], Any]:
        aten = self.torch.ops.aten
        geometry, found = case.geometry, case.arrays()
        axes = (geometry.rows, geometry.columns)
        strides, dilation = [a.stride for a in axes], [a.dilation for a in axes]
        padding, ceil = _padding(axes)
        if ceil:
            raise ValueError(f"{case.shape}: PyTorch's convolution pads both ends alike")
        x, dy = (self.images(found[name], layout) for name in ("x", "dy"))
        w, b = self.kernel(found["w"], layout), self.torch.from_numpy(found["b"])
        if case.part == "forward":
            return lambda: aten.convolution(
                x, w, b, strides, padding, dilation, False, [0, 0], geometry.groups
            )
        mask = [name in case.results for name in ("dx", "dw", "db")]
        return lambda: [
            array
            for array in aten.convolution_backward(
                dy, x, w, [geometry.filters], strides, padding, dilation, False, [0, 0],
                geometry.groups, mask,
            )
            if array is not None
        ]  # fmt: skip

    def pool(self, case: Pool, layout: str) -> Callable[[], Any]:
        aten = self.torch.ops.aten
        axes = (case.geometry.rows, case.geometry.columns)
        window, strides = [a.kernel for a in axes], [a.stride for a in axes]
        padding, ceil = _padding(axes)
        found = case.arrays()
        x, dy = (self.images(found[name], layout) for name in ("x", "dy"))

        def largest() -> Any:
            y, index = aten.max_pool2d_with_indices(x, window, strides, padding, [1, 1], ceil)
            return y, aten.max_pool2d_with_indices_backward(
                dy, x, window, strides, padding, [1, 1], ceil, index
            )

        def mean() -> Any:
            arguments = (window, strides, padding, ceil, False, None)
            return aten.avg_pool2d(x, *arguments), aten.avg_pool2d_backward(dy, x, *arguments)

        def mean_of_all() -> Any:
            y = aten._adaptive_avg_pool2d(x, [1, 1])
            return y, aten._adaptive_avg_pool2d_backward(dy, x)

        if case.is_max:
            return largest
        return mean_of_all if case.is_global else mean

    def norm(self, case: Norm, layout: str) -> Callable[[], Any]:
        aten, found = self.torch.ops.aten, case.arrays()
        x, dy = (self.images(found[name], layout) for name in ("x", "dy"))
        gamma, beta = (self.torch.from_numpy(found[name]) for name in ("gamma", "beta"))

        def step() -> Any:
            y, mean, inverse = aten.native_batch_norm(x, gamma, beta, None, None, True, 0.1, 1e-5)
            y = aten.relu_(y)
            dz = aten.threshold_backward(dy, y, 0)
            gradients = aten.native_batch_norm_backward(
                dz, x, gamma, None, None, mean, inverse, True, 1e-5, [True, True, True]
            )
            return y, *gradients

        return step

    def zoo(self, case: Zoo, layout: str) -> Callable[[], Any]:
        torch = self.torch
        from bench import torch_networks

        model = getattr(torch_networks, case.network)()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        ours = [p.value for p in zoo_network(case).store.trained]
        flattened = torch_networks.FLATTENED.get(case.network)
        for parameter, value in zip(model.parameters(), ours, strict=True):
            if value.ndim == 4:
                parameter.data = self.kernel(value, layout)
                continue
            if value.ndim == 2 and flattened:  # PyTorch flattens images channel by channel
                value = value.reshape(*flattened, -1).transpose(2, 0, 1, 3).reshape(value.shape)
                flattened = None
            parameter.data = torch.from_numpy(np.ascontiguousarray(value.T))
        rule = torch.optim.SGD(model.parameters(), lr=RATE, fused=True)
        x, y = case.data()
        inputs, labels = self.images(x, layout), torch.from_numpy(y)

        def step() -> Any:
            rule.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            rule.step()
            return loss.detach()

        return step

    def step(self, case: Step, layout: str, form: str) -> Callable[[], Any]:
        torch, nn = self.torch, self.torch.nn
        from bench import networks

        network = networks.NETWORKS[case.network]
        model = nn.Sequential(*self.layers(case.network, layout))
        rule = self.optimizer(case.optimizer, list(model.parameters()), form)
        x, y = networks.data(case.network)
        inputs = torch.from_numpy(x) if x.ndim == 2 else self.images(x, layout)
        labels = [torch.from_numpy(a) for a in (y.values() if isinstance(y, dict) else [y])]
        widths = list(network["heads"].values())
        cross_entropy = nn.functional.cross_entropy

        def step() -> Any:
            outputs = model(inputs)
            if len(widths) == 1:
                loss = cross_entropy(outputs, labels[0])
            else:
                parts = torch.split(outputs, widths, dim=1)
                loss = sum(cross_entropy(o, t) for o, t in zip(parts, labels, strict=True))
            rule.zero_grad()
            loss.backward()
            rule.step()
            return loss.detach()

        return step

    def layers(self, name: str, layout: str) -> list[Any]:
        """The modules of a network, with the weights that every engine starts from."""
        torch, nn = self.torch, self.torch.nn
        from bench import networks

        activations = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
        weights, found = networks.weights(name), []
        image: tuple[int, ...] = ()
        for layer in networks.layers(name):
            module: Any = None
            if layer.kind == "dense":
                module = nn.Linear(*layer.w_shape)
                w, b = weights.pop(0)
                if image:  # PyTorch flattens images channel by channel
                    w = w.reshape(*image, -1).transpose(2, 0, 1, 3).reshape(w.shape)
                    image = ()
                module.weight.data = torch.from_numpy(w.T.copy())
            elif layer.kind == "conv":
                axes = (layer.geometry.rows, layer.geometry.columns)
                padding, ceil = _padding(axes)
                if ceil:
                    raise ValueError(f"{name}: PyTorch's convolution pads both ends alike")
                module = nn.Conv2d(
                    layer.in_shape[-1], layer.out_shape[-1], layer.w_shape[:2],
                    [a.stride for a in axes], padding,
                )  # fmt: skip
                w, b = weights.pop(0)
                module.weight.data = self.kernel(w, layout)
            elif layer.kind in networks.POOLS:
                axes = (layer.geometry.rows, layer.geometry.columns)
                padding, ceil = _padding(axes)
                window = [a.kernel for a in axes], [a.stride for a in axes], padding
                if layer.kind == "max_pool":
                    module = nn.MaxPool2d(*window, ceil_mode=ceil)
                else:
                    module = nn.AvgPool2d(*window, ceil, count_include_pad=False)
            elif layer.kind == "flatten":
                module, image = nn.Flatten(), layer.in_shape
            elif layer.kind == "dropout":
                module = nn.Dropout(layer.rate)
            if layer.w_shape:
                module.bias.data = torch.from_numpy(b)
            found.append(module)
            if layer.activation:
                found.append(activations[layer.activation]())
        return found


def _padding(axes: Any) -> tuple[list[int], bool]:
    """Padding as PyTorch says it: as many at both ends, or (``ceil_mode``) one window more."""
    if all(a.before == a.after for a in axes):
        return [a.before for a in axes], False
    if any(a.before or a.after >= a.stride for a in axes):
        raise ValueError(f"PyTorch can't pad as {axes} do")
    return [0, 0], True


class Jax:
    """JAX, the whole step in one ``jit``, its arrays donated so that updates are in place."""

    def __init__(self, threads: int) -> None:
        if threads == 1:
            os.environ["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.jax = jax
        self.version = f"jax {jax.__version__}"

    def sgd(self, p: Any, g: Any, t: Any) -> Any:
        return (p - RATE * g,)

    def rmsprop(self, p: Any, g: Any, s: Any, t: Any) -> Any:
        s = 0.9 * s + 0.1 * g * g
        return p - RATE * g / self.jax.numpy.sqrt(s + 1e-8), s

    def adam(self, p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        root = self.jax.numpy.sqrt(v / (1 - 0.999**t)) + 1e-8
        return p - RATE * (m / (1 - 0.9**t)) / root, m, v

    def prepare(self, case: Case) -> Steps:
        jax, jnp = self.jax, self.jax.numpy
        if isinstance(case, Step):
            return {"jax": self.step(case)}
        if isinstance(case, Update):
            p, g, m, v = (jnp.array(a) for a in case.arrays())
            update = jax.jit(self.adam, donate_argnums=(0, 2, 3))
            state = [p, m, v, 1.0]

            def step() -> None:
                p, m, v, t = state
                state[:] = *update(p, g, m, v, t), t + 1.0
                jax.block_until_ready(state[0])

            return {"jax": step}
        if isinstance(case, Conv):
            return {"jax": self.conv(case)}
        if isinstance(case, Pool):
            return {"jax": self.pool(case)}
        if isinstance(case, (Norm, Zoo)):
            return {}
        a, b, _ = (jnp.array(array) for array in case.arrays())
        product = {
            "forward": jax.jit(lambda a, b: a @ b),
            "dx": jax.jit(lambda a, b: a @ b.T),
            "dw": jax.jit(lambda a, b: a.T @ b),
        }[case.product]
        return {"jax": lambda: jax.block_until_ready(product(a, b))}

    def convolution(self, geometry: Any) -> Callable[[Any, Any], Any]:
        """x, w -> x * w."""
        axes = (geometry.rows, geometry.columns)
        return lambda x, w: self.jax.lax.conv_general_dilated(
            x, w, [a.stride for a in axes], [(a.before, a.after) for a in axes],
            rhs_dilation=[a.dilation for a in axes], feature_group_count=geometry.groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    def conv(self, case: Conv) -> Callable[[], Any]:
        jnp, convolution, found = self.jax.numpy, self.convolution(case.geometry), case.arrays()
        given = tuple(jnp.array(found[name]) for name in ("x", "w", "b", "dy"))

        def compute(results: Any, x: Any, w: Any, b: Any, dy: Any) -> Any:
            if case.part == "forward":
                return (convolution(x, w) + b,)
            _, transpose = self.jax.vjp(convolution, x, w)
            dx, dw = transpose(dy)
            all_three = {"dx": dx, "dw": dw, "db": dy.sum((0, 1, 2))}
            return tuple(all_three[name] for name in case.results)

        return self.into_given(compute, tuple(found[name] for name in case.results), given)

    def pooling(self, geometry: Any, is_max: bool) -> Callable[[Any], Any]:
        """x -> y."""
        jnp, lax = self.jax.numpy, self.jax.lax
        axes = (geometry.rows, geometry.columns)
        window = (
            (1, *(a.kernel for a in axes), 1), (1, *(a.stride for a in axes), 1),
            ((0, 0), *((a.before, a.after) for a in axes), (0, 0)),
        )  # fmt: skip
        if is_max:
            return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *window)
        counts = [[len(a.taps_inside(o)) for o in range(a.out)] for a in axes]
        share = jnp.array(1 / np.outer(*counts)[:, :, None], np.float32)
        return lambda x: lax.reduce_window(x, 0.0, lax.add, *window) * share

    def pool(self, case: Pool) -> Callable[[], Any]:
        pooling, found = self.pooling(case.geometry, case.is_max), case.arrays()

        def compute(results: Any, x: Any, dy: Any) -> Any:
            y, transpose = self.jax.vjp(pooling, x)
            return y, *transpose(dy)

        given = tuple(self.jax.numpy.array(found[name]) for name in ("x", "dy"))
        return self.into_given(compute, (found["y"], found["dx"]), given)

    def into_given(self, compute: Any, results: Any, given: Any) -> Callable[[], Any]:
        """The step that computes into the arrays of the step before."""
        run = self.jax.jit(compute, donate_argnums=0, keep_unused=True)
        state = [tuple(map(self.jax.numpy.array, results))]

        def step() -> Any:
            state[0] = self.jax.block_until_ready(run(state[0], *given))
            return state[0]

        return step

    def network(self, name: str) -> Callable[[Any, Any, Any], Any]:
        """weights, x, key -> outputs."""
        jax = self.jax
        from bench import networks

        placed = networks.layers(name)
        activations = {
            "sigmoid": jax.nn.sigmoid, "tanh": jax.numpy.tanh, "relu": jax.nn.relu,
            None: lambda x: x,
        }  # fmt: skip
        slides = [
            self.convolution(layer.geometry) if layer.kind == "conv"
            else self.pooling(layer.geometry, layer.kind == "max_pool")
            if layer.kind in networks.POOLS else None
            for layer in placed
        ]  # fmt: skip

        def outputs(weights: Any, x: Any, key: Any) -> Any:
            rest = iter(weights)
            for layer, slide in zip(placed, slides, strict=True):
                if layer.kind == "dense":
                    w, b = next(rest)
                    x = x @ w + b
                elif layer.kind == "conv":
                    w, b = next(rest)
                    x = slide(x, w) + b
                elif layer.kind in networks.POOLS:
                    x = slide(x)
                elif layer.kind == "flatten":
                    x = x.reshape(len(x), -1)
                elif layer.kind == "dropout":
                    kept = jax.random.bernoulli(key, 1 - layer.rate, x.shape)
                    x = jax.numpy.where(kept, x / (1 - layer.rate), 0)
                x = activations[layer.activation](x)
            return x

        return outputs

    def step(self, case: Step) -> Callable[[], Any]:
        jax, jnp = self.jax, self.jax.numpy
        from bench import networks

        network = self.network(case.network)
        widths = list(networks.NETWORKS[case.network]["heads"].values())
        ends = list(np.cumsum(widths))
        rule = getattr(self, case.optimizer)

        def loss(weights: Any, x: Any, labels: Any, key: Any) -> Any:
            outputs, total = network(weights, x, key), 0.0
            for width, end, y in zip(widths, ends, labels, strict=True):
                log_p = jax.nn.log_softmax(outputs[:, end - width : end])
                total -= jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))
            return total

        def train(weights: Any, state: Any, x: Any, labels: Any) -> Any:
            moments, t, key = state
            key, now = jax.random.split(key)
            value, gradients = jax.value_and_grad(loss)(weights, x, labels, now)
            leaves, tree = jax.tree.flatten(weights)
            flat = [jax.tree.leaves(z) for z in (gradients, *moments)]
            new = [rule(*arrays, t) for arrays in zip(leaves, *flat, strict=True)]
            p, *m = (jax.tree.unflatten(tree, column) for column in zip(*new, strict=True))
            return p, (m, t + 1, key), value

        weights = [(jnp.array(w), jnp.array(b)) for w, b in networks.weights(case.network)]
        states = {"sgd": 0, "rmsprop": 1, "adam": 2}[case.optimizer]
        zeros = [jax.tree.map(jnp.zeros_like, weights) for _ in range(states)]
        state = [weights, (zeros, 1.0, jax.random.PRNGKey(1))]
        x, y = networks.data(case.network)
        x = jnp.array(x)
        labels = [jnp.array(a) for a in (y.values() if isinstance(y, dict) else [y])]
        update = jax.jit(train, donate_argnums=(0, 1))

        def step() -> Any:
            state[0], state[1], value = update(*state, x, labels)
            return value.block_until_ready()

        return step


class ScikitLearn:
    """``MLPClassifier.partial_fit`` on one batch; single-headed networks only."""

    def __init__(self, threads: int) -> None:
        import sklearn

        self.version = f"scikit-learn {sklearn.__version__}"

    def prepare(self, case: Case) -> Steps:
        from sklearn.neural_network import MLPClassifier

        from bench import networks

        if not isinstance(case, Step) or not case.is_dense:
            return {}
        network = networks.NETWORKS[case.network]
        if len(network["heads"]) > 1:
            return {}
        x, y = networks.data(case.network)
        hidden = networks.layers(case.network)[:-1]
        classifier = MLPClassifier(
            hidden_layer_sizes=[layer.out_shape[0] for layer in hidden], solver=case.optimizer,
            activation={"sigmoid": "logistic", "relu": "relu"}[hidden[0].activation], alpha=0,
            batch_size=len(x), shuffle=False, learning_rate_init=RATE, momentum=0,
            nesterovs_momentum=False,
        )  # fmt: skip
        classes = np.arange(network["heads"][""])

        def step() -> None:  # what it starts from is its own
            classifier.partial_fit(x, y, classes=classes)

        return {"sklearn": step}


class Machine:
    """The limits: the case's multiply-adds at FMA peak, and plain loops with its traffic."""

    def __init__(self, threads: int) -> None:
        from fastnn.limits import Limits

        self.limits = Limits(threads)
        self.version = "machine.h"

    def prepare(self, case: Case) -> Steps:
        # Functions here return the seconds of one step; they needn't carry it all out.
        self.limits.forget()
        found: Steps = {"limit-loop": lambda: sum(self.limits.streams(*p) for p in case.passes)}
        if case.flops:
            found["limit-fma"] = lambda: case.flops / self.limits.peak(1_000_000) * 1e-9
        return found


ENGINES: dict[str, Callable[[int], Any]] = {
    "fastnn": Fastnn, "torch": Torch, "jax": Jax, "sklearn": ScikitLearn, "machine": Machine,
}  # fmt: skip


def _timed(step: Callable[[], Any], steps: int, warm_up: float) -> float:
    if not warm_up:
        time.sleep(PAUSE)
    start = time.perf_counter()
    while time.perf_counter() - start < warm_up:
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def _measured(step: Callable[[], float], steps: int, seconds: float) -> float:
    """As long as the engines are timed, so that a disturbance weighs as much."""
    found: list[float] = []
    start = time.perf_counter()
    while not found or time.perf_counter() - start < seconds:
        found.append(step())
    return float(np.mean(found)) * steps


def norms(result: Any) -> list[float]:
    """√Σ a² of every array that a step computed: the same in any memory format."""
    if result is None:
        return []
    arrays = result if isinstance(result, (tuple, list)) else (result,)
    flat = (np.asarray(a).ravel().astype(np.float64) for a in arrays)
    return [math.sqrt(np.dot(a, a)) for a in flat]


def main() -> None:
    """Serve commands until the input ends."""
    # Only answers go to the pipe; what libraries print goes to the terminal.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, threads = sys.argv[1], int(sys.argv[2])
    try:
        engine = ENGINES[name](threads)
    except Exception as error:
        print(json.dumps({"missing": f"{type(error).__name__}: {error}"}), file=answers)
        return
    print(json.dumps({"version": engine.version}), file=answers)
    steps: Steps = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "prepare" in command:
                steps = {}  # frees the last case's arrays
                steps = engine.prepare(CASES[command["prepare"]])
                answer: dict[str, Any] = {"variants": list(steps)}
            elif "check" in command:
                answer = {"norms": norms(steps[command["check"]]())}
            else:
                step, count = steps[command["run"]], command["steps"]
                seconds = (
                    _measured(step, count, command["seconds"]) if name == "machine"
                    else _timed(step, count, command["warm_up"])
                )  # fmt: skip
                answer = {"seconds": seconds}
        except Exception as error:  # one engine's failure must not end the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
