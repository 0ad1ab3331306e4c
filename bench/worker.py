"""One engine in a process of its own, for ``bench.peers``.

Started as ``python -m bench.worker ENGINE THREADS``, with its CPUs and thread variables already
set. It reads one JSON command per line and answers with one JSON line:

    {"prepare": case}                   -> {"variants": [...]} or {"skip": reason}
    {"run": variant, "steps": k}        -> {"seconds": of k steps, after a short warm-up}

Between commands it waits for input and its thread pools fall asleep. What an engine must do is
``prepare(case, threads)``: a dict of functions by variant, each doing one step and waiting for
its result.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workloads import CASES, Case, Step, Update

Steps = dict[str, Callable[[], Any]]

#: Seconds a variant runs before it is timed: caches, clock, and the threads of the engine that
#: ran before, which wait a few milliseconds for work before they sleep.
WARM_UP = 0.04

#: A round times each variant for about so long, and at least one step.
ROUND_SECONDS = 0.15

RATE = 1e-9  # see bench.networks.STILL


class Fastnn:
    """Training by the public ``train_on_batch``, and as ``fit`` does it: data prepared and checked
    before, the next batch known.
    """

    def __init__(self, threads: int) -> None:
        import fastnn

        fastnn.set_num_threads(threads)
        self.version = f"fastnn {fastnn.__version__} ({fastnn.backends.current_isa() or 'numpy'})"

    def prepare(self, case: Case) -> Steps:
        from fastnn import backends, functional

        kernels = backends.kernels("float32")
        if isinstance(case, Step):
            from bench import networks

            model = networks.model(case.network, case.optimizer, RATE)
            x, y = networks.data(case.network)
            labels = model.check_labels(y, len(x))
            return {
                "fastnn": lambda: model.train_on_batch(x, y),
                "fastnn-step": lambda: model.step(x, labels, x),
            }
        if isinstance(case, Update):
            param, grad, m, v = case.arrays()
            return {"fastnn": lambda: functional.adam_update(param, grad, m, v, 7, RATE)}
        a, b, out = case.arrays()
        return {
            "fastnn": {
                "forward": lambda: kernels.dense(a, b, None, 0, out),
                "dx": lambda: kernels.dense_dx(a, b, out),
                "dw": lambda: kernels.dense_dw(a, b, 0, out),
            }[case.product]
        }


class Torch:
    """Eager PyTorch; the optimizer fused, by lists (foreach) and plain."""

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.version = f"torch {torch.__version__}"

    def optimizer(self, name: str, parameters: list[Any], form: str) -> Any:
        rule = {"sgd": self.torch.optim.SGD, "adam": self.torch.optim.Adam}[name]
        return rule(parameters, lr=RATE, fused=form == "fused", foreach=form == "foreach")

    def prepare(self, case: Case) -> Steps:
        torch = self.torch
        if isinstance(case, Step):
            forms = ("fused", "foreach") if case.optimizer == "adam" else ("fused", "plain")
            return {f"torch-{form}": self.step(case, form) for form in forms}
        if isinstance(case, Update):
            found = {}
            for form in ("fused", "foreach", "plain"):
                p, g = (torch.from_numpy(a) for a in case.arrays()[:2])
                p.grad = g
                found[f"torch-{form}"] = self.optimizer("adam", [p], form).step
            return found
        a, b, out = (torch.from_numpy(array) for array in case.arrays())
        return {
            "torch": {
                "forward": lambda: torch.mm(a, b, out=out),
                "dx": lambda: torch.mm(a, b.t(), out=out),
                "dw": lambda: torch.mm(a.t(), b, out=out),
            }[case.product]
        }

    def step(self, case: Step, form: str) -> Callable[[], Any]:
        torch, nn = self.torch, self.torch.nn
        from bench import networks

        network = networks.NETWORKS[case.network]
        activation = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}[network["activation"]]
        layers: list[Any] = []
        for inputs, outputs in networks.layer_sizes(case.network):
            layers += [nn.Linear(inputs, outputs), activation()]
        model = nn.Sequential(*layers[:-1])
        rule = self.optimizer(case.optimizer, list(model.parameters()), form)
        x, y = networks.data(case.network)
        inputs = torch.from_numpy(x)
        labels = [torch.from_numpy(a) for a in (y.values() if isinstance(y, dict) else [y])]
        widths = list(network["heads"].values())
        cross_entropy = nn.functional.cross_entropy

        def step() -> None:
            outputs = model(inputs)
            if len(widths) == 1:
                loss = cross_entropy(outputs, labels[0])
            else:
                parts = torch.split(outputs, widths, dim=1)
                loss = sum(cross_entropy(o, t) for o, t in zip(parts, labels, strict=True))
            rule.zero_grad()
            loss.backward()
            rule.step()

        return step


class Jax:
    """JAX, the whole step in one ``jit``, its arrays donated so that updates are in place."""

    def __init__(self, threads: int) -> None:
        if threads == 1:
            os.environ["XLA_FLAGS"] = (
                "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            )
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.jax = jax
        self.version = f"jax {jax.__version__}"

    def adam(self, p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        root = self.jax.numpy.sqrt(v / (1 - 0.999**t)) + 1e-8
        return p - RATE * (m / (1 - 0.9**t)) / root, m, v

    def prepare(self, case: Case) -> Steps:
        jax, jnp = self.jax, self.jax.numpy
        if isinstance(case, Step):
            return {"jax": self.step(case)}
        if isinstance(case, Update):
            p, g, m, v = (jnp.array(a) for a in case.arrays())
            update = jax.jit(self.adam, donate_argnums=(0, 2, 3))
            state = [p, m, v, 1.0]

            def step() -> None:
                p, m, v, t = state
                state[:] = *update(p, g, m, v, t), t + 1.0
                jax.block_until_ready(state[0])

            return {"jax": step}
        a, b, _ = (jnp.array(array) for array in case.arrays())
        product = {
            "forward": jax.jit(lambda a, b: a @ b),
            "dx": jax.jit(lambda a, b: a @ b.T),
            "dw": jax.jit(lambda a, b: a.T @ b),
        }[case.product]
        return {"jax": lambda: jax.block_until_ready(product(a, b))}

    def step(self, case: Step) -> Callable[[], Any]:
        jax, jnp = self.jax, self.jax.numpy
        from bench import networks

        network = networks.NETWORKS[case.network]
        activation = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[network["activation"]]
        widths = list(network["heads"].values())
        ends = list(np.cumsum(widths))

        def loss(parameters: Any, x: Any, labels: Any) -> Any:
            for w, b in parameters[:-1]:
                x = activation(x @ w + b)
            w, b = parameters[-1]
            outputs, total = x @ w + b, 0.0
            for width, end, y in zip(widths, ends, labels, strict=True):
                log_p = jax.nn.log_softmax(outputs[:, end - width : end])
                total -= jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))
            return total

        def train(parameters: Any, state: Any, x: Any, labels: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(parameters, x, labels)
            if case.optimizer == "sgd":
                return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradients), state, value
            m, v, t = state
            leaves, tree = jax.tree.flatten(parameters)
            flat = (jax.tree.leaves(z) for z in (gradients, m, v))
            new = [self.adam(*four, t) for four in zip(leaves, *flat, strict=True)]
            p, m, v = (jax.tree.unflatten(tree, column) for column in zip(*new, strict=True))
            return p, (m, v, t + 1), value

        rng = np.random.default_rng(1)
        parameters = [
            (jnp.array(0.03 * rng.standard_normal(size, np.float32)), jnp.zeros(size[1]))
            for size in networks.layer_sizes(case.network)
        ]
        zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
        state = [parameters, (*zeros, 1.0) if case.optimizer == "adam" else 0.0]
        x, y = networks.data(case.network)
        x = jnp.array(x)
        labels = [jnp.array(a) for a in (y.values() if isinstance(y, dict) else [y])]
        update = jax.jit(train, donate_argnums=(0, 1))

        def step() -> None:
            state[0], state[1], value = update(*state, x, labels)
            value.block_until_ready()

        return step


class ScikitLearn:
    """``MLPClassifier.partial_fit`` on one batch; single-headed networks only."""

    def __init__(self, threads: int) -> None:
        import sklearn

        self.version = f"scikit-learn {sklearn.__version__}"

    def prepare(self, case: Case) -> Steps:
        from sklearn.neural_network import MLPClassifier

        from bench import networks

        if not isinstance(case, Step) or len(networks.NETWORKS[case.network]["heads"]) > 1:
            return {}
        network = networks.NETWORKS[case.network]
        x, y = networks.data(case.network)
        classifier = MLPClassifier(
            hidden_layer_sizes=network["hidden"], solver=case.optimizer, alpha=0,
            batch_size=len(x), shuffle=False,
            activation={"sigmoid": "logistic", "relu": "relu"}[network["activation"]],
            learning_rate_init=RATE, momentum=0, nesterovs_momentum=False,
        )  # fmt: skip
        classes = np.arange(network["heads"][""])
        return {"sklearn": lambda: classifier.partial_fit(x, y, classes=classes)}


class Machine:
    """The limits: the case's multiply-adds at FMA peak, and plain loops with its traffic."""

    def __init__(self, threads: int) -> None:
        from bench.limits import Limits

        self.limits = Limits(threads, os.environ.get("BENCH_LIMITS"))
        self.version = "limits.c"

    def prepare(self, case: Case) -> Steps:
        # Functions here return the seconds of one step; they needn't carry it all out.
        return {
            "limit-fma": lambda: case.flops / self.limits.peak(1_000_000) * 1e-9,
            "limit-loop": lambda: sum(self.limits.streams(*one) for one in case.passes),
        }


ENGINES: dict[str, Callable[[int], Any]] = {
    "fastnn": Fastnn, "torch": Torch, "jax": Jax, "sklearn": ScikitLearn, "machine": Machine,
}  # fmt: skip


def _timed(step: Callable[[], Any], steps: int) -> float:
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP:
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def _measured(step: Callable[[], float], steps: int) -> float:
    """As long as the engines are timed, so that a disturbance weighs as much."""
    found: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < ROUND_SECONDS:
        found.append(step())
    return float(np.mean(found)) * steps


def main() -> None:
    """Serve commands until the input ends."""
    # Only answers go to the pipe; what libraries print goes to the terminal.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, threads = sys.argv[1], int(sys.argv[2])
    try:
        engine = ENGINES[name](threads)
    except Exception as error:
        print(json.dumps({"missing": f"{type(error).__name__}: {error}"}), file=answers)
        return
    print(json.dumps({"version": engine.version}), file=answers)
    steps: Steps = {}
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if "prepare" in command:
                steps = {}  # frees the last case's arrays
                steps = engine.prepare(CASES[command["prepare"]])
                answer: dict[str, Any] = {"variants": list(steps)}
            else:
                measure: Any = _measured if name == "machine" else _timed
                answer = {"seconds": measure(steps[command["run"]], command["steps"])}
        except Exception as error:  # one engine's failure must not end the comparison
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
