"""What runs: backends, instruction set, compiler, OpenMP, threads, and the op table."""

from __future__ import annotations

import platform
from typing import Any

from fastnn import backends
from fastnn.backends import threads
from fastnn.ops import OPS


def config() -> dict[str, Any]:
    """The configuration as plain data, for ``--json`` and bug reports."""
    try:
        from fastnn._kernels import cpu

        build = cpu.build_info()
    except ImportError as error:
        build = {"error": str(error)}
    refusals = backends.available_backends()
    backend = backends.current_backend()
    return {
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "usable_cpus": threads.usable_cpus(),
        "threads": threads.get_num_threads(),
        "backend": backend,
        "backends": {name: reason or "ok" for name, reason in refusals.items()},
        "isa": backends.current_isa() or "none",
        "isas": list(backends.available_isas()),
        "build": build,
        "ops": dict.fromkeys(OPS, backend),
    }


def show_config() -> None:
    """Print which backend, instruction set, compiler flags and threads are in force, and why."""
    c = config()
    build = c["build"]
    openmp = build.get("openmp")
    rows = {
        "python": c["python"],
        "cpu": f"{c['cpu']} ({c['usable_cpus']} usable)",
        "threads": c["threads"],
        "backend": c["backend"],
        **{
            f"  {name}": "ok" if why == "ok" else f"refused: {why}"
            for name, why in c["backends"].items()
        },
        "instruction set": f"{c['isa']} (of {', '.join(c['isas']) or 'none'})",
        "compiler": build.get("compiler", f"no compiled kernels: {build.get('error')}"),
        "flags": build.get("flags", {}).get(c["isa"]) or "none beyond the common ones",
        "OpenMP": (f"yes ({openmp})" if openmp else "no: the compiled kernels run on one thread"),
        "ops": f"{len(c['ops'])}, all on {c['backend']}",
    }
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
