"""Train the course's convolutional network on CIFAR-10: which of ten things?

Without --data it draws things of its own, and takes fewer steps.
"""

from __future__ import annotations

import argparse

from fastnn.cli import images
from fastnn.cli.options import CommandParser, count
from fastnn.datasets import draw_cifar10, load_cifar10
from fastnn.experiments.report import Report

_DATA = images.Data("CIFAR-10", load_cifar10, draw_cifar10, drawn=(2000, 500))
_LAYERS = "two convs 5×5×64 with pools, three 3×3×128, dense 384, dropout 0.2, dense 10"
#: (steps, steps between report lines) of the text, and for drawn images.
_STEPS, _DRAWN_STEPS = (10_000, 100), (100, 10)


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn cifar10``."""
    images.add_data_options(
        parser, "CIFAR-10's binary version", "data_batch_1.bin and so on, test_batch.bin"
    )
    parser.add_argument_group("network").add_argument(
        "--batch-norm", action="store_true", help="batch normalisation before every ReLU"
    )
    add = images.add_training_options(parser, "rmsprop", batch_size=128)
    add("--steps", type=count(1), metavar="N",
        help=f"updates; {_STEPS[0]} if unset, {_DRAWN_STEPS[0]} for drawn images")  # fmt: skip
    images.add_output_options(
        parser,
        f"steps between report lines; {_STEPS[1]} if unset, {_DRAWN_STEPS[1]} for drawn images",
    )


def run(args: argparse.Namespace) -> None:
    """Train and test, print, write."""
    steps, every = _STEPS if args.data else _DRAWN_STEPS
    steps, every = args.steps or steps, args.report or every
    network, layers = "cifar10", _LAYERS
    if args.batch_norm:
        network, layers = "cifar10-batch-norm", f"{_LAYERS}, batch normalisation"
    chosen = images.settings(args, network, steps=steps, every=every)
    title = images.title(layers, chosen)
    images.run_one(args, _DATA, chosen, Report(title, every, images.tell, "Step"))
