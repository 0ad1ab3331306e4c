"""A fastnn model in PyTorch or JAX: the same layers, weights, loss and optimizer, to be timed.

The two libraries aren't needed by fastnn: they are imported when a peer is made. What differs:

- PyTorch's own optimizers are taken as they are. Momentum has its rate outside the velocity, which
  is the same while the rate is constant, and it is. ε is outside the root, in Adagrad, RMSprop and
  every Adam, so that those with ``epsilon_inside_root`` or ``epsilon_hat`` go another way there.
- JAX has no optimizers: the rules are fastnn's, written out below, ε where fastnn has it.
- Dropout draws other numbers of the same distribution.

Images stay (N, H, W, C) in memory. For PyTorch this is the format ``channels_last``, which was
measured as the faster of its two for convolutions, and needs no copy.
"""

from __future__ import annotations

import importlib.util
import operator
import os
from collections.abc import Callable, Mapping
from functools import reduce
from itertools import chain, count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown
from fastnn.geometry import Geometry2D
from fastnn.layers import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    Heads,
    Layer,
    MaxPool2D,
    Rescaling,
    ZeroPadding2D,
)
from fastnn.layers.sequence import Chain
from fastnn.losses import SoftmaxCrossEntropy
from fastnn.model import ONLY, Sequential
from fastnn.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from fastnn.rules import Rule

Array = NDArray[Any]
Function = Callable[..., Any]
Ends = tuple[tuple[int, int], tuple[int, int]]

#: Name of each engine, and the library it needs.
ENGINES = {"PyTorch": "torch", "PyTorch fused": "torch", "JAX": "jax"}

_LAYERS = (
    Activation, AveragePooling2D, Conv2D, Dense, DepthwiseConv2D, Dropout, Flatten,
    MaxPool2D, Rescaling, ZeroPadding2D,
)  # fmt: skip
_OPTIMIZERS = (SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW, Lion)
#: What ``torch.optim`` has with ``fused=True``.
_FUSED = ("SGD", "Adagrad", "Adam", "AdamW")


class Peer(Protocol):
    """A model on another engine. It keeps none of the fastnn model's arrays."""

    def step(self, x: Array, labels: Mapping[str, Array]) -> float:
        """One training step, finished on return; the loss before it, the sum over heads.

        x (N, *input_shape), of any number type; it is cast to float32. ``labels`` as from
        ``model.check_labels``: (N,), int64 classes, by head, ``""`` for the only output.
        """

    def outputs(self, x: Array) -> dict[str, Array]:
        """Logits (N, C), float32, by head, without dropout."""


def available() -> dict[str, str]:
    """For each engine ``""``, or why it can't be had. Nothing is imported."""
    return {
        engine: "" if importlib.util.find_spec(library) else f"{library} isn't installed"
        for engine, library in ENGINES.items()
    }


def offers(engine: str, optimizer: Optimizer) -> bool:
    """Whether the engine has that optimizer."""
    if type(optimizer) not in _OPTIMIZERS or engine == "JAX":
        return type(optimizer) in _OPTIMIZERS
    try:
        _in_torch(engine, optimizer)
    except ValueError:
        return False
    return True


def peer(engine: str, model: Sequential, threads: int, seed: int = 0) -> Peer:
    """``model``, which is built and compiled, on ``engine``, one of ``ENGINES``.

    It begins with the model's weights and a new state of the optimizer; ``seed`` is that of
    dropout. ``"PyTorch"`` leaves it to the library how the optimizer runs, ``"PyTorch fused"``
    asks for one kernel. ``threads`` holds for the process. JAX knows one thread, if it hasn't
    been imported before, or all of the process's CPUs.

    Raises ``ValueError`` for what can't be translated, naming it: a layer, a loss other than the
    softmax cross-entropy of weight 1, float64, an optimizer or what is asked of it.
    ``ModuleNotFoundError`` if the library isn't installed.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    rule, name = model.optimizer, type(model.optimizer).__name__
    if not model.heads:
        raise RuntimeError("peer: build the model first")
    trunk, heads = _flat(model.chain), {ONLY: list[Layer]()}
    if type(last := trunk[-1]) is Heads:
        trunk, heads = trunk[:-1], {head: _flat(layer) for head, layer in last.heads.items()}
    refused: dict[str, Any] = {
        f"{type(layer).__name__} {layer.name!r}": type(layer) not in _LAYERS
        for layer in chain(trunk, *heads.values())
    } | {
        "a loss other than softmax_cross_entropy of weight 1": any(
            type(head.loss) is not SoftmaxCrossEntropy or head.weight != 1 for head in model.heads
        ),
        f"dtype {model.dtype}": model.dtype != np.float32,
        f"the optimizer {name}": type(rule) not in _OPTIMIZERS,
        f"{name} with a rate that changes": callable(rule.learning_rate),
        f"{name} with clipping": rule.clipvalue or rule.clipnorm or rule.global_clipnorm,
        f"{name} with gradient accumulation": rule.gradient_accumulation_steps > 1,
        f"{name} with state_dtype={rule.state_dtype!r}": rule.state_dtype != "full",
    }
    for what, found in refused.items():
        if found:
            raise ValueError(f"{engine} can't take over {what}")
    if engine == "JAX":
        return _Jax(trunk, heads, rule, threads, seed)
    return _Torch(trunk, heads, *_in_torch(engine, rule), threads, seed)


def _flat(layer: Layer) -> list[Layer]:
    """The layers one after another, without the chains around them."""
    if type(layer) is not Chain:
        return [layer]
    return [leaf for child in layer.children for leaf in _flat(child)]


class _Engine:
    """What both have in common. A layer is a function (x, chance, *weights) → y, where ``chance``
    is for dropout, and an activation. None may hold the layer, which holds the model's arrays.
    """

    def __init__(
        self, trunk: list[Layer], heads: Mapping[str, list[Layer]], activations: dict[str, Function]
    ) -> None:
        self.heads, parts = list(heads), [trunk, *heads.values()]
        self.functions = [
            [(self.plain(a), activations.get(getattr(a, "activation", None) or "")) for a in part]
            for part in parts
        ]
        self.weights = [[[self.weight(w) for w in _arrays(a)] for a in part] for part in parts]

    def plain(self, layer: Layer) -> Function:
        """The function of a layer without its activation."""
        raise NotImplementedError

    def weight(self, array: Array) -> Any:
        """A copy of w, (K, O) or (KH, KW, C/G, O), or of b, (O,)."""
        raise NotImplementedError

    def forward(self, weights: Any, x: Any, chance: Any) -> dict[str, Any]:
        """Outputs by head. ``weights``: of the trunk, then of each head, by layer."""

        def run(part: int, x: Any) -> Any:
            for (plain, activation), own in zip(self.functions[part], weights[part], strict=True):
                x = plain(x, chance, *own)
                x = activation(x) if activation else x
            return x

        y = run(0, x)
        return {head: run(i, y) for i, head in enumerate(self.heads, 1)}


def _arrays(layer: Layer) -> list[Array]:
    """w and b, of those that the layer has; that of a depthwise convolution as Conv2D has it."""
    arrays = [parameter.value for parameter in layer.own_parameters]
    if isinstance(layer, Conv2D):
        arrays[0] = arrays[0].reshape(layer.geometry.w_shape)
    return arrays


def _ends(geometry: Geometry2D) -> Ends:
    """Padding, ((top, bottom), (left, right))."""
    rows, columns = geometry.rows, geometry.columns
    return (rows.before, rows.after), (columns.before, columns.after)


# --- PyTorch --------------------------------------------------------------------------------------


def _in_torch(engine: str, optimizer: Optimizer) -> tuple[str, dict[str, Any]]:
    """The name in ``torch.optim``, and its arguments."""
    o, name = optimizer, type(optimizer).__name__
    arguments: dict[str, Any] = {"lr": o.learning_rate, "weight_decay": o.weight_decay}
    if isinstance(o, SGD):
        arguments |= {"momentum": o.momentum, "nesterov": o.nesterov}
    elif isinstance(o, Adagrad):
        arguments |= {"initial_accumulator_value": o.initial_state, "eps": o.epsilon}
    elif isinstance(o, Adadelta):
        arguments |= {"rho": o.rho, "eps": o.epsilon}
    elif isinstance(o, RMSprop):
        arguments |= {"alpha": o.rho, "eps": o.epsilon}
    elif isinstance(o, Adam) and o.bias_correction:
        arguments |= {"betas": (o.beta_1, o.beta_2), "eps": o.epsilon}
        name = "AdamW" if o.decoupled_weight_decay else "Adam"
    else:
        form = " without bias correction" if isinstance(o, Adam) else ""
        raise ValueError(f"{engine} has no {name}{form}")
    if o.weight_decay and o.decoupled_weight_decay and name != "AdamW":
        raise ValueError(f"{engine} has no {name} with decoupled weight decay")
    if engine == "PyTorch fused":
        if name not in _FUSED:
            raise ValueError(f"{engine} has no {name}")
        arguments["fused"] = True
    return name, arguments


class _Torch(_Engine):
    """Eager PyTorch; ``chance`` says whether it trains. Its functions take (N, C, H, W)."""

    def __init__(
        self, trunk: list[Layer], heads: Mapping[str, list[Layer]], rule: str,
        arguments: dict[str, Any], threads: int, seed: int,
    ) -> None:  # fmt: skip
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.torch = torch
        activations = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
        super().__init__(trunk, heads, activations)
        flat = [w for part in self.weights for own in part for w in own]
        self.rule = getattr(torch.optim, rule)(flat, **arguments)

    def step(self, x: Array, labels: Mapping[str, Array]) -> float:
        cross_entropy = self.torch.nn.functional.cross_entropy
        outputs = self.forward(self.weights, self._input(x), True)
        losses = [cross_entropy(y, self._tensor(labels[head])) for head, y in outputs.items()]
        loss = reduce(operator.add, losses)
        self.rule.zero_grad()
        loss.backward()
        self.rule.step()
        return loss.item()

    def outputs(self, x: Array) -> dict[str, Array]:
        with self.torch.no_grad():
            found = self.forward(self.weights, self._input(x), False)
        return {head: y.numpy() for head, y in found.items()}

    def _input(self, x: Array) -> Any:
        return _channels_second(self._tensor(x).float())

    def _tensor(self, array: Array) -> Any:
        return self.torch.from_numpy(np.require(array, requirements=("C", "W")))

    def weight(self, array: Array) -> Any:
        """As (O, K) or (O, C/G, KH, KW)."""
        w = self.torch.from_numpy(np.moveaxis(array, -1, 0).copy())
        return _channels_second(w).requires_grad_()

    def plain(self, layer: Layer) -> Function:
        f = self.torch.nn.functional
        match layer:
            case Dense():
                return lambda x, training, w, b=None: f.linear(x, w, b)
            case Conv2D(geometry=g, strides=strides, dilation_rate=dilation, groups=groups):
                (top, bottom), (left, right) = _ends(g)
                slide = strides, (top, left), dilation, groups
                if (top, left) == (bottom, right):
                    return lambda x, training, w, b=None: f.conv2d(x, w, b, *slide)
                return lambda x, training, w, b=None: f.conv2d(
                    f.pad(x, (left, right, top, bottom)), w, b, strides, 0, dilation, groups
                )
            case MaxPool2D(pool_size=size, strides=strides):
                padding, ceil = _pool_padding(layer)
                return lambda x, training: f.max_pool2d(x, size, strides, padding, 1, ceil)
            case AveragePooling2D(pool_size=size, strides=strides):
                padding, ceil = _pool_padding(layer)
                return lambda x, training: f.avg_pool2d(x, size, strides, padding, ceil, False)
            case ZeroPadding2D(padding=((top, bottom), (left, right))):
                return lambda x, training: f.pad(x, (left, right, top, bottom))
            case Dropout(rate=rate):
                return lambda x, training: f.dropout(x, rate, training)
            case Rescaling(scale=scale, offset=offset):
                return lambda x, training: x * scale + offset if offset else x * scale
            case Flatten(input_shape=(_, _, _)):  # fastnn's order of the axes: a view, no copy
                return lambda x, training: x.permute(0, 2, 3, 1).flatten(1)
            case Flatten():
                return lambda x, training: x.flatten(1)
        return lambda x, training: x


def _channels_second(tensor: Any) -> Any:
    """(N, H, W, C) as (N, C, H, W), where it lies; others as they are."""
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _pool_padding(layer: MaxPool2D | AveragePooling2D) -> tuple[list[int], bool]:
    """As PyTorch's pools say it: as much at both ends, or (``ceil_mode``) one window more."""
    axes = (layer.geometry.rows, layer.geometry.columns)
    if all(a.before == a.after <= a.kernel // 2 for a in axes):
        return [a.before for a in axes], False
    if all(not a.before and a.out == 1 - (a.kernel - a.size) // a.stride for a in axes):
        return [0, 0], True
    raise ValueError(f"PyTorch can't pad as {type(layer).__name__} {layer.name!r} does")


# --- JAX ------------------------------------------------------------------------------------------

#: Numbers of a rule that change from step to step.
_CHANGING = ("learning_rate", "correction_1", "correction_2", "epsilon")


class _Jax(_Engine):
    """JAX: a step is one compiled function, which updates its arrays in place. ``chance`` is a
    key for random numbers, or None.
    """

    def __init__(
        self, trunk: list[Layer], heads: Mapping[str, list[Layer]], optimizer: Optimizer,
        threads: int, seed: int,
    ) -> None:  # fmt: skip
        if threads == 1:
            one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {one}".lstrip()
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        jnp = jax.numpy
        self.jax, self.optimizer, self.steps, self.dropouts = jax, optimizer, 0, count()
        activations = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}
        super().__init__(trunk, heads, activations)
        starts = [float(a[0]) for a in optimizer.new_state(1, np.float32)]
        self.state = [[jnp.full_like(w, s) for s in starts] for w in jax.tree.leaves(self.weights)]
        self.key = jax.random.PRNGKey(seed)
        self.train = jax.jit(self._train, donate_argnums=(0, 1, 2))
        self.infer = jax.jit(self._infer)

    def step(self, x: Array, labels: Mapping[str, Array]) -> float:
        self.steps += 1
        rule = self.optimizer.rule(self.steps)
        numbers = np.array([getattr(rule, name) for name in _CHANGING], np.float32)
        self.weights, self.state, self.key, loss = self.train(
            self.weights, self.state, self.key, x, dict(labels), numbers
        )
        return float(loss)

    def outputs(self, x: Array) -> dict[str, Array]:
        found = self.infer(self.weights, x)  # with its keys in the order of the alphabet
        return {head: np.array(found[head]) for head in self.heads}

    def _infer(self, weights: Any, x: Any, key: Any = None) -> dict[str, Any]:
        return self.forward(weights, x.astype(np.float32), key)

    def _loss(self, weights: Any, x: Any, labels: Any, key: Any) -> Any:
        jax, losses = self.jax, []
        for head, y in self._infer(weights, x, key).items():
            log_p = jax.numpy.take_along_axis(jax.nn.log_softmax(y), labels[head][:, None], 1)
            losses.append(-log_p.mean())
        return reduce(operator.add, losses)

    def _train(self, weights: Any, state: Any, key: Any, x: Any, labels: Any, numbers: Any) -> Any:
        tree = self.jax.tree
        key, now = self.jax.random.split(key)
        loss, gradients = self.jax.value_and_grad(self._loss)(weights, x, labels, now)
        rule = self.optimizer.rule(1)._replace(**dict(zip(_CHANGING, numbers, strict=True)))
        leaves, shape = tree.flatten(weights)
        rows = zip(leaves, tree.leaves(gradients), state, strict=True)
        new = [_stepped(self.jax.numpy, rule, *row) for row in rows]
        return tree.unflatten(shape, [p for p, _ in new]), [s for _, s in new], key, loss

    def weight(self, array: Array) -> Any:
        return self.jax.numpy.array(array)

    def plain(self, layer: Layer) -> Function:
        jax, lax = self.jax, self.jax.lax
        match layer:
            case Dense():
                return lambda x, key, w, b=0: x @ w + b
            case Conv2D(geometry=g, strides=strides, dilation_rate=dilation, groups=groups):
                return lambda x, key, w, b=0: b + lax.conv_general_dilated(
                    x, w, strides, _ends(g), rhs_dilation=dilation, feature_group_count=groups,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )  # fmt: skip
            case MaxPool2D(geometry=g, pool_size=size, strides=strides):
                window = (1, *size, 1), (1, *strides, 1), ((0, 0), *_ends(g), (0, 0))
                return lambda x, key: lax.reduce_window(x, -np.inf, lax.max, *window)
            case AveragePooling2D(geometry=g, pool_size=size, strides=strides):
                window = (1, *size, 1), (1, *strides, 1), ((0, 0), *_ends(g), (0, 0))
                rows, columns = (
                    np.array([len(a.taps_inside(o)) for o in range(a.out)])
                    for a in (g.rows, g.columns)
                )
                share = (1 / np.outer(rows, columns)[:, :, None]).astype(np.float32)
                return lambda x, key: lax.reduce_window(x, 0.0, lax.add, *window) * share
            case ZeroPadding2D(padding=ends):
                return lambda x, key: jax.numpy.pad(x, ((0, 0), *ends, (0, 0)))
            case Dropout(rate=rate):
                number = next(self.dropouts)

                def dropout(x: Any, key: Any) -> Any:
                    if key is None:
                        return x
                    kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - rate, x.shape)
                    return jax.numpy.where(kept, x / (1 - rate), 0)

                return dropout
            case Rescaling(scale=scale, offset=offset):
                return lambda x, key: x * scale + offset
            case Flatten():
                return lambda x, key: x.reshape(len(x), -1)
        return lambda x, key: x


def _stepped(jnp: Any, rule: Rule, p: Any, g: Any, state: Any) -> tuple[Any, list[Any]]:
    """The new p and state, by the rules of ``fastnn.backends.reference.update``."""
    rate, epsilon = rule.learning_rate, rule.epsilon

    def root(square: Any) -> Any:
        inside = rule.epsilon_inside_root
        return jnp.sqrt(square + epsilon) if inside else jnp.sqrt(square) + epsilon

    def mean(old: Any, new: Any, share: float) -> Any:
        return share * old + (1 - share) * new

    if rule.weight_decay and rule.decoupled:
        p = p * (1 - rate * rule.weight_decay)
    elif rule.weight_decay:
        g = g + rule.weight_decay * p
    match rule.name, state:
        case "sgd", _:
            return p - rate * g, []
        case "momentum", [v]:
            inside, outside = (rate, 1) if rule.rate_in_velocity else (1, rate)
            v = rule.momentum * v + inside * g
            return p - outside * (rule.momentum * v + inside * g if rule.nesterov else v), [v]
        case "adagrad", [a]:
            a = a + g * g
            return p - rate * g / root(a), [a]
        case "rmsprop", [s]:
            s = mean(s, g * g, rule.rho)
            return p - rate * g / root(s), [s]
        case "adadelta", [s, d]:
            s = mean(s, g * g, rule.rho)
            change = jnp.sqrt(d + epsilon) / jnp.sqrt(s + epsilon) * g
            return p - rate * change, [s, mean(d, change * change, rule.rho)]
        case "adam", [m, v]:
            m, v = mean(m, g, rule.beta_1), mean(v, g * g, rule.beta_2)
            return p - rate * (m * rule.correction_1) / root(v * rule.correction_2), [m, v]
        case "lion", [m]:
            return p - rate * jnp.sign(mean(m, g, rule.beta_1)), [mean(m, g, rule.beta_2)]
    raise AssertionError(rule.name)
