"""The Cython backend: finds the compiled kernels. Their sources are ``kernels/*.pyx``.

Each source is compiled once per instruction set, into ``fastnn._kernels.<family>_<isa>``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastnn.backends import threads
from fastnn.ops import Op

try:
    from fastnn._kernels import cpu  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"no compiled kernels in {Path(__file__).parents[1]} ({error}); if this is the source "
        "folder, install with 'pip install -e .' or run from another folder"
    ) from error

_C_NAMES = {"float32": "float", "float64": "double"}
_loaded: dict[str, Any] = {}

#: How often a thread of GNU's OpenMP looks for work, or for the others' end, before it sleeps: for
#: some 0.1 ms. Its own default is several: no faster, and where another program has one of the
#: cores, every kernel waits as long.
_SPIN = "10000"


def load(op: Op, isa: str, dtype: str) -> Callable[..., Any]:
    """The compiled function of ``op`` for one instruction set and dtype."""
    name = f"fastnn._kernels.{op.family}_{isa}"
    if name not in _loaded:
        module = _import(name)
        module.set_num_threads(threads.get_num_threads())
        _loaded[name] = module
    kernel = getattr(_loaded[name], op.name)
    # One with a second fused type, as that of a max pool's index, finds both at the call.
    return kernel.__signatures__.get(_C_NAMES[dtype], kernel)


def _import(name: str) -> Any:
    """Import a kernel module. If that loads the OpenMP library, it reads the environment then."""
    if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        return importlib.import_module(name)
    os.environ["GOMP_SPINCOUNT"] = _SPIN
    try:
        return importlib.import_module(name)
    finally:
        del os.environ["GOMP_SPINCOUNT"]


@threads.on_change
def _set_num_threads(n: int) -> None:
    for module in _loaded.values():
        module.set_num_threads(n)
