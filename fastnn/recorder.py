"""A network learning, seen: a callback that writes what happens inside a network to a page."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.augmentation import ten_crop
from fastnn.callbacks import Callback
from fastnn.errors import batch_of, unknown
from fastnn.files import check_path
from fastnn.functional import check_bool, check_count
from fastnn.layers.base import Layer
from fastnn.layers.conv import Conv2D
from fastnn.parameters import Parameter
from fastnn.recorder_page import LEVELS, Picture, Plane, Record, Snapshot, record_page

Array = NDArray[Any]
T = TypeVar("T")

#: Elements of an array that its distribution is taken of.
_ELEMENTS = 5_000
#: What is kept of a long run: from half as many to so many snapshots, and pictures.
_SNAPSHOTS, _PICTURES = 200, 8
#: Layers, filters, samples in a picture of the plane, and cells of it along each axis.
_LAYERS, _FILTERS, _POINTS, _CELLS = 12, 64, 150, 64
#: Writing takes at most this part of the time.
_WRITING = 0.1


class Recorder(Callback):
    """Writes a page to ``path`` on which a network is seen learning: one HTML file, no network.

    On it are loss and metrics by epoch, and the loss of each step; how weights, gradients and
    outputs are distributed, layer by layer, over time; the filters of the first convolution; the
    decision boundary, where samples are points of the plane and the (first) head's loss is a
    cross-entropy.

    Snapshots are taken before training, after it and at the end of each epoch, or every ``every``
    steps. When there are 200 every second one is dropped, and from then on only every second is
    taken: n moments cost about 200 + 100 log₂(n / 200) snapshots. A distribution is minimum, 5,
    25, 50, 75, 95 %, maximum and standard deviation; of an array of more than 5,000 elements, of
    5,000 at places that are drawn once. Of each layer the largest parameter is looked at, and of
    more than 12 layers, 12; ``layers`` names others, with all their parameters.

    Outputs are those for ``samples`` samples in inference, drawn by ``seed`` from the training
    data or from ``data``, a pair (x, y) as ``fit`` takes it. Of images that are larger than the
    network's, as with ``random_crop``, the middle is taken; for smaller ones ``data`` is needed. If
    the network fails there, outputs are missing, a ``RuntimeWarning`` says so once, and training
    goes on. No random number of the network's is used and nothing of it is changed, so it learns as
    without, to the bit. (With ``every``, ``fit`` can't look ahead over a snapshot; backends other
    than Cython's may then round differently.)

    Gradients are those of the last step, as ``get_gradients`` has them. Those of large dense
    weights aren't stored and can't be seen, unless ``keep_gradients=True``: all are written to
    memory and read back then, which takes more time and memory (``Callback.reads_gradients``).

    The page is written when training begins, at the end of epochs (not so often that writing takes
    more than a tenth of the time) and when training ends, with an error too. ``fit`` begins with
    nothing remembered. The figures are in ``record``. What can't be written once training has begun
    is a warning, and is tried again at the next epoch.

    Raises ``TypeError`` or ``ValueError`` for a bad argument; what only the model can tell, and
    ``OSError`` where ``path`` can't be written, when training begins.
    """

    only_reads = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        data: tuple[ArrayLike, Any] | None = None,
        every: int | None = None,
        keep_gradients: bool = False,
        layers: Sequence[str] | None = None,
        samples: int = 64,
        seed: int = 0,
        title: str = "A network learning",
    ) -> None:
        check_path("Recorder", path)
        if not isinstance(title, str):
            raise TypeError(f"Recorder: title must be a string, got {title!r}")
        if data is not None and (not isinstance(data, tuple | list) or len(data) != 2):
            raise ValueError("Recorder: data must be a pair (x, y)")
        if every is not None:
            check_count("Recorder: every", every, 1)
        if layers is not None and not isinstance(layers, list | tuple):
            raise TypeError(f"Recorder: layers must be a list of names, got {layers!r}")
        check_count("Recorder: samples", samples, 1)
        check_count("Recorder: seed", seed, 0)
        self.path, self.given, self.every = path, data, every
        self.reads_gradients = check_bool("Recorder", "keep_gradients", keep_gradients)
        self.layers, self.samples, self.seed, self.title = layers, samples, seed, title

    # --- told by fit ---

    def on_train_begin(self) -> None:
        self._began, self._wrote, self._writing = time.perf_counter(), 0.0, 0.0
        self._warned = False
        model = self.model
        x, labels = self.data
        if self.given is not None:
            x, labels = model.check_data(*self.given, "Recorder: data x", "Recorder: data y")
        layers = [layer for layer in model.chain.walk() if layer is not model.chain]
        trained, ends, left_out = self._choose(layers)
        self._parameters = [p for layer in trained for p in self._shown(layer)]
        self._ends = ends
        rng = np.random.default_rng(self.seed)
        # Augmentation may take images of another size than the network does.
        shape = model.chain.input_shape
        fits = all(n >= m for n, m in zip(x.shape[1:], shape, strict=True))
        rows = np.sort(rng.permutation(len(x))[: self.samples if fits else 0])
        self._samples = x[rows]
        if fits and x.shape[1:] != shape:
            self._samples = ten_crop(self._samples, (shape[0], shape[1]))[4]
        self._first = next((one for one in layers if isinstance(one, Conv2D)), None)
        self._snapshots: _Thinned[Snapshot] = _Thinned(_SNAPSHOTS)
        self._pictures: _Thinned[Picture] = _Thinned(_PICTURES)
        size = sum(p.size for p in model.chain.parameters())
        self.record = Record(
            title=self.title,
            about=f"{type(model.optimizer).__name__}, {size:,} parameters",
            network=[_row(layer) for layer in layers],
            first_step=self._step,
            snapshots=self._snapshots.items,
            pictures=self._pictures.items,
            filters=self._first.name if self._first else "",
            plane=self._plane(x, labels, rng),
            not_stored=[p.name for p in self._parameters if p.trainable and p.gradient is None],
            left_out=left_out,
            unfit=None if fits else (x.shape[1:], shape),
        )
        with self._timed():
            self._take()
        self._write()

    def on_batch_end(self, step: int, loss: float) -> None:
        self.record.losses.append(loss)
        if self.every and step % self.every == 0:
            with self._timed():
                self._take()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        for key, value in logs.items():
            self.record.history.setdefault(key, []).append(value)
        if self.every is None:
            with self._timed():
                self._take()
        if self._writing <= _WRITING * (time.perf_counter() - self._wrote):
            self._write_again()

    def on_train_end(self) -> None:
        with self._timed():
            self._take(last=True)
        self._write_again()

    def on_train_error(self) -> None:
        with suppress(OSError):  # the error that ended training says more
            self._write()

    # --- what is recorded ---

    @property
    def _step(self) -> int:
        store = self.model.store
        assert store is not None
        return store.step

    def _choose(self, layers: list[Layer]) -> tuple[list[Layer], list[Layer], int]:
        """Layers whose parameters, and whose outputs, are looked at; how many aren't."""
        if self.layers is not None:
            names = {layer.name: layer for layer in layers}
            for name in self.layers:
                if name not in names:
                    raise unknown("layer for Recorder", name, names)
            layers = [layer for layer in layers if layer.name in self.layers]
        trained = [layer for layer in layers if layer.own_parameters]
        ends = [layer for layer in layers if not layer.children]
        if self.layers is not None:
            return trained, ends, 0
        left_out = max(0, len(trained) - _LAYERS, len(ends) - _LAYERS)
        return _spread(trained), _spread(ends), left_out

    def _shown(self, layer: Layer) -> list[Parameter]:
        if self.layers is not None:
            return layer.own_parameters
        return [max(layer.own_parameters, key=lambda p: p.size)]

    def _plane(
        self, x: Array, labels: Mapping[str, Array], rng: np.random.Generator
    ) -> Plane | None:
        """The plane of the samples, if that is where they are and they have classes."""
        head = self.model.heads[0]
        outputs = int(np.prod(head.shape))
        one = head.loss.name == "sigmoid_cross_entropy" and outputs == 1
        if x.shape[1:] != (2,) or not (one or head.loss.name == "softmax_cross_entropy"):
            return None
        low, high = x.min(axis=0).astype(float), x.max(axis=0).astype(float)
        pad = np.where(high > low, 0.15 * (high - low), 1.0)
        rows = rng.permutation(len(x))[:_POINTS]
        extent = low[0] - pad[0], high[0] + pad[0], low[1] - pad[1], high[1] + pad[1]
        points = x[rows, 0], x[rows, 1], _classes(labels[head.name][rows])
        return Plane(extent, 2 if one else outputs, points)

    def _take(self, last: bool = False) -> None:
        """A snapshot and a picture, if it is time for them; the ``last`` ones if not taken."""
        step, snapshots, pictures = self._step, self.record.snapshots, self.record.pictures
        due = snapshots[-1].step != step if last else self._snapshots.due()
        if due:
            self._snapshots.add(self._snapshot(step))
        if pictures[-1].step != step if last else due and self._pictures.due():
            self._pictures.add(self._picture(step))

    def _snapshot(self, step: int) -> Snapshot:
        weights = {p.name: distribution(p.value) for p in self._parameters}
        stored = self._parameters if step > self.record.first_step else []
        gradients = {p.name: distribution(p.gradient) for p in stored if p.gradient is not None}
        return Snapshot(step, weights, gradients, self._tried(self._outputs) or {})

    def _tried(self, run: Callable[[], T]) -> T | None:
        """What ``run`` gives; None, with a warning for the first, if the network fails."""
        try:
            return run()
        except Exception as error:
            if not self.record.failed:
                self.record.failed = f"{type(error).__name__}: {error}"
                warnings.warn(
                    f"Recorder: outputs can't be seen at step {self._step}: {self.record.failed}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None

    def _outputs(self) -> dict[str, Array]:
        """Distributions of what the layers give for the samples, if there are any."""
        model = self.model
        activations: dict[str, Array] = {}
        if not len(self._samples):
            return activations
        model.bind(len(self._samples), training=False)
        x = model.as_input(self._samples)
        model.chain.forward(x, False)
        seen = [x]
        for layer in self._ends:
            y = layer.last_output()
            # What only reshapes or hands on its input shows nothing new.
            if y is not None and not any(np.may_share_memory(y, other) for other in seen):
                activations[layer.name] = distribution(y)
                seen.append(y)
        return activations

    def _picture(self, step: int) -> Picture:
        filters = classes = None
        if self._first is not None:
            w = self._first.w.value.reshape(self._first.geometry.w_shape)
            filters = w[..., :_FILTERS].copy()
        if (plane := self.record.plane) is not None:
            left, right, bottom, top = plane.extent
            # In the middle of each cell.
            along = (np.arange(_CELLS) + 0.5) / _CELLS
            across, up = left + along * (right - left), bottom + along * (top - bottom)
            grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
            outputs, name = self._tried(lambda: self.model.predict(grid)), self.model.heads[0].name
            if outputs is not None:
                classes = _classes(outputs[name] if name else outputs, 0.0).reshape(_CELLS, _CELLS)
        return Picture(step, filters, classes)

    # --- the page ---

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.record.recording += time.perf_counter() - started

    def _write(self) -> None:
        started = time.perf_counter()
        self.record.seconds = started - self._began
        record_page(self.record).write(self.path)
        self._wrote = time.perf_counter()
        self._writing = self._wrote - started
        self.record.recording += self._writing

    def _write_again(self) -> None:
        """The same once training has begun: what can't be written then must not end it."""
        try:
            self._write()
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"Recorder: the page isn't written any more: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )


class _Thinned(Generic[T]):
    """Every moment of a long time, or every second, fourth …: ``most`` at most, an even number."""

    def __init__(self, most: int) -> None:
        self.items: list[T] = []
        self.most, self.interval, self.moments = most, 1, 0

    def due(self) -> bool:
        """Whether something of this moment is to be added."""
        self.moments += 1
        return (self.moments - 1) % self.interval == 0

    def add(self, item: T) -> None:
        """Add it; with ``most`` there, every second goes before."""
        if len(self.items) == self.most:
            del self.items[1::2]
            self.interval *= 2
        self.items.append(item)


def distribution(a: ArrayLike) -> Array:
    """Minimum, 5, 25, 50, 75, 95 %, maximum and standard deviation of a, any shape: (8,) float64.

    Of more than 5,000 elements, of 5,000 at places drawn with seed 0: the same ones in every
    array of that size. NaN if there are none, or one isn't finite.
    """
    flat = np.asarray(a).reshape(-1)  # sorted in its own dtype, twice as fast as in float64
    if flat.size > _ELEMENTS:
        flat = flat[_places(flat.size)]
    values = np.sort(flat)
    if not values.size or not np.isfinite(values[[0, -1]]).all():  # NaN is sorted to the end
        return np.full(len(LEVELS) + 1, np.nan)
    place = np.array(LEVELS) * (values.size - 1)
    below = place.astype(np.intp)
    above = np.minimum(below + 1, values.size - 1)
    low, high = values[below].astype(np.float64), values[above].astype(np.float64)
    return np.append(low + (place - below) * (high - low), values.std(dtype=np.float64))


@functools.lru_cache(maxsize=256)
def _places(size: int) -> Array:
    return np.sort(np.random.default_rng(0).integers(0, size, _ELEMENTS))


def _classes(a: Array, limit: float = 0.5) -> Array:
    """Classes (N,) of labels or outputs: as they are, the largest of several, above the limit."""
    if a.ndim == 1:
        return a
    return (a[:, 0] > limit).astype(np.intp) if a.shape[1] == 1 else a.argmax(axis=1)


def _spread(layers: list[Layer]) -> list[Layer]:
    """So many as are shown, evenly apart, the first and the last among them."""
    if len(layers) <= _LAYERS:
        return layers
    return [layers[i] for i in np.linspace(0, len(layers) - 1, _LAYERS).round().astype(int)]


def _row(layer: Layer) -> tuple[str, str, str, int | None]:
    shape = layer.output_shape
    text = "" if isinstance(shape, dict) else batch_of(shape)
    return layer.name, layer.describe(), text, sum(p.size for p in layer.own_parameters) or None
