"""Train a dense network on the digits or on a CSV file, and test it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

import fastnn
from fastnn import losses, optimizers
from fastnn.backends import DTYPES
from fastnn.cli.options import (
    CommandParser,
    add_record_option,
    check_distinct,
    count,
    name,
    number,
    output,
    sizes,
    write_json,
)
from fastnn.datasets import load_digits, read_csv, split
from fastnn.ops import ACTIVATION_ALIASES, ACTIVATIONS
from fastnn.preprocessing import StandardScaler

Array = NDArray[Any]


@dataclass(frozen=True)
class _Data:
    """Data of a run; ``mean`` and ``scale`` are what the features were standardised by.

    Those of one category (one-hot) stay 0 or 1: their mean is set to 0, their scale to 1.
    """

    source: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    class_names: list[str] | None
    feature_names: list[str] | None = None
    mean: Array | None = None
    scale: Array | None = None


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn train``."""
    add = parser.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="FILE.csv",
        help="columns of numbers or categories, and a target; the digits if unset",
    )
    add("--target", metavar="COLUMN", default="-1",
        help="name or number (from 0, negative from the end) of the target column")  # fmt: skip
    add("--header", type=name("header", ("auto", "yes", "no")), default="auto", metavar="WHEN",
        help="whether the first line of the CSV names the columns: auto, yes or no")  # fmt: skip
    add(
        "--delimiter",
        default=",",
        metavar="C",
        help="between the columns of the CSV; \\t for a tab, whitespace for runs of blanks",
    )
    add("--categories", default="auto", metavar="COLUMNS",
        help="names or numbers of the columns that hold categories (one-hot), with commas "
        "between them; none; or auto: those without any number")  # fmt: skip
    add("--test-fraction", type=number(0, 1), default=0.2, metavar="F",
        help="part of the rows that is kept for the test")  # fmt: skip
    add = parser.add_argument_group("network").add_argument
    add("--hidden", type=sizes, default="80,70", metavar="SIZES",
        help="sizes of the hidden layers, or none")  # fmt: skip
    add("--activation", type=name("activation", (*ACTIVATIONS, *ACTIVATION_ALIASES)),
        default="sigmoid", metavar="NAME",
        help=f"of the hidden layers: {', '.join(ACTIVATIONS)}")  # fmt: skip
    add("--dtype", type=name("dtype", DTYPES), default="float32", metavar="NAME",
        help=" or ".join(DTYPES))  # fmt: skip
    add = parser.add_argument_group("training").add_argument
    add("--optimizer", type=name("optimizer", optimizers.OPTIMIZERS), default="adam",
        metavar="NAME", help=", ".join(optimizers.OPTIMIZERS))  # fmt: skip
    add("--learning-rate", type=number(0), metavar="R", help="the optimizer's own if unset")
    add("--loss", type=name("loss", (*losses.LOSSES, "auto")), default="auto", metavar="NAME",
        help="softmax_cross_entropy, sigmoid_cross_entropy (two classes, one output), mse "
        "(regression), or auto: classes for text or up to 50 whole numbers, else mse")  # fmt: skip
    add("--epochs", type=count(1), default=30, metavar="N", help="passes over the training rows")
    add("--batch-size", type=count(1), default=64, metavar="N", help="rows per update")
    add("--save", type=output, metavar="FILE.safetensors", help="write the trained weights")
    add_record_option(add)
    add("--quiet", action="store_true", help="no line per epoch")


def run(args: argparse.Namespace) -> None:
    """Train, print, write."""
    check_distinct(data=args.data, save=args.save, json=args.json, record=args.record)
    given = None if args.loss == "auto" else losses.get(args.loss).name
    data = _load(args, given)
    classes = data.class_names
    loss = given or ("softmax_cross_entropy" if classes else "mse")
    if loss == "sigmoid_cross_entropy" and len(classes or ()) != 2:
        raise ValueError(
            f"sigmoid_cross_entropy needs a target of 2 classes, got {len(classes or ())}"
        )
    outputs = len(classes) if classes and loss == "softmax_cross_entropy" else 1
    metric = "accuracy" if classes else "mean_absolute_error"
    y_train, y_test = data.y_train, data.y_test
    if outputs == 1:
        y_train, y_test = y_train.reshape(-1, 1), y_test.reshape(-1, 1)

    hidden = [fastnn.Dense(units, args.activation) for units in args.hidden]
    net = fastnn.Sequential(
        [*hidden, fastnn.Dense(outputs)],
        input_shape=data.x_train.shape[1:],
        dtype=args.dtype,
        seed=args.seed,
    )
    optimizer = optimizers.get(args.optimizer, args.learning_rate)
    net.compile(optimizer, loss, metrics=[metric])
    kind = f"{len(classes)} classes" if classes else "regression"
    print(
        f"{data.source}: {len(y_train)} rows to train on, {len(y_test)} to test, "
        f"{data.x_train.shape[1]} features, {kind}"
    )
    print(
        f"{loss}, {args.optimizer} with rate {optimizer.learning_rate:g}, batch {args.batch_size}, "
        f"seed {args.seed}, {fastnn.current_backend()}, {fastnn.get_num_threads()} threads\n"
    )
    print(net.summary(), end="\n\n", flush=True)
    history = net.fit(
        data.x_train, y_train, epochs=args.epochs, batch_size=args.batch_size, seed=args.seed,
        verbose=0 if args.quiet else 1,
        callbacks=[fastnn.Recorder(args.record, title=data.source)] if args.record else [],
    )  # fmt: skip
    test = net.evaluate(data.x_test, y_test) if len(y_test) else {}
    if test:
        figures = ", ".join(f"{key} {value:.4g}" for key, value in test.items())
        print(f"Test ({len(y_test)} rows): {figures}")
    else:
        print("No test: every row was trained on")
    if args.save:
        net.save_weights(args.save)
        print(f"Weights written to {args.save}")
    if args.record:
        print(f"Page written to {args.record}")
    write_json(
        args.json,
        {
            "data": data.source,
            "train_rows": len(y_train),
            "test_rows": len(y_test),
            "class_names": classes,
            "feature_names": data.feature_names,
            # Whoever uses the weights must do the same to the features: (x − mean) / scale.
            "standardised": None if data.mean is None else {"mean": data.mean, "scale": data.scale},
            "network": {
                "hidden": args.hidden, "activation": args.activation, "outputs": outputs,
                "dtype": args.dtype, "nbytes": net.nbytes(),
            },
            "training": {
                "loss": loss, "optimizer": args.optimizer,
                "learning_rate": optimizer.learning_rate, "epochs": args.epochs,
                "batch_size": args.batch_size, "seed": args.seed,
                "backend": fastnn.current_backend(), "threads": fastnn.get_num_threads(),
            },
            "history": history.history,
            "test": test,
        },
    )  # fmt: skip


def _load(args: argparse.Namespace, loss: str | None) -> _Data:
    """The digits, or the table with its features standardised by its training rows."""
    if args.data is None:
        for option, default in (
            ("target", "-1"), ("header", "auto"), ("delimiter", ","), ("categories", "auto"),
        ):  # fmt: skip
            if getattr(args, option) != default:
                raise ValueError(f"--{option} needs --data FILE.csv: the digits have no columns")
        if loss not in (None, "softmax_cross_entropy"):
            raise ValueError(
                f"the digits have 10 classes: they need softmax_cross_entropy, not {loss}"
            )
        parts = split(*load_digits(), test_fraction=args.test_fraction, seed=args.seed)
        return _Data("digits", *parts, class_names=[str(i) for i in range(10)])
    task = "auto" if loss is None else "regression" if loss == "mse" else "classification"
    categories: str | list[str] = args.categories
    if categories != "auto":
        categories = [] if categories == "none" else args.categories.split(",")
    table = read_csv(
        args.data,
        args.target,
        task=task,
        header={"auto": None, "yes": True, "no": False}[args.header],
        delimiter=args.delimiter.replace("\\t", "\t"),
        categories=categories,
    )
    if table.class_names is not None and len(table.class_names) < 2:
        raise ValueError(
            f"{args.data}: the target {table.target_name!r} has one class only, "
            f"{table.class_names[0]!r}"
        )
    x_train, y_train, x_test, y_test = split(table.x, table.y, args.test_fraction, args.seed)
    scaler = StandardScaler().fit(x_train)
    scaler.offset_[table.one_hot], scaler.scale_[table.one_hot] = 0, 1
    return _Data(
        args.data,
        scaler.transform(x_train).astype(args.dtype),
        y_train,
        scaler.transform(x_test).astype(args.dtype),
        y_test,
        table.class_names,
        table.feature_names,
        scaler.offset_,
        scaler.scale_,
    )
