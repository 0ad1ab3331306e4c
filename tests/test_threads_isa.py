"""Choosing backend, instruction set and threads; fork; what an import costs."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from conftest import run_python

import fastnn
from fastnn import Dense, Sequential
from fastnn import functional as F
from fastnn.backends import BACKENDS, current_isa, kernels, threads

# --- backend and instruction set ----------------------------------------------------------------


def test_auto_takes_the_fastest():
    assert fastnn.current_backend() == "cython"
    assert current_isa() == fastnn.available_isas()[0]
    with fastnn.use_backend("reference"), fastnn.use_backend("auto"):
        assert fastnn.current_backend() == "cython"


def test_contexts_nest_and_reset():
    start = fastnn.current_backend()
    with fastnn.use_backend("reference") as name:
        assert name == fastnn.current_backend() == "reference"
        with fastnn.use_backend("numba"):
            assert fastnn.current_backend() == "numba"
        assert fastnn.current_backend() == "reference"
        with pytest.raises(ZeroDivisionError), fastnn.use_backend("cython"):
            raise ZeroDivisionError
        assert fastnn.current_backend() == "reference"
    assert fastnn.current_backend() == start


@pytest.mark.parametrize("isa", fastnn.available_isas())
def test_isa_contexts(isa):
    start = current_isa()
    with fastnn.use_isa(isa):
        assert current_isa() == isa
        with fastnn.use_isa("auto"):
            assert current_isa() == start
        assert current_isa() == isa
    assert current_isa() == start
    with pytest.raises(ZeroDivisionError), fastnn.use_isa(isa):
        raise ZeroDivisionError
    assert current_isa() == start


def test_each_choice_has_kernels_of_its_own():
    """Asking for a backend and getting another one's kernels would make every test here void."""
    found = {}
    for name in BACKENDS:
        with fastnn.use_backend(name):
            found[name] = kernels("float32").dense
    for isa in fastnn.available_isas():
        with fastnn.use_backend("cython"), fastnn.use_isa(isa):
            found[isa] = kernels("float32").dense
            assert found[isa].__module__ == f"fastnn._kernels.dense_{isa}"
    assert "numba_" in found["numba"].__module__
    assert "reference" in found["reference"].__module__
    assert len({id(f) for f in found.values()}) == 2 + len(fastnn.available_isas())


def test_unknown_names():
    for name, hint in [("cyton", "'cython'"), ("numbra", "'numba'"), ("referense", "'reference'")]:
        with pytest.raises(ValueError, match=f"unknown backend '{name}'; did you mean {hint}") as e:
            fastnn.use_backend(name)
        assert "expected one of: auto, cython, numba, reference" in str(e.value)
    with pytest.raises(
        ValueError, match=r"unknown instruction set .*'axv2'.*expected one of: auto"
    ):
        fastnn.use_isa("axv2")
    assert fastnn.current_backend() == "cython"


def test_an_explicit_request_never_degrades():
    """A backend that can't be loaded: auto goes on to the next, by name it raises."""
    script = """
        import sys
        sys.modules["numba"] = None  # as if it weren't installed
        sys.modules["fastnn._kernels.cpu"] = None
        import fastnn
        print(fastnn.current_backend())
        for name in ("numba", "cython"):
            try:
                fastnn.use_backend(name)
            except RuntimeError as error:
                print(error)
        print(fastnn.available_isas())
        print(fastnn.functional.relu([1.0, -1.0]))
        fastnn.show_config()
    """
    out = run_python(script).stdout
    assert out.startswith("reference\n")
    assert "backend 'numba' can't be used here: ModuleNotFoundError" in out
    assert "backend 'cython' can't be used here: ImportError: no compiled kernels in" in out
    assert out.count("refused: ") == 2
    assert "()\n[1. 0.]\n" in out


def test_a_choice_belongs_to_its_thread():
    """ContextVars: another thread starts with the default."""
    seen = []
    with fastnn.use_backend("reference"):
        worker = threading.Thread(target=lambda: seen.append(fastnn.current_backend()))
        worker.start()
        worker.join()
    assert seen == ["cython"]


def test_a_statement_holds_from_there_on():
    script = """
        import fastnn
        fastnn.use_backend("reference")
        print(fastnn.current_backend())
        fastnn.use_isa(fastnn.available_isas()[-1])
        print(fastnn.backends.current_isa())
    """
    assert run_python(script).stdout.split() == ["reference", fastnn.available_isas()[-1]]


# --- environment --------------------------------------------------------------------------------

SHOW = """
    import fastnn
    print(fastnn.current_backend(), fastnn.backends.current_isa(), fastnn.get_num_threads())
"""


def test_environment_variables():
    isa = fastnn.available_isas()[-1]
    out = run_python(
        SHOW, FASTNN_BACKEND="reference", FASTNN_ISA=isa, FASTNN_NUM_THREADS="3"
    ).stdout
    assert out.split() == ["reference", isa, "3"]
    out = run_python(SHOW).stdout
    assert out.split() == ["cython", fastnn.available_isas()[0], str(threads.usable_cpus())]


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("FASTNN_BACKEND", "cyton", "ValueError: unknown backend 'cyton'; did you mean 'cython'?"),
        ("FASTNN_ISA", "avx3", "ValueError: unknown instruction set"),
        ("FASTNN_NUM_THREADS", "0", "FASTNN_NUM_THREADS must be an integer in 1..256, got 0"),
        ("FASTNN_NUM_THREADS", "two", "FASTNN_NUM_THREADS must be an integer in 1..256, got 'two'"),
        ("FASTNN_NUM_THREADS", "-1", "FASTNN_NUM_THREADS must be an integer in 1..256, got '-1'"),
        ("FASTNN_NUM_THREADS", "", "FASTNN_NUM_THREADS must be an integer in 1..256, got ''"),
    ],
)
def test_invalid_environment_variables(variable, value, text):
    done = run_python(SHOW, check=False, **{variable: value})
    assert done.returncode == 1
    assert text in done.stderr


# --- threads ------------------------------------------------------------------------------------


def test_set_num_threads():
    fastnn.set_num_threads(3)
    assert fastnn.get_num_threads() == 3
    for bad in (0, -1, 257, 1.5, "2", None, True):
        with pytest.raises(ValueError, match=f"n must be an integer in 1..256, got {bad!r}"):
            fastnn.set_num_threads(bad)
    assert fastnn.get_num_threads() == 3


def test_more_threads_than_cpus(backend, rng):
    x, w = rng.standard_normal((130, 300)), rng.standard_normal((300, 200))
    fastnn.set_num_threads(1)
    want = F.dense(x, w)
    fastnn.set_num_threads(7)
    np.testing.assert_array_equal(F.dense(x, w), want)


def test_python_threads_side_by_side(backend, rng):
    """Kernels release the GIL; two models in two threads don't disturb each other."""
    x, y = rng.standard_normal((200, 300)).astype("f4"), rng.integers(0, 5, 200)

    def work(out):
        with fastnn.use_backend(backend):
            net = Sequential([Dense(300, activation="tanh"), Dense(5)], seed=1)
            net.compile("adam")
            out.append([net.train_on_batch(x, y) for _ in range(5)])

    fastnn.set_num_threads(2)
    results = []
    workers = [threading.Thread(target=work, args=(results,)) for _ in range(3)]
    work(results)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(losses == results[0] for losses in results)


FORK = """
    import os, warnings
    import numpy as np, fastnn
    from fastnn import functional as F
    warnings.simplefilter("ignore")  # Python 3.12 warns of fork beside threads: that is the test
    fastnn.use_backend(BACKEND)
    fastnn.set_num_threads(2)
    x, w = np.ones((400, 300), np.float32), np.ones((300, 200), np.float32)
    p = np.ones(500_000, np.float32)
    F.dense(x, w); F.adam_update(p, p.copy(), p.copy(), p.copy(), 1)  # parallel
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert fastnn.get_num_threads() == 1
            assert (F.dense(x, w) == 300).all()
            F.adam_update(p, p.copy(), p.copy(), p.copy(), 2)
            fastnn.set_num_threads(1)
            try:
                fastnn.set_num_threads(2)
            except RuntimeError as error:
                print(error, flush=True)
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert fastnn.get_num_threads() == 2
    assert (F.dense(x, w) == 300).all()
    print("child", os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("name", BACKENDS)
def test_a_forked_child_runs_serial(name):
    """The threads of a team don't survive fork; waiting for them would hang."""
    out = run_python(FORK.replace("BACKEND", repr(name))).stdout
    assert out.splitlines() == [
        "set_num_threads: a forked child runs on one thread; start it by 'spawn' instead",
        "child 0",
    ]


@pytest.mark.parametrize(("given", "spins"), [(None, "10000"), ("77", "77")])
def test_waiting_threads_soon_sleep(given, spins):
    """Else two threads are 20 times slower than one where another program has a core."""
    code = """
        import os
        import numpy as np
        from fastnn import functional as F
        F.relu(np.ones(3, np.float32))
        print(os.environ.get("GOMP_SPINCOUNT"))
    """
    environment = {"OMP_DISPLAY_ENV": "VERBOSE"} | ({"GOMP_SPINCOUNT": given} if given else {})
    done = run_python(code, **environment)
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("not GNU's OpenMP")
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert done.stdout.strip() == str(given)


# --- import and configuration -------------------------------------------------------------------


def test_import_is_light():
    """Neither numba nor anything else that is heavy; and it is quick, NumPy's own import apart."""
    script = """
        import sys, time
        import numpy
        started = time.process_time()
        import fastnn
        print(time.process_time() - started)
        print(*sorted({name.split(".")[0] for name in sys.modules}))
    """
    runs = [run_python(script).stdout.splitlines() for _ in range(3)]
    seconds, modules = min(runs, key=lambda lines: float(lines[0]))
    heavy = {"numba", "llvmlite", "sklearn", "matplotlib", "PIL", "safetensors", "tqdm", "pandas",
             "torch", "jax", "scipy"}  # fmt: skip
    assert heavy.isdisjoint(modules.split())
    assert float(seconds) < 0.2


def test_show_config(capsys):
    fastnn.show_config()
    out = capsys.readouterr().out
    rows = dict(line.split("  ", 1) for line in out.replace("  cython", "cython").splitlines()
                if "  " in line.strip())  # fmt: skip
    text = {key.strip(): value.strip() for key, value in rows.items()}
    assert text["backend"] == "cython"
    assert text["threads"] == str(fastnn.get_num_threads())
    assert text["instruction set"].startswith(current_isa())
    assert text["OpenMP"].startswith(("yes (", "no: the compiled kernels run on one thread"))
    assert text["ops"] == f"{len(fastnn.backends.OPS)}, all on cython"
    assert out.count(" ok") == 3
    for key in ("python", "cpu", "compiler", "flags"):
        assert text[key]


def test_show_config_follows_the_choice(capsys):
    isa = fastnn.available_isas()[-1]
    with fastnn.use_backend("numba"), fastnn.use_isa(isa):
        fastnn.show_config()
    out = capsys.readouterr().out
    assert "all on numba" in out
    assert f"{isa} (of {', '.join(fastnn.available_isas())})" in out


def test_no_flags_that_change_the_whole_process():
    """-ffast-math links code that flushes denormals everywhere."""
    tiny = np.float32(1e-40)
    F.relu(np.ones(100_000, np.float32))
    assert tiny * np.float32(0.5) != 0
    from fastnn._kernels import cpu

    flags = " ".join(cpu.build_info()["flags"].values())
    assert "fast-math" not in flags
    assert "native" not in flags


def test_kernels_count_denormal_numbers_as_zero_and_leave_the_mode_of_the_thread(rng):
    """Else an Adam step takes ten times as long once the momentum of dead units has decayed."""
    tiny = np.float32(1e-39)
    for size in (100, 250_007):  # on this thread alone, and on several
        m, v = np.full((2, size), tiny)
        param, grad = np.ones(size, np.float32), np.zeros(size, np.float32)
        with fastnn.use_backend("cython"):
            fastnn.functional.adam_update(param, grad, m, v, 3)
        assert not m.any()
        assert not v.any()
        assert (param == 1).all()
    assert tiny * np.float32(0.5) > 0, "the kernel left the mode behind"


def test_sums_and_products_of_denormal_numbers_are_zero():
    """Those that are no tile's: PReLU, biases' gradients, parts of sums that are added up."""
    F, tiny = fastnn.functional, np.float32(1e-39)
    ones, images = np.ones((3, 4), "f4"), np.full((2, 4, 4, 3), tiny)
    with fastnn.use_backend("cython"):
        few, long = np.full((3, 4), tiny), np.full((3, 2048), tiny)
        found = {
            "prelu": F.prelu(few, np.ones(4, "f4")),
            "prelu_backward": F.prelu_backward(few, -ones, np.ones(4, "f4"))[0],
            "dense in parts": F.dense(long, np.zeros((2048, 2), "f4"), np.full(2, tiny)),
            "dense_backward": F.dense_backward(ones, np.zeros((4, 4), "f4"), few)[2],
            "col2im": F.col2im(
                F.im2col(images, 3, padding="same"), images.shape, 3, padding="same"
            ),
            "conv2d_backward": F.conv2d_backward(
                images, np.zeros((3, 3, 3, 2), "f4"), np.ones((2, 2, 2, 2), "f4")
            )[1],
        }
    for name, result in found.items():
        assert not result.any(), name
    assert tiny * np.float32(0.5) > 0, "a kernel left the mode behind"
