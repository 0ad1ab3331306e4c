"""What error messages have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not one of ``valid``: lists them, and says which is nearest.

    Of names of several words one may be told by their initials, such as ``lr``.
    """
    choices = sorted(valid)
    near = get_close_matches(str(name).lower(), choices, n=1)
    near = near or [c for c in choices if "_" in c and name == _initials(c)]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}{hint} (expected one of: {', '.join(choices)})")


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))


def batch_of(shape: Sequence[int]) -> str:
    """``(8, 8, 4)`` → ``"(N, 8, 8, 4)"``."""
    return f"({', '.join(('N', *map(str, shape)))})"
