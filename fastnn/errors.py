"""One helper for errors that name the nearest valid choice."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not one of ``valid``: lists them, nearest first."""
    choices = sorted(valid)
    near = get_close_matches(str(name).lower(), choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}{hint} (expected one of: {', '.join(choices)})")
