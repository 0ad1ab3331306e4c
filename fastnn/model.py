"""``Sequential``: a network that is built, compiled, trained, evaluated, saved and loaded."""

from __future__ import annotations

import copy
import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import backends, losses, metrics, optimizers, training
from fastnn.augmentation import Augmentation
from fastnn.backends import DTYPES
from fastnn.callbacks import Callback
from fastnn.errors import batch_of, unknown
from fastnn.files import check_path, write_atomically
from fastnn.functional import as_array, check_bool, check_count, check_number
from fastnn.layers.base import Layer, Sink
from fastnn.layers.convolutional import convolutional
from fastnn.layers.sequence import Chain
from fastnn.losses import Loss
from fastnn.metrics import Metric
from fastnn.optimizers import Optimizer
from fastnn.parameters import Parameter, ParameterStore
from fastnn.regularizers import Regularizer

Array = NDArray[Any]
Labels = ArrayLike | Mapping[str, ArrayLike]

#: Key of the only output of a model without heads.
ONLY = ""
#: Key of the regularizers' penalties among the losses of the heads.
PENALTY = "penalty on weights"


class Head:
    """One output of the model: its loss, the loss's weight, its metrics."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        loss: Loss,
        weight: float,
        head_metrics: Sequence[tuple[str, Metric]],
    ) -> None:
        self.name, self.shape, self.loss, self.weight = name, shape, loss, weight
        self.metrics = head_metrics
        self.prefix = f"{name}_" if name else ""
        self.y: Array = np.empty(0)
        self.dy: Array = np.empty(0)


class Sequential:
    """Layers one after another, the last of which may be ``Heads``.

    ``layers``: a list, or none and then ``add``. ``dtype``: ``"float32"`` or ``"float64"``.
    ``seed``: of the initial weights and of dropout; the same seed gives the same bits.
    ``input_shape`` (without the batch) builds the model at once; else the first data do.

    >>> import numpy as np
    >>> from fastnn import Dense
    >>> net = Sequential([Dense(8, activation="relu"), Dense(2)], seed=1)
    >>> net.compile(optimizer="adam", loss="softmax_cross_entropy", metrics=["accuracy"])
    >>> x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> history = net.fit(x, [0, 1, 1, 0], epochs=2, batch_size=4, verbose=0)
    >>> sorted(history.history)
    ['accuracy', 'learning_rate', 'loss', 'seconds']
    """

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        input_shape: tuple[int, ...] | None = None,
        dtype: str = "float32",
        seed: int | None = None,
    ) -> None:
        if np.dtype(dtype).name not in DTYPES:
            raise unknown("dtype", np.dtype(dtype).name, DTYPES)
        if seed is not None:
            check_count("Sequential: seed", seed, 0)
        self.dtype = np.dtype(dtype)
        self.seed = seed
        self.chain = Chain([])
        self.built = False
        self._store: ParameterStore | None = None
        self.heads: list[Head] = []
        self.penalized: list[tuple[Parameter, Regularizer]] = []
        self.stop_training = False
        self._compiled: dict[str, Any] | None = None
        self._bound: tuple[Any, ...] = ()
        self._rng: np.random.Generator
        self._seeds: np.random.SeedSequence
        if not isinstance(layers, Iterable) or isinstance(layers, str):
            raise TypeError(f"Sequential: expected a list of layers, got {type(layers).__name__}")
        for layer in layers:
            self.add(layer)
        if input_shape is not None:
            self.build(input_shape)

    def __reduce__(self) -> NoReturn:
        """Neither pickled nor copied: parameters are views, and kernels are no data."""
        raise TypeError(
            "Sequential: a model isn't pickled or copied; save_weights (or get_weights) keeps its "
            "weights, load_weights (or set_weights) gives them to a new model of the same layers"
        )

    # --- construction ---

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order; ``add`` and ``pop`` change them."""
        return tuple(self.chain.children)

    @property
    def trainable(self) -> bool:
        """Whether the model learns: that of all its layers, set together."""
        return self.chain.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.chain.trainable = value

    @property
    def store(self) -> ParameterStore | None:
        """Where the parameters are, None before ``build``; allocated when first asked for."""
        if self._store is None and self.built:
            parameters, rng = list(self.chain.parameters()), copy.deepcopy(self._rng)
            with _as_before_on_error(*parameters):
                store = ParameterStore(parameters, self.dtype)
                store.initialize(rng)
            self._store, self._rng = store, rng
        return self._store

    def add(self, layer: Layer) -> None:
        """Append a layer. A built model keeps its weights, and must be compiled again.

        Weights of the new layer are drawn as if it had been there from the start.
        """
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: expected a layer, got {type(layer).__name__}")
        if any(layer is other for other in self.layers):
            raise ValueError(f"Sequential: the same {type(layer).__name__} object is there twice")
        with _as_before_on_error(self.chain, *layer.walk()):
            self.chain.children = [*self.layers, layer]
            if not self.built:
                return
            _claim_layers(self.chain)
            self.chain.connect_next(layer)
        layer.take_seed(self._seeds.spawn(1)[0])
        self._begin_anew()

    def pop(self) -> Layer:
        """Take the last layer away and return it. A built model keeps the other weights.

        It must then be compiled again. ``pop`` and ``add`` give a trained trunk a new head; what
        ``predict`` returns without one are the trunk's features. The layer has lost its weights,
        and isn't frozen any more.
        """
        if len(self.layers) < 2:
            raise ValueError(f"pop: the model must keep a layer, and has {len(self.layers)}")
        layer = self.chain.children.pop()
        if self.built:
            _release(layer)
            layer.trainable = True
            self.chain.output_shape = self.layers[-1].output_shape
            self._begin_anew()
        return layer

    def to_convolution(self, input_shape: tuple[int, int, int] | None = None) -> None:
        """Turn the dense layers into convolutions, with the same weights, for larger images.

        The first dense layer after ``Flatten`` becomes a convolution with the window that
        ``Flatten`` had, the others 1×1 convolutions; a global pooling becomes one with strides of
        1. Images of the old size give what they gave, as (N, 1, 1, units); larger ones,
        ``input_shape`` (H, W, C), a map of outputs, one for each place of the window: dense
        evaluation, Sermanet and others (2014). ``add(GlobalAveragePooling2D())`` takes their mean.
        Names stay. Call it again for another size. The model must be compiled again.

        Raises ``ValueError``, with all weights as before, for layers that can't be so, as a softmax
        over a whole image, and for images smaller than the window.
        """
        store, layers = self._require_built(), self.chain.children
        shape = tuple(input_shape or self.chain.input_shape)
        convolutions = convolutional("to_convolution", layers)
        if len(shape) != 3 or shape[2:] != self.chain.input_shape[2:]:
            raise ValueError(
                f"to_convolution: input_shape must be (H, W, C), with the channels of the model's "
                f"{self.chain.input_shape}, got {shape}"
            )
        values = {p.name: p.value for p in store.parameters}
        with _as_before_on_error(*self.chain.walk()):
            self.chain.children = convolutions
            _claim_layers(self.chain)
            self.chain.connect(shape, self.dtype)
            for parameter in self.chain.parameters():
                parameter.value = values[parameter.name].reshape(parameter.shape)
        for layer in layers:
            if not any(layer is kept for kept in convolutions):
                _release(layer)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """After a change of the layers: the values stay, all that follows from them goes."""
        self._store, self._compiled, self._bound, self.heads = None, None, (), []

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the parameters for inputs of ``input_shape``, without the batch.

        Raises ``ValueError`` or ``TypeError``, with all as before, if a layer can't take them.
        """
        try:
            shape = tuple(operator.index(n) for n in input_shape)
        except TypeError:
            raise TypeError(
                "Sequential: input_shape must be a tuple of integers, without the batch, "
                f"got {input_shape!r}"
            ) from None
        if not self.layers:
            raise ValueError("Sequential: the model has no layers")
        if not shape or min(shape) < 1:
            raise ValueError(f"Sequential: input_shape must have sizes >= 1, got {input_shape}")
        with _as_before_on_error(self, *self.chain.walk()):
            _claim_layers(self.chain)
            self.chain.connect(shape, self.dtype)
            self._rng = np.random.default_rng(self.seed)
            self._seeds = np.random.SeedSequence(self.seed)
            self.chain.take_seed(self._seeds)
            self.built, self._store, self._bound = True, None, ()
            self._prepare()

    def compile(
        self,
        optimizer: str | Optimizer = "sgd",
        loss: str | Loss | Mapping[str, str | Loss] = "softmax_cross_entropy",
        metrics: Sequence[str | Metric] | Mapping[str, Sequence[str | Metric]] = (),
        loss_weights: Mapping[str, float] | None = None,
        keep_gradients: bool = False,
    ) -> None:
        """Choose optimizer, loss and metrics; forgets the optimizer's state.

        What is trained is decided here too: see ``Layer.trainable``.

        The metric ``"accuracy"`` counts samples whose largest output is right, or with
        ``sigmoid_cross_entropy`` outputs, each by itself.

        With heads, ``loss`` and ``metrics`` are one for all or a dict by head, and
        ``loss_weights`` a dict by head (1 where missing, none below 0). ``keep_gradients=True``
        stores every gradient in memory; otherwise those of large dense layers go to the optimizer
        piece by piece and are never stored.

        Raises ``ValueError`` or ``TypeError``, with all as before, for what doesn't fit.
        """
        before = self._compiled
        self._compiled = {
            "optimizer": optimizers.get(optimizer),
            "loss": loss,
            "metrics": metrics,
            "loss_weights": {} if loss_weights is None else loss_weights,
            "keep_gradients": check_bool("compile", "keep_gradients", keep_gradients),
        }
        try:
            self._prepare()
        except BaseException:
            self._compiled = before
            raise

    @property
    def keeps_gradients(self) -> bool:
        """Whether ``compile`` was told to store every gradient."""
        return bool(self._require_compiled()["keep_gradients"])

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer given to ``compile``."""
        return self._require_compiled()["optimizer"]

    def _prepare(self) -> None:
        """Once both built and compiled: heads, gradients, optimizer state."""
        if self._compiled is None:
            return
        c = self._compiled
        names = None
        if self.built:
            output = self.chain.output_shape
            shapes = output if isinstance(output, dict) else {ONLY: output}
            names = list(shapes)
        chosen_losses = _by_head("loss", c["loss"], names)
        chosen_metrics = _by_head("metrics", c["metrics"], names, default=())
        weights = {
            n: check_number("compile", f"loss_weights[{n!r}]" if n else "loss_weights", weight, 0)
            for n, weight in _by_head("loss_weights", c["loss_weights"], names, 1.0).items()
        }
        found = {n: losses.get(v) for n, v in chosen_losses.items()}
        found_metrics = {
            n: [metrics.get(m, found.get(n)) for m in _listed(v)] for n, v in chosen_metrics.items()
        }
        store = self.store
        if store is None or names is None:
            return
        with _as_before_on_error(store, *store.parameters):
            store.prepare(c["optimizer"], c["keep_gradients"])
        self.heads = [Head(n, shapes[n], found[n], weights[n], found_metrics[n]) for n in names]
        self.penalized = [(p, p.regularizer) for p in store.trained if p.regularizer]
        self.chain.stale = False
        self._bound = ()

    def _require_compiled(self) -> dict[str, Any]:
        if self._compiled is None:
            raise RuntimeError("Sequential: call compile(optimizer=…, loss=…) first")
        return self._compiled

    def _require_shapes(self) -> None:
        if not self.built:
            raise RuntimeError("Sequential: the model isn't built; give it data or build(shape)")

    def _require_built(self) -> ParameterStore:
        self._require_shapes()
        assert self.store is not None
        return self.store

    # --- checked data ---

    def check_inputs(
        self, x: ArrayLike, where: str = "x", augment: Augmentation | None = None
    ) -> Array:
        """``x`` as an array of real numbers (N, *input_shape); builds the model if need be.

        With ``augment`` it is images that become such.
        """
        array = as_array(where, x)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{where} must hold real numbers, got dtype {array.dtype}")
        if array.ndim < 2:
            raise ValueError(f"{where} must have a batch axis and features, got {array.shape}")
        shape = array.shape[1:]
        if augment is not None:
            augment.check(array)
            shape = augment.output_shape(shape)
        if self.store is None:
            self.build(shape)
        if shape != self.chain.input_shape:
            raise ValueError(
                f"{where} must have shape {batch_of(self.chain.input_shape)}, got "
                f"{array.shape if augment is None else f'{batch_of(shape)} after augmentation'}"
            )
        return array

    def check_labels(self, y: Labels, n: int, where: str = "y") -> dict[str, Array]:
        """Labels of n samples by head, as the losses take them."""
        self._require_compiled()
        names = [head.name for head in self.heads]
        if names == [ONLY]:
            if isinstance(y, Mapping):
                raise TypeError(f"{where} must be an array: the model has one output, got a dict")
            y = {ONLY: y}
        elif not isinstance(y, Mapping):
            raise TypeError(f"{where} must be a dict with the heads {', '.join(names)}")
        _check_heads(where, y, names)
        return {
            head.name: head.loss.prepare(
                y[head.name], (n, *head.shape), self.dtype,
                f"{where}[{head.name!r}]" if head.name else where,
            )
            for head in self.heads
        }  # fmt: skip

    def check_data(
        self,
        x: ArrayLike,
        y: Labels,
        x_name: str = "x",
        y_name: str = "y",
        augment: Augmentation | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Both of the above for training or evaluation; at least one sample."""
        self._require_compiled()
        inputs = self.check_inputs(x, x_name, augment)
        if not len(inputs):
            raise ValueError(f"{x_name} must hold at least one sample, got shape {inputs.shape}")
        return inputs, self.check_labels(y, len(inputs), y_name)

    # --- one batch ---

    def bind(self, n: int, training: bool, needs_dx: bool = False) -> SimpleNamespace:
        """Buffers and kernels for a batch of n on the backend in force; cheap if unchanged."""
        key = (n, training, needs_dx, backends.selection())
        if key != self._bound:
            self._bound = ()  # a layer may fail when others have other buffers already
            self.kernels = backends.kernels(self.dtype)
            self.chain.bind(n, self.kernels, needs_dx)
            self._input = self.chain.buffer("x", (n, *self.chain.input_shape))
            for head in self.heads:
                head.y = self.chain.buffer(f"y {head.name}", (n, *head.shape))
                head.dy = self.chain.buffer(f"dy {head.name}", (n, *head.shape))
            self._bound = key
        return self.kernels

    def is_input(self, x: Array) -> bool:
        """Whether the kernels can take x as it is."""
        return x.dtype == self.dtype and x.flags.c_contiguous

    def as_input(self, x: Array) -> Array:
        """x itself if the kernels can take it, else converted into the input buffer."""
        if self.is_input(x):
            return x
        np.copyto(self._input, x, casting="unsafe")
        return self._input

    def losses_of(self, outputs: Any, labels: Mapping[str, Array]) -> dict[str, float]:
        """The weighted loss of each head, and the penalties if there are any; leaves the gradients
        of the losses in the heads' ``dy``.
        """
        found = {
            head.name: head.loss(
                self.kernels,
                outputs[head.name] if head.name else outputs,
                labels[head.name],
                head.weight,
                head.dy,
            )
            for head in self.heads
        }
        if self.penalized:
            found[PENALTY] = sum(penalty(p.value) for p, penalty in self.penalized)
        return found

    def backward(self, sink: Sink) -> Array | None:
        """Back-propagate the heads' ``dy``, all gradients to ``sink``; returns dx if bound so."""
        dy: Any = {head.name: head.dy for head in self.heads}
        dx = self.chain.backward(dy.get(ONLY, dy), sink)
        for parameter, penalty in self.penalized:
            penalty.add_gradient(parameter.value, sink.gradient(parameter))
        return dx

    def step(
        self, x: Array, labels: Mapping[str, Array], x_next: Array | None = None
    ) -> tuple[Any, dict[str, float]]:
        """Forward, loss, backward and update on a prepared batch; outputs and losses by head.

        ``x_next``: the array that the next call of ``step`` will be given, with the values it
        will have, if nothing changes the weights before.

        Raises ``FloatingPointError`` if the loss isn't finite, before anything is updated.
        """
        store = self._require_built()
        if self.chain.stale:
            raise RuntimeError(
                "Sequential: trainable of a layer has changed since compile(…); call it again"
            )
        kernels = self.bind(len(x), training=True)
        x = self.as_input(x)
        outputs = self.chain.forward(x, True)
        found = self.losses_of(outputs, labels)
        if not math.isfinite(sum(found.values())):
            raise FloatingPointError(self._not_finite(x, found, store.step + 1))
        # From here on layers may write over what their forward returned.
        for head in self.heads:
            np.copyto(head.y, outputs[head.name] if head.name else outputs)
        kept = {head.name: head.y for head in self.heads}
        store.begin_step(kernels)
        if x_next is not None and self.is_input(x_next):
            self.chain.look_ahead(x_next)
        self.backward(store)
        store.end_step()
        return kept.get(ONLY, kept), found

    def _not_finite(self, x: Array, found: Mapping[str, float], step: int) -> str:
        """Says where the first number that isn't finite appeared."""
        heads = ", ".join(f"{n or 'loss'}={v}" for n, v in found.items() if not math.isfinite(v))
        if not np.isfinite(x).all():
            row = int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).argmax())
            place = f"the input itself (row {row} of the batch)"
        else:
            bad = (
                layer.name
                for layer in self.chain.leaves()
                if (y := layer.last_output()) is not None and not np.isfinite(y).all()
            )
            name = next(bad, None)
            place = f"the output of layer {name!r}" if name else "the loss itself, or the labels"
        return (
            f"step {step}: {heads} isn't finite; the first NaN or infinity is in {place}. "
            "The weights are as before this step; a smaller learning rate or scaled inputs may help"
        )

    # --- training and use ---

    def train_on_batch(self, x: ArrayLike, y: Labels) -> float:
        """One update on one batch; the loss before it (the weighted sum over heads).

        Raises ``ValueError`` or ``TypeError`` for data that don't fit, ``FloatingPointError`` for
        a loss that isn't finite; weights are as before then.
        """
        inputs, labels = self.check_data(x, y)
        return sum(self.step(inputs, labels)[1].values())

    def test_on_batch(self, x: ArrayLike, y: Labels) -> float:
        """The loss of one batch, without an update."""
        inputs, labels = self.check_data(x, y)
        self.bind(len(inputs), training=False)
        return sum(
            self.losses_of(self.chain.forward(self.as_input(inputs), False), labels).values()
        )

    def fit(
        self,
        x: ArrayLike,
        y: Labels,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[ArrayLike, Labels] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
        verbose: int = 1,
        callbacks: Sequence[Callback] = (),
        augment: Augmentation | None = None,
        workers: int = 0,
    ) -> training.History:
        """Train; returns a ``History`` with a row of figures per epoch.

        ``validation_split`` keeps that fraction of the end of the data for validation.
        ``shuffle`` reorders the samples every epoch, by ``seed``. ``verbose``: 0 silent, 1 a
        progress bar on a terminal and a line per epoch elsewhere. The last batch may be short.
        ``augment`` changes the images, each in each epoch by random numbers of its own, drawn from
        ``seed``; not those of the validation. ``workers``: threads that prepare batches while the
        network computes, with the same results for any number of them.

        Raises as ``train_on_batch`` does; weights keep what the steps before an error made.
        """
        return training.fit(
            self, x, y, epochs=epochs, batch_size=batch_size, validation_data=validation_data,
            validation_split=validation_split, shuffle=shuffle, seed=seed, verbose=verbose,
            callbacks=callbacks, augment=augment, workers=workers,
        )  # fmt: skip

    def evaluate(self, x: ArrayLike, y: Labels, batch_size: int = 256) -> dict[str, float]:
        """Loss and metrics, means over all samples: ``loss``, ``accuracy``, ``domain_loss``…"""
        inputs, labels = self.check_data(x, y)
        return training.evaluate(self, inputs, labels, batch_size)

    def predict(self, x: ArrayLike, batch_size: int = 256) -> Any:
        """Outputs (logits) for x: an array of the caller's own, or a dict of arrays by head."""
        inputs = self.check_inputs(x)
        check_count("predict: batch_size", batch_size, 1)
        shape = self.chain.output_shape
        shapes = shape if isinstance(shape, dict) else {ONLY: shape}
        found = {name: np.empty((len(inputs), *s), self.dtype) for name, s in shapes.items()}
        for start in range(0, len(inputs), batch_size):
            batch = inputs[start : start + batch_size]
            self.bind(len(batch), training=False)
            y = self.chain.forward(self.as_input(batch), False)
            for name, out in found.items():
                out[start : start + len(batch)] = y[name] if name else y
        return found if isinstance(shape, dict) else found[ONLY]

    # --- weights ---

    def get_gradients(self) -> dict[str, Array]:
        """Copies of the gradients of the last step by name, before clipping by value and decay.

        Frozen parameters have none.

        Raises ``RuntimeError`` if they weren't all stored: see ``compile(keep_gradients=True)`` and
        ``Callback.reads_gradients``; and before the first step.
        """
        self._require_compiled()
        store = self._require_built()
        if any(p.gradient is None for p in store.trained):
            raise RuntimeError(
                "get_gradients: those of large dense layers go to the optimizer piece by piece; "
                "compile(keep_gradients=True) stores them all"
            )
        if not store.has_gradients:
            raise RuntimeError("get_gradients: there are none before the first training step")
        return {p.name: p.gradient.copy() for p in store.trained if p.gradient is not None}

    def get_weights(self) -> dict[str, Array]:
        """Copies of all parameters by name, such as ``dense/w``."""
        return {p.name: p.value.copy() for p in self._require_built().parameters}

    def set_weights(self, weights: Mapping[str, ArrayLike]) -> None:
        """Set all parameters by name; raises ``ValueError``, changing nothing, if one misfits."""
        self._set_weights("set_weights", weights, "fiu")

    def _set_weights(self, where: str, weights: Mapping[str, ArrayLike], kinds: str) -> None:
        if not isinstance(weights, Mapping):
            raise TypeError(f"{where}: weights must be a dict by name, got {weights!r}")
        parameters = {p.name: p for p in self._require_built().parameters}
        if set(weights) != set(parameters):
            missing, extra = set(parameters) - set(weights), set(weights) - set(parameters)
            raise ValueError(
                f"{where}: names don't match the model's"
                + (f"; missing: {', '.join(sorted(missing))}" if missing else "")
                + (f"; not in the model: {', '.join(sorted(extra))}" if extra else "")
            )
        arrays = {name: as_array(f"{where}: {name}", weights[name]) for name in parameters}
        for name, array in arrays.items():
            shape, least = parameters[name].shape, parameters[name].least
            if array.shape != shape:
                raise ValueError(f"{where}: {name} must have shape {shape}, got {array.shape}")
            if array.dtype.kind not in kinds:
                numbers = "numbers" if "i" in kinds else "floats"
                raise ValueError(f"{where}: {name} must hold {numbers}, got dtype {array.dtype}")
            if least is not None and len(bad := array[~(array >= least)]):
                raise ValueError(f"{where}: {name} must be >= {least} everywhere, got {bad[0]}")
        for name, array in arrays.items():
            parameters[name].value[...] = array

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write all parameters to ``path`` in the safetensors format, at once or not at all.

        The bytes are read back and compared before the file takes its name.
        """
        from safetensors.numpy import load, save

        check_path("save_weights", path)
        weights = {name: np.ascontiguousarray(a) for name, a in self.get_weights().items()}
        data = save(weights, metadata={"format": "fastnn"})
        back = load(data)
        for name, array in weights.items():
            if not np.array_equal(back[name], array, equal_nan=True):
                raise OSError(f"save_weights: {name} was not read back as written; nothing saved")
        write_atomically(path, data)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read parameters written by ``save_weights``; the model must be built.

        Raises ``ValueError``, changing nothing, if the file is damaged or of another network.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        self._require_built()
        check_path("load_weights", path)
        try:
            weights = load(Path(path).read_bytes())
        except SafetensorError as error:
            raise ValueError(
                f"load_weights: {path} is not a whole safetensors file: {error}"
            ) from None
        self._set_weights(f"load_weights: {path}", weights, "f")

    # --- description ---

    def summary(self) -> str:
        """A table of layers: output shapes, parameters, multiply-adds of a sample; below it, sums
        and bytes of memory.

        Multiply-adds are those of convolutions and dense layers, forward, without the padding's;
        a training step takes about three times as many. Outputs are the arrays that layers make
        in ``forward``: a training step holds them, and gradients of about the same size.
        """
        self._require_shapes()
        rows = [("layer", "output", "parameters", "multiply-adds")]
        multiply_adds = outputs = 0

        def walk(layer: Layer, depth: int) -> None:
            nonlocal multiply_adds, outputs
            shape = layer.output_shape
            text = "" if isinstance(shape, dict) else batch_of(shape)
            count = sum(p.size for p in layer.own_parameters if p.learned)
            title = f"{'  ' * depth}{layer.name}: {layer.describe()}"
            rows.append((title, text, _number(count), _number(layer.multiply_adds)))
            multiply_adds, outputs = (
                multiply_adds + layer.multiply_adds,
                outputs + layer.output_size,
            )
            for child in layer.children:
                walk(child, depth + 1)

        for layer in self.layers:
            walk(layer, 0)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
            for a, b, c, d in rows
        ]
        rule = "-" * len(lines[0])
        lines.insert(1, rule)
        parameters = list(self.chain.parameters())
        frozen = sum(p.size for p in parameters if p.learned and not p.trainable)
        statistics = sum(p.size for p in parameters if not p.learned)
        total, itemsize = self.count_params(), self.dtype.itemsize
        lines += [
            rule,
            f"parameters: {total:,} ({total * itemsize:,} bytes, {self.dtype})"
            + (f", {frozen:,} of them frozen" if frozen else ""),
        ]
        if statistics:
            lines.append(f"statistics: {statistics:,} ({statistics * itemsize:,} bytes)")
        lines += [
            f"multiply-adds: {multiply_adds:,} a sample",
            f"outputs: {outputs * itemsize:,} bytes a sample",
        ]
        if self._compiled:
            store = self._require_built()
            size, streamed = (
                store.nbytes(),
                sum(p.size for p in store.trained if p.gradient is None),
            )
            lines += [
                f"gradients: {size['gradients']:,} bytes"
                + (
                    f" ({streamed:,} parameters are updated piece by piece: "
                    f"{streamed * itemsize:,} bytes saved)"
                    if streamed
                    else ""
                ),
                f"optimizer state ({type(self.optimizer).__name__}): {size['state']:,} bytes",
            ]
        return "\n".join(lines)

    def count_params(self) -> int:
        """The number of parameters, frozen ones too; statistics that aren't trained don't count."""
        self._require_shapes()
        return sum(p.size for p in self.chain.parameters() if p.learned)

    def nbytes(self) -> dict[str, int]:
        """Bytes of ``parameters``, ``gradients`` and optimizer ``state``."""
        return self._require_built().nbytes()


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _listed(chosen: Any) -> Sequence[Any]:
    """Metrics of one head as a list."""
    if isinstance(chosen, (list, tuple)):
        return chosen
    if isinstance(chosen, str) or callable(chosen):
        return [chosen]
    raise TypeError(f"compile: metrics must be a list of metrics, got {chosen!r}")


def _by_head(
    argument: str, value: Any, names: list[str] | None, default: Any = None
) -> dict[str, Any]:
    """``value`` for every head: one for all, or a dict; ``names`` is None before build."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(names or [ONLY], value)
    if names is None:
        return dict(value)
    if names == [ONLY]:
        if value:
            raise ValueError(f"compile: {argument} is a dict, but the model has no heads")
        return {ONLY: default}
    unknown_heads = [name for name in value if name not in names]
    if unknown_heads:
        raise unknown("head in compile's " + argument, unknown_heads[0], names)
    missing = [name for name in names if name not in value]
    if missing and default is None:
        raise ValueError(f"compile: {argument} is missing for head {missing[0]!r}")
    return {name: value.get(name, default) for name in names}


def _check_heads(where: str, given: Mapping[str, Any], names: list[str]) -> None:
    for name in given:
        if name not in names:
            raise unknown(f"head in {where}", name, names)
    for name in names:
        if name not in given:
            raise ValueError(f"{where}: missing head {name!r} (expected: {', '.join(names)})")


def _claim_layers(root: Layer) -> None:
    """Make the layers this model's own, each with a name: its class's, numbered from the second."""
    taken: set[str] = set()
    seen: set[int] = set()

    def visit(layer: Layer) -> None:
        for child in layer.children:
            if id(child) in seen:
                raise ValueError(
                    f"Sequential: the same {type(child).__name__} object is there twice"
                )
            seen.add(id(child))
            if child.owner not in (None, root):
                raise ValueError(
                    f"Sequential: {type(child).__name__} {child.name!r} is part of another model; "
                    "a layer's parameters can't be shared"
                )
            child.owner = root
            child.name = unique(child.name or type(child).__name__.lower())
            taken.add(child.name)
            visit(child)

    def unique(name: str) -> str:
        numbered = (f"{name}_{i}" for i in count(1))
        return next(n for n in chain((name,), numbered) if n not in taken)

    visit(root)


@contextmanager
def _as_before_on_error(*objects: Any) -> Iterator[None]:
    """If the block raises, the objects have the attributes that they had before it."""
    before = [(one, dict(vars(one))) for one in objects]
    try:
        yield
    except BaseException:
        for one, attributes in before:
            vars(one).clear()
            vars(one).update(attributes)
        raise


def _release(layer: Layer) -> None:
    """Make the layer, and all in it, free for another model."""
    for one in layer.walk():
        one.owner, one.own_parameters = None, []
