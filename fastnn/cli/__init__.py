"""The command ``fastnn``: ``compare``, ``lab``, ``office31`` and so on, one file each.

A usage or data error is one line on stderr and exit code 2, a lesson's claim that doesn't hold 1;
an interrupt is 130.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import numpy as np

import fastnn
from fastnn.backends import threads
from fastnn.cli import cifar10, compare, info, lab, learn, mnist, office31, paths, train
from fastnn.cli.options import CommandParser
from fastnn.errors import unknown
from fastnn.experiments.lessons import ClaimError

COMMANDS = {
    "compare": compare,
    "learn": learn,
    "lab": lab,
    "paths": paths,
    "office31": office31,
    "mnist": mnist,
    "cifar10": cifar10,
    "train": train,
    "info": info,
}


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="fastnn",
        description="A neural-network engine for CPUs whose source reads in an evening.",
        epilog="fastnn COMMAND --help says more of each.",
    )
    parser.add_argument("--version", action="version", version=f"fastnn {fastnn.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, module in COMMANDS.items():
        text = (module.__doc__ or "").strip()
        sub = commands.add_parser(name, help=text.splitlines()[0], description=text)
        module.add_options(sub)
        sub.add_common_options()
        sub.set_defaults(run=module.run)
    return parser


def _run(argv: list[str]) -> None:
    if not argv:
        raise ValueError(f"expected a command: {', '.join(COMMANDS)} (or --help)")
    if argv[0] not in (*COMMANDS, "-h", "--help", "--version"):
        if argv[0].startswith("-"):
            raise ValueError(f"{argv[0]}: give the command first: {', '.join(COMMANDS)}")
        raise unknown("command", argv[0], COMMANDS)
    args = _parser().parse_args(argv)
    threads_before = threads.get_num_threads()
    try:
        threads.set_num_threads(args.threads or threads_before)
        # No warnings of NumPy's: the model itself says when a number isn't finite, and where.
        with (
            fastnn.use_backend(args.backend or fastnn.current_backend()),
            np.errstate(all="ignore"),
        ):
            args.run(args)
    finally:
        threads.set_num_threads(threads_before)
    if sys.stdout:
        sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no arrow shows a question mark; the figures matter more.
            stream.reconfigure(errors="replace")
    try:
        _run(sys.argv[1:] if argv is None else list(argv))
    except SystemExit as end:  # --help and --version
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except ClaimError as error:
        return _fail(str(error), 1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        return _fail(str(error) or type(error).__name__, 2)
    return 0


def _fail(message: str, code: int) -> int:
    print("fastnn: error:", " ".join(message.split()), file=sys.stderr)
    return code
