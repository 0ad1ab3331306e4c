"""Train the course's two-headed networks on Office-31: which domain, which object?

The six runs of the text (three networks, with SGD and with Adam), or those that --hidden and
--optimizer choose, in one table beside the text's figures. Without --data it draws images of its
own: 31 shapes in three styles.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

import numpy as np

import fastnn
from fastnn import plots
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
    seeds,
    sizes,
    table,
    write_json,
)
from fastnn.config import config
from fastnn.datasets import Office31, default_cache_folder, draw_office31, load_office31
from fastnn.experiments.office31 import (
    HEADS,
    NETWORKS,
    OPTIMIZERS,
    Run,
    Settings,
    Summary,
    best,
    name_of,
    parts,
    softmax,
    summarise,
    train_and_test,
)
from fastnn.experiments.report import Report, joined, line_of_test
from fastnn.rules import STATES

#: The stand-in: so many images, and what is done with them unless something else is asked for.
_DRAWN_IMAGES, _DRAWN_NETWORKS, _DRAWN_EPOCHS = 1240, ((64, 32, 10),), 20
#: Test images in the picture of predictions.
_SHOWN = 16


def add_options(parser: CommandParser) -> None:
    """The options of ``fastnn office31``."""
    add = parser.add_argument_group("data").add_argument
    add("--data", type=Path, metavar="FOLDER",
        help="Office-31: folders amazon, dslr and webcam; drawn images if unset")  # fmt: skip
    add("--image-size", type=count(1), default=100, metavar="N",
        help="height and width the images are resized to")  # fmt: skip
    add("--cache", type=Path, metavar="FOLDER",
        help=f"where decoded images are kept (default: {default_cache_folder()})")  # fmt: skip
    add("--no-cache", action="store_true", help="decode every time and keep nothing")
    add("--skip-damaged", action="store_true",
        help="leave out files that can't be read, and name them, instead of stopping")  # fmt: skip
    add(
        "--workers",
        type=count(1, 256),
        metavar="N",
        help="threads that decode; as many as the kernels have if unset",
    )
    runs = parser.add_argument_group("runs: every network with every optimizer, for every seed")
    add = runs.add_argument
    add("--hidden", type=sizes, metavar="SIZES",
        help="sizes of the hidden layers, such as 64,32,10, or none; the text's three networks if "
        "unset")  # fmt: skip
    add("--optimizer", type=name("optimizer", (*OPTIMIZERS, "both")), default="both",
        metavar="NAME", help=f"both (sgd and adam) or one of {', '.join(OPTIMIZERS)}")  # fmt: skip
    add("--learning-rate", type=number(0), default=1e-4, metavar="R", help="of any optimizer")
    add("--epochs", type=count(1), metavar="N",
        help=f"passes over the training images; 50 if unset, {_DRAWN_EPOCHS} for drawn "
        "images")  # fmt: skip
    add("--seeds", type=seeds, metavar="SEEDS",
        help="a run for each of these, such as 1,2,3 or 0-9, in place of the one of --seed; a "
        "seed decides split, weights and order of the images; 1234 is the text's")  # fmt: skip
    add("--scale", action="store_true",
        help="divide the inputs by 255; the text takes them as they are")  # fmt: skip
    add("--state", type=name("state", STATES), default="full", metavar="NAME",
        help="how the optimizer's state is kept: full (float32), bfloat16 or 8bit")  # fmt: skip
    add("--keep-gradients", action="store_true",
        help="store every gradient in memory, in place of updating large weights band by "
        "band; the figures are the same to the bit")  # fmt: skip
    add = parser.add_argument_group("output").add_argument
    add("--report", type=count(1), default=10, metavar="N", help="epochs between report lines")
    add("--quiet", action="store_true", help="no report lines")
    add("--pictures", type=folder, metavar="FOLDER",
        help="write PNGs there: curves of all runs; predictions and confusion matrices of the run "
        "that is best on the validation images")  # fmt: skip
    add_record_option(add)


def run(args: argparse.Namespace) -> None:
    """Load or draw, train, print, write."""
    started = time.perf_counter()
    _check(args)
    check_distinct(
        data=args.data,
        json=args.json,
        pictures=args.pictures,
        cache=args.cache,
        record=args.record,
    )
    if args.pictures:
        plots.require()
    chosen = _settings(args)
    if args.record and len(chosen) > 1:
        raise ValueError(
            f"--record shows one run, but there are {len(chosen)}: choose one with --hidden, "
            "--optimizer and --seed"
        )
    data, source = _data(args)
    print(source, flush=True)
    parts(data, chosen[0].seed)  # what can't be split is an error before anything is trained
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    runs, diverged = [], []
    for settings in chosen:
        callbacks: list[Callback] = []
        if not args.quiet:
            print(flush=True)
            callbacks = [Report(_title(settings, data), args.report, _tell)]
        if args.record:
            callbacks.append(fastnn.Recorder(args.record, title=_title(settings, data)))
        try:
            done = train_and_test(data, settings, callbacks)
        except FloatingPointError as error:
            diverged.append((settings, str(error)))
            _tell(f"diverged: {_label(settings)}: {error}")
            continue
        if not args.quiet:
            _tell(line_of_test(done.test_accuracy.values(), done.test_seconds))
        runs.append(done)
    if not runs:
        raise FloatingPointError(f"every run diverged; {_label(chosen[0])}: {diverged[0][1]}")
    summaries = summarise(runs)
    print("\n" + runs_table(runs, published=args.data is not None))
    for line in _notes(runs, args):
        print(line)
    if diverged:
        names = "; ".join(_label(one) for one, _ in diverged)
        print(f"Diverged, and in no figure above: {len(diverged)} of {len(chosen)} runs: {names}")
    if len(summaries) < len(runs):
        print("\n" + summary_table(summaries))
    seconds = time.perf_counter() - started
    write_json(
        args.json,
        {
            "environment": {"fastnn": fastnn.__version__, "numpy": np.__version__, **config()},
            "data": {
                "source": source,
                "drawn": args.data is None,
                "images": len(data.pixels),
                "size": data.pixels.shape[1:3],
                "domains": data.domain_names,
                "objects": data.object_names,
                "left_out": [[str(path), reason] for path, reason in data.damaged],
                "passed_over": [str(path) for path in data.foreign],
                "notes": data.notes,
                "from_cache": data.from_cache,
            },
            "runs": [one.figures() for one in runs],
            "summaries": [vars(one) for one in summaries],
            "diverged": [{"settings": vars(one), "error": text} for one, text in diverged],
            "seconds": seconds,
        },
    )
    # After the figures, which a picture that can't be drawn must not cost.
    if args.pictures:
        for path in draw_pictures(args.pictures, runs, data):
            print(f"picture: {path}")
    if args.record:
        print(f"page: {args.record}")
    print(f"({seconds:.0f} s in all)")


def _check(args: argparse.Namespace) -> None:
    if args.data is None:
        for option in ("cache", "no_cache", "skip_damaged", "workers"):
            if getattr(args, option):
                raise ValueError(f"--{option.replace('_', '-')} needs --data: drawn images have "
                    "no files")  # fmt: skip
    if args.cache and args.no_cache:
        raise ValueError("give --cache or --no-cache, not both")
    if args.seeds and args.seed:
        raise ValueError("give --seed or --seeds, not both")


def _data(args: argparse.Namespace) -> tuple[Office31, str]:
    """The images, and what they are in a line or several."""
    started = time.perf_counter()
    size = (args.image_size, args.image_size)
    if args.data is None:
        data = draw_office31(_DRAWN_IMAGES, size, args.seed)
        what, how = "No --data: images drawn here as a stand-in for Office-31", "drawn"
    else:
        with naming("--data"):
            data = load_office31(
                args.data,
                size,
                on_damaged="skip" if args.skip_damaged else "raise",
                workers=args.workers,
                progress=not args.quiet,
                cache=None if args.no_cache else args.cache or default_cache_folder(),
            )
        what = f"Office-31 from {args.data}"
        how = "read from the cache" if data.from_cache else "decoded"
    seconds = time.perf_counter() - started
    lines = [
        f"{what}: {len(data.pixels)} images of {args.image_size} × {args.image_size}, "
        f"{len(data.domain_names)} domains, {len(data.object_names)} objects, {how} in "
        f"{seconds:.1f} s"
    ]
    lines += [f"left out: {path}: {reason}" for path, reason in data.damaged]
    lines += [f"passed over, not an image: {path}" for path in data.foreign]
    return data, "\n".join(lines + data.notes)


def _settings(args: argparse.Namespace) -> list[Settings]:
    networks = _DRAWN_NETWORKS if args.data is None else NETWORKS
    if args.hidden is not None:
        networks = (tuple(args.hidden),)
    rules = ("sgd", "adam") if args.optimizer == "both" else (args.optimizer,)
    epochs = args.epochs or (_DRAWN_EPOCHS if args.data is None else 50)
    return [
        Settings(
            hidden,
            rule,
            args.learning_rate,
            epochs,
            seed,
            args.scale,
            args.state,
            args.keep_gradients,
        )
        for hidden, rule, seed in product(networks, rules, args.seeds or [args.seed])
    ]


def _title(settings: Settings, data: Office31) -> str:
    sizes = [data.pixels[0].size, *settings.hidden]
    layers = " → ".join(map(str, sizes))
    return (
        f"{layers} → {len(data.domain_names)} + {len(data.object_names)}, {settings.optimizer} "
        f"with rate {settings.learning_rate:g}, seed {settings.seed}"
        + (f", {settings.state_dtype} state" if settings.state_dtype != "full" else "")
    )


def _label(settings: Settings) -> str:
    return f"{name_of(settings.hidden)} {settings.optimizer} seed {settings.seed}"


def _tell(line: str) -> None:
    print(line, flush=True)


def runs_table(runs: list[Run], published: bool) -> str:
    """A row for each run; ``published``: with the accuracies that the text found."""
    rows = [["hidden layers", "optimizer", "seed", "accuracy", "text", "majority", "dead",
             "seconds", "text/ours", "ms/step", "NumPy/ours", ""]]  # fmt: skip
    for one in runs:
        text = one.settings.published
        rows.append(
            [
                name_of(one.settings.hidden),
                one.settings.optimizer,
                str(one.settings.seed),
                joined(one.test_accuracy.values()),
                joined([text.domain, text.object]) if text and published else "-",
                joined(one.majority.values()),
                f"{max(one.dead_units):.2f}" if one.dead_units else "-",
                f"{one.seconds:.1f}",
                _times(one.times_faster_than_text),
                f"{one.ms_per_step:.2f}",
                _times(one.times_faster_than_numpy),
                _remark(one),
            ]
        )
    return table(rows, left=2)


def _times(factor: float | None) -> str:
    return "-" if factor is None else f"{factor:.1f}×"


def _remark(one: Run) -> str:
    if one.collapsed:
        return "collapsed"
    return ", ".join(f"one {head} only" for head in one.constant_heads)


def _notes(runs: list[Run], args: argparse.Namespace) -> list[str]:
    scaled = "divided by 255" if args.scale else "raw, 0 to 255"
    collapsed = [_label(one.settings) for one in runs if one.collapsed]
    lines = [
        f"Accuracy: {' + '.join(HEADS)}, on the {runs[0].images[2]} test images; "
        f"{runs[0].images[0]} to train on, {runs[0].images[1]} to validate. Inputs {scaled}.",
        "Majority: answering with the most frequent class of the training images. Dead: the part "
        "of units that are 0",
        "  for every test image, in the hidden layer that has most.",
        "Seconds and ms/step are of training, with shuffling, casting and validation. Text: its "
        "laptop. NumPy: the",
        "  same program in plain NumPy (float64), a step on a cloud machine with two cores. "
        "Compared only where inputs",
        "  and steps are the same.",
        f"Collapsed, the same answer to every image: {len(collapsed)} of {len(runs)} runs"
        + (f": {'; '.join(collapsed)}" if collapsed else ""),
    ]
    return lines


def summary_table(summaries: list[Summary]) -> str:
    """Mean ± standard error and median over the seeds, for each network and optimizer."""
    rows = [["hidden layers", "optimizer", "runs", "collapsed"]
            + [f"{head} {what}" for head in HEADS for what in ("mean", "median")]]  # fmt: skip
    for one in summaries:
        figures = []
        for head in HEADS:
            mean = f"{one.mean[head]:.3f}"
            if len(one.seeds) > 1:
                mean += f" ± {one.standard_error[head]:.3f}"
            figures += [mean, f"{one.median[head]:.3f}"]
        rows.append(
            [
                name_of(one.hidden),
                one.optimizer,
                str(len(one.seeds)),
                str(len(one.collapsed_seeds)),
                *figures,
            ]
        )
    return table(rows, left=2)


def draw_pictures(folder: Path, runs: list[Run], data: Office31) -> list[Path]:
    """Curves of all runs, predictions and confusion matrices of the best one."""
    one = best(runs)
    names = {"domain": data.domain_names, "object": data.object_names}
    paths = [folder / f"{stem}.png" for stem in ("curves", "predictions", "confusion")]
    plots.curves(paths[0], _panels(runs))
    shown = slice(0, _SHOWN)
    rows = one.test_rows[shown]
    true = {"domain": data.domain[rows], "object": data.object[rows]}
    answers = {
        head: plots.Answers(
            guessed=one.outputs[head][shown].argmax(axis=1),
            true=true[head],
            class_names=names[head],
            probabilities=softmax(one.outputs[head][shown]),
        )
        for head in HEADS
    }
    plots.predictions(paths[1], data.pixels[rows], answers)
    plots.confusion(paths[2], {head: (one.confusion[head], names[head]) for head in HEADS})
    return paths


def _panels(runs: list[Run]) -> dict[str, dict[str, list[float]]]:
    """Of one run, training beside validation; of several, a line of validation for each."""
    if len(runs) == 1:
        history = runs[0].history
        return {
            title: {"training": history[key], "validation": history[f"val_{key}"]}
            for title, key in _PANELS.items()
        }
    several_seeds = len({one.settings.seed for one in runs}) > 1

    def label(one: Run) -> str:
        seed = f" seed {one.settings.seed}" if several_seeds else ""
        return f"{name_of(one.settings.hidden)} {one.settings.optimizer}{seed}"

    keys = {"training loss": "loss"}
    keys |= {f"{head} accuracy, validation": f"val_{head}_accuracy" for head in HEADS}
    return {title: {label(one): one.history[key] for one in runs} for title, key in keys.items()}


_PANELS = {"loss": "loss", **{f"{head} accuracy": f"{head}_accuracy" for head in HEADS}}
