"""Train the course's networks, or LeNet-5, on MNIST: which digit?

Without --data it draws digits of its own.
"""

from __future__ import annotations

import argparse

from fastnn.cli import images
from fastnn.cli.options import CommandParser, count, name
from fastnn.datasets import draw_mnist, load_mnist
from fastnn.experiments.report import Report

_DATA = images.Data("MNIST", load_mnist, draw_mnist, drawn=(6000, 1000))
#: Networks by option, with what the report's first line says of them.
_NETWORKS = {
    "single-layer": "dense 10",
    "hidden-layer": "dense 1000, dense 10",
    "cnn": "conv 6@5×5, pool, conv 12@5×5, pool, dense 128, dense 10",
    "lenet5": "LeNet-5: conv 6@5×5, pool, conv 16@5×5, pool, dense 120, 84, 10",
}


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn mnist``."""
    images.add_data_options(parser, "MNIST", "the four IDX files, plain or .gz")
    add = parser.add_argument_group("network").add_argument
    add("--network", type=name("network", _NETWORKS), default="cnn", metavar="NAME",
        help=", ".join(_NETWORKS))  # fmt: skip
    add = images.add_training_options(parser, "adam", batch_size=64)
    add("--epochs", type=count(1), default=3, metavar="N", help="passes over the training images")
    images.add_output_options(parser, "epochs between report lines (default: 1)")


def run(args: argparse.Namespace) -> None:
    """Train and test, print, write."""
    chosen = images.settings(args, args.network, epochs=args.epochs)
    title = images.title(_NETWORKS[args.network], chosen)
    images.run_one(args, _DATA, chosen, Report(title, args.report or 1, images.tell))
