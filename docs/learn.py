"""Make docs/learn.md and the pictures beside it, by running every lesson at its full size.

    python docs/learn.py                  # all of them
    python docs/learn.py xor rates        # some; the others' sections stay as they are

A section is the docstring of the lesson's file, its command and what that printed. Lessons whose
extra isn't installed keep the section that is there.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import sys
import textwrap
from datetime import date
from pathlib import Path

import numpy as np

from fastnn.cli import main
from fastnn.config import config
from fastnn.experiments.lessons import LESSONS, Lesson

HERE = Path(__file__).parent
PAGE, PICTURES = HERE / "learn.md", HERE / "learn"

HEAD = """\
# Lessons

The experiments of the course, each a command that asks a question, measures, leaves a picture and
checks its claim.

```sh
fastnn learn --list          # names, questions, claims, seconds, data
fastnn learn xor             # one; its picture is lessons/xor.png
fastnn learn --all --quick   # all at a reduced size: a minute
```

`--seed N` draws other weights, splits and orders, `--data FOLDER` takes the real set where a lesson
has one, `--json FILE` writes the figures (or the list). A claim that doesn't hold is an error, with
exit code 1. A lesson is one short file in [experiments/lessons](../fastnn/experiments/lessons): its
maths, its networks, its measurement. This page is made by running them, with
`python docs/learn.py`; other programs were busy then, so that its times are
longer than yours will be.
"""


def section(lesson: Lesson) -> str:
    """Run the lesson and write its section."""
    command = ["learn", lesson.name, "--threads", "1", "--out", str(PICTURES)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(command)
    if code:
        raise SystemExit(f"{lesson.name}: exit code {code}\n{printed.getvalue()}")
    shown = [line for line in printed.getvalue().splitlines() if "Picture written" not in line]
    first, _, text = (sys.modules[lesson.run.__module__].__doc__ or "").strip().partition("\n")
    file = Path(sys.modules[lesson.run.__module__].__file__ or "").name
    c = config()
    return "\n".join(
        [
            f"{mark(lesson.name)}",
            f"## {lesson.question}",
            "",
            first,
            textwrap.dedent(text).rstrip(),
            "",
            f"`fastnn learn {lesson.name} --threads 1`, "
            f"[{file}](../fastnn/experiments/lessons/{file}); {date.today()}, {c['cpu']}, "
            f"{c['isa']}; Python {platform.python_version()}, NumPy {np.__version__}:",
            "",
            "```text",
            *shown,
            "```",
            "",
            f"![{lesson.question}](learn/{lesson.name}.png)",
            "",
        ]
    )


def mark(name: str) -> str:
    """The comment before a section."""
    return f"<!-- {name} -->"


def sections() -> dict[str, str]:
    """Those of the page that is there."""
    if not PAGE.exists():
        return {}
    text = PAGE.read_text(encoding="utf-8")
    _, *parts = re.split(r"^(?=<!-- [\w-]+ -->$)", text, flags=re.MULTILINE)
    found = {part[5 : part.index(" -->")]: part.rstrip() + "\n" for part in parts}
    return {name: part for name, part in found.items() if name in LESSONS}


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or LESSONS:
        if LESSONS[name].missing():
            print(LESSONS[name].missing(), file=sys.stderr)
            continue
        new = section(LESSONS[name])
        found = sections() | {name: new}
        parts = [found[n] for n in LESSONS if n in found]
        PAGE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")
        print(f"{name}: written", file=sys.stderr)
