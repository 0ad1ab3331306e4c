"""What the commands of single image networks share: ``fastnn mnist`` and ``fastnn cifar10``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import optimizers, plots
from fastnn.backends.threads import MAX_THREADS
from fastnn.callbacks import Callback
from fastnn.cli.options import (
    CommandParser,
    add_record_option,
    check_distinct,
    count,
    folder,
    name,
    naming,
    number,
    write_json,
)
from fastnn.config import config
from fastnn.datasets import ImageSet
from fastnn.datasets.images import PathLike
from fastnn.experiments.images import CHOICES, Run, Settings, parts, train_and_test
from fastnn.experiments.office31 import softmax
from fastnn.experiments.report import Report, line_of_test

#: Test images in the picture of predictions.
_SHOWN = 16


@dataclass(frozen=True)
class Data:
    """Where a command's images come from; ``drawn``: images of the stand-in, train and test."""

    title: str
    load: Callable[[PathLike], ImageSet]
    draw: Callable[[int, int, int], ImageSet]
    drawn: tuple[int, int]


def add_data_options(parser: CommandParser, title: str, files: str) -> None:
    """--data."""
    parser.add_argument_group("data").add_argument(
        "--data", type=Path, metavar="FOLDER", help=f"{title}: {files}; drawn images if unset"
    )


def add_training_options(
    parser: CommandParser, optimizer: str, batch_size: int
) -> Callable[..., Any]:
    """--optimizer, --learning-rate, --cosine, --batch-size, --augment and --workers.

    Returns the group's ``add_argument``, for more.
    """
    add = parser.add_argument_group("training").add_argument
    add("--optimizer", type=name("optimizer", optimizers.OPTIMIZERS), default=optimizer,
        metavar="NAME", help=", ".join(optimizers.OPTIMIZERS))  # fmt: skip
    add("--learning-rate", type=number(0), metavar="R", help="the optimizer's own if unset")
    add("--cosine", action="store_true", help="the rate falls to 0 along half a cosine")
    add("--batch-size", type=count(1), default=batch_size, metavar="N", help="images per update")
    add("--augment", action="store_true", help="change the training images a little, each time")
    add("--workers", type=count(0, MAX_THREADS), default=0, metavar="N",
        help="threads that prepare batches while the network computes")  # fmt: skip
    return add


def add_output_options(parser: CommandParser, report: str) -> None:
    """--report, --quiet, --pictures and --record; ``report`` is the help of the first."""
    add = parser.add_argument_group("output").add_argument
    add("--report", type=count(1), metavar="N", help=report)
    add("--quiet", action="store_true", help="no report lines")
    add("--pictures", type=folder, metavar="FOLDER",
        help="write PNGs there: curves, predictions, confusion matrix")  # fmt: skip
    add_record_option(add)


def settings(
    args: argparse.Namespace, network: str, epochs: int = 0, steps: int = 0, every: int = 100
) -> Settings:
    """The settings of a run, those of the shared options with these."""
    rate = optimizers.get(args.optimizer, args.learning_rate).rate(1)
    return Settings(
        network, args.optimizer, rate, args.batch_size, epochs, steps, every, args.seed,
        args.augment, args.workers, args.cosine,
    )  # fmt: skip


def title(network: str, chosen: Settings) -> str:
    """What the report's first line says."""
    falls = ", falling to 0" if chosen.cosine else ""
    augmented = ", images augmented" if chosen.augment else ""
    return (
        f"{network}; {chosen.optimizer} with rate {chosen.learning_rate:g}{falls}, batches of "
        f"{chosen.batch_size}, seed {chosen.seed}{augmented}"
    )


def tell(line: str) -> None:
    """Print at once, though the output be a file."""
    print(line, flush=True)


def run_one(args: argparse.Namespace, where: Data, chosen: Settings, report: Report) -> None:
    """Load or draw, train, print, write."""
    started = time.perf_counter()
    check_distinct(data=args.data, json=args.json, pictures=args.pictures, record=args.record)
    if args.pictures:
        plots.require()
    data, source = _data(args, where)
    print(source, flush=True)
    parts(data, chosen.seed)  # what can't be split is an error before anything is made
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    print("choices where the text leaves them open:")
    for choice in CHOICES[chosen.network]:
        print(f"  {choice}")
    if not args.quiet:
        print(flush=True)
    callbacks: list[Callback] = [] if args.quiet else [report]
    if args.record:
        callbacks.append(fastnn.Recorder(args.record, title=report.title))
    done = train_and_test(data, chosen, callbacks)
    print(line_of_test([done.test_accuracy], done.test_seconds))
    for line in _notes(done):
        print(line)
    seconds = time.perf_counter() - started
    write_json(
        args.json,
        {
            "environment": {"fastnn": fastnn.__version__, "numpy": np.__version__, **config()},
            "data": {
                "source": source,
                "drawn": args.data is None,
                "class_names": data.class_names,
                "size": data.x_train.shape[1:],
            },
            "choices": CHOICES[chosen.network],
            "run": done.figures(),
            "seconds": seconds,
        },
    )
    # After the figures, which a picture that can't be drawn must not cost.
    if args.pictures:
        for path in draw_pictures(args.pictures, done, data):
            print(f"picture: {path}")
    if args.record:
        print(f"page: {args.record}")
    print(f"({seconds:.0f} s in all)")


def _data(args: argparse.Namespace, where: Data) -> tuple[ImageSet, str]:
    """The images, and what they are in a line."""
    started = time.perf_counter()
    if args.data is None:
        data = where.draw(*where.drawn, args.seed)
        what, how = f"No --data: images drawn here as a stand-in for {where.title}", "drawn"
    else:
        with naming("--data"):
            data = where.load(args.data)
        what, how = f"{where.title} from {data.source}", "read"
    height, width, _ = data.x_train.shape[1:]
    return data, (
        f"{what}: {len(data.x_train)} images to train on and {len(data.x_test)} to test, "
        f"{height} × {width}, {how} in {time.perf_counter() - started:.1f} s"
    )


def _notes(done: Run) -> list[str]:
    epochs = done.settings.epochs
    by_epoch = f", {done.seconds / epochs:.2f} by epoch" if epochs else ""
    waited = sum(done.history.get("waiting", []))
    waits = f", {1000 * waited / done.steps:.2f} of them waiting for batches" if waited else ""
    return [
        f"{done.images[2]} images to test, {done.images[0]} trained on, {done.images[1]} of the "
        "training images kept for validation.",
        f"Training: {done.seconds:.1f} s for {done.steps} steps{by_epoch}, {done.ms_per_step:.2f} "
        f"ms by step, with shuffling, casting and validation{waits}.",
    ]


def draw_pictures(place: Path, done: Run, data: ImageSet) -> list[Path]:
    """Curves, the first test images with what the network says of them, confusion matrix."""
    paths = [place / f"{stem}.png" for stem in ("curves", "predictions", "confusion")]
    panels = {
        key: {"training": done.history[key], "validation": done.history[f"val_{key}"]}
        for key in ("loss", "accuracy")
    }
    plots.curves(
        paths[0], panels, "epoch" if done.settings.epochs else f"{done.settings.every} steps"
    )
    images = data.x_test[:_SHOWN]
    answers = plots.Answers(
        guessed=done.outputs[:_SHOWN].argmax(axis=1),
        true=data.y_test[:_SHOWN],
        class_names=data.class_names,
        probabilities=softmax(done.outputs[:_SHOWN]),
    )
    grey = images.shape[3] == 1
    plots.predictions(paths[1], images[..., 0] if grey else images, {"guess": answers})
    plots.confusion(paths[2], {"test images": (done.confusion, data.class_names)})
    return paths
