"""What a lesson is: a question, an experiment that answers it, and a claim that is checked."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from fastnn.panels import Panel

T = TypeVar("T")

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}


class ClaimError(AssertionError):
    """A lesson's claim didn't hold; the message says what was expected and what was measured."""


@dataclass(frozen=True)
class Settings:
    """How to run a lesson.

    ``quick``: a reduced size, for a test that it works. ``data``: a folder or file with the real
    set, for lessons that take one; None: what the package has or draws.
    """

    seed: int = 0
    quick: bool = False
    data: Path | None = None

    def size(self, full: T, quick: T) -> T:
        """One of the two, by ``quick``."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Table:
    """Figures in words: the first row is the head, the first ``left`` columns are names."""

    title: str
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True)
class Check:
    """``what`` was expected to be ``relation`` (``>=``, ``>``, ``<=``, ``<``, ``==``) ``bound``.

    NaN holds for nothing.
    """

    what: str
    measured: float
    relation: str
    bound: float

    @property
    def holds(self) -> bool:
        """Whether it was so."""
        return bool(_RELATIONS[self.relation](self.measured, self.bound))

    def __str__(self) -> str:
        return (
            f"expected {self.what} {self.relation} {self.bound:.4g}, measured {self.measured:.4g}"
        )


@dataclass(frozen=True)
class Result:
    """What came of a lesson.

    ``data``: what it learned from, in a line. ``checks``: the claim, in numbers; at least one.
    ``panels``: its picture. ``figures``: numbers for ``--json``, beside the tables.
    """

    data: str
    tables: Sequence[Table]
    checks: Sequence[Check]
    panels: Sequence[Panel]
    figures: Mapping[str, Any] = field(default_factory=dict)

    def require(self, name: str) -> None:
        """Raise ``ClaimError``, with each check that failed, unless all hold."""
        failed = [str(check) for check in self.checks if not check.holds]
        if failed:
            raise ClaimError(f"{name}: {'; '.join(failed)}")


@dataclass(frozen=True)
class Lesson:
    """One experiment of the course.

    ``seconds``: about how long ``run`` takes at full size on one thread. ``data``: what
    ``--data`` names, empty if the lesson takes none. ``needs``: the module of an extra without
    which it can't run, and the package to install.
    """

    name: str
    question: str
    claim: str
    run: Callable[[Settings], Result]
    seconds: float
    data: str = ""
    needs: tuple[str, str] | None = None

    def missing(self) -> str:
        """What to install before it can run; empty if nothing."""
        if self.needs is None or find_spec(self.needs[0]) is not None:
            return ""
        return f"the lesson {self.name} needs {self.needs[1]}: pip install {self.needs[1]}"
