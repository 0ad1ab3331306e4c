"""Ledgers for tests: no measurement, but as varied as measured ones."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Name, backend, and how slow.
ENGINES = (
    ("fastnn", "cython", 1.0), ("fastnn", "numba", 1.25), ("fastnn", "reference", 6.0),
    ("PyTorch", "", 1.9), ("PyTorch fused", "", 1.5), ("JAX", "", 2.2),
)  # fmt: skip
#: Name, arrays of state, flops per parameter, and how fast it learns.
OPTIMIZERS = (
    ("SGD", 0, 2, 0.6),
    ("Momentum", 1, 4, 1.5),
    ("RMSprop", 1, 8, 2.0),
    ("Adam", 2, 12, 3.0),
)
STATE_BYTES = {"full": 4.0, "bfloat16": 2.0, "8bit": 1.03}


def ledger(seed: int = 5) -> dict[str, Any]:
    """Two networks: one with every figure, one that has neither curves nor accuracies."""
    rng = np.random.default_rng(seed)
    networks = {"digits": (11_580, 0.11), "30,000 inputs": (1_922_000, 2.4)}
    return {
        "environment": {
            "cpu": "an invented CPU", "threads": 2, "date": "2000-01-01",
            "versions": {"fastnn": "0.0", "PyTorch": "0.0"}, "command": "fastnn compare --html x",
        },
        "settings": {"seed": seed, "epochs": 60, "steps": 20},
        "limits": {"fma_gflops": 95.0, "memory_gb_per_s": 18.5},
        "rows": [
            _row(rng, network, *sizes, engine, optimizer, state)
            for network, sizes in networks.items()
            for engine in ENGINES
            for optimizer in OPTIMIZERS
            for state in (STATE_BYTES if engine[1] == "cython" and optimizer[1] else ["full"])
        ],
    }  # fmt: skip


def _row(
    rng: np.random.Generator, network: str, parameters: int, ms: float,
    engine: tuple[str, str, float], optimizer: tuple[str, int, int, float], state: str,
) -> dict[str, Any]:  # fmt: skip
    name, backend, slowness = engine
    rule, arrays, flops, speed = optimizer
    trained, modelled = network == "digits", name == "fastnn"
    in_state = arrays * STATE_BYTES[state]
    gradients = 4.0 if trained or backend in ("reference", "") else 0.1
    gb_per_s = rng.uniform(8, 15) / slowness
    ms *= slowness * (1 + 0.2 * arrays) * rng.uniform(0.95, 1.1)
    steps = np.arange(0, 1381, 23)
    loss = (2.4 * np.exp(-speed * steps / 300) + 0.02 / speed) * rng.uniform(0.9, 1.1, len(steps))
    curve = [[int(s), s * ms / 1000, v] for s, v in zip(steps, loss.tolist(), strict=True)]
    peak = parameters * (4 + gradients + in_state) * (9.0 if trained else 1.2)
    return {
        "network": network, "engine": name, "backend": backend, "optimizer": rule, "state": state,
        "parameters": parameters,
        "ms_per_step": ms,
        "ratio_to_sgd": 1 + 0.2 * arrays * rng.uniform(0.9, 1.1),
        "bytes_parameters": 4.0, "bytes_gradients": gradients, "bytes_state": in_state,
        "peak_bytes": None if name == "JAX" else peak,
        "moved_bytes": parameters * (12 + 2 * in_state) if modelled else None,
        "flops": flops * parameters if modelled else None,
        "gb_per_s": gb_per_s if modelled else None,
        "percent_of_limit": 100 * gb_per_s / 18.5 if modelled else None,
        "loss": curve if trained else [],
        "final_loss": curve[-1][2] if trained else None,
        "accuracy": 0.97 if trained else None,
        "accuracy_at_equal_seconds": 0.9 + 0.02 * speed if trained else None,
    }  # fmt: skip
