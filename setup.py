"""The compiled kernels: which sources, for which instruction sets, with which flags.

Every ``kernels/<family>.pyx`` is compiled once per instruction set, into
``fastnn/_kernels/<family>_<isa>``; the fastest that the CPU runs is chosen at run time.
"""

import os
import platform
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Cython's own support code for memoryviews, compiled once for all kernel modules.
SHARED = "fastnn._kernels.shared"
# Kernels check nothing: whoever calls them has (fastnn.functional, or a model for its layers).
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,  # C's division: no test for zero in the loops
    "binding": True,  # functions have a signature that inspect can read
}
FAMILIES = ("dense", "conv", "pool", "activation", "norm", "merge", "loss", "update", "machine")

# No -ffast-math: it reassociates sums and changes the whole process's rounding of small
# numbers. No contraction: elementwise kernels match the reference to the bit; the tile asks for
# fused multiply-add itself. No errno, no traps: else sqrt and selections don't vectorise.
GNU_FLAGS = ("-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
# Used where the compiler knows them. The tile's inner loop needs both -f flags of GCC: with
# versioned strides it would keep two copies of the loop and spill the sums, and with its usual
# register allocation by regions it would move them about in every step.
OPTIONAL_FLAGS = (
    "-fno-version-loops-for-strides", "-fira-region=all", "-Wno-psabi", "-Wno-discarded-qualifiers",
)  # fmt: skip
ISA_FLAGS = {
    "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma",
               "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
    "sse2": (),
}  # fmt: skip


def isas(msvc: bool) -> dict[str, tuple[str, ...]]:
    machine = platform.machine().lower()
    if msvc:
        return {"scalar": ()}
    if machine in ("x86_64", "amd64"):
        return ISA_FLAGS
    return {"neon" if machine in ("aarch64", "arm64") else "scalar": ()}


class BuildKernels(build_ext):
    """Adds the compiler's flags, and OpenMP if the compiler has it."""

    def build_extensions(self) -> None:
        msvc = self.compiler.compiler_type == "msvc"
        common = ["/O2"] if msvc else [*GNU_FLAGS, *filter(self._accepts, OPTIONAL_FLAGS)]
        openmp_compile, openmp_link = self._openmp_flags(msvc)
        built = isas(msvc)
        text = ";".join(f"{isa}={' '.join(flags)}" for isa, flags in built.items())
        wanted = {"fastnn._kernels.cpu", SHARED}
        wanted |= {f"fastnn._kernels.{family}_{isa}" for family in FAMILIES for isa in built}
        self.extensions = [e for e in self.extensions if e.name in wanted]
        for extension in self.extensions:
            isa = extension.name.split("_")[-1]
            extension.extra_compile_args = [*common, *openmp_compile, *built.get(isa, ())]
            extension.extra_link_args = list(openmp_link)
            if extension.name.endswith("cpu"):
                extension.define_macros.append(("FASTNN_ISAS", f'"{text}"'))
        super().build_extensions()

    def _openmp_flags(self, msvc: bool) -> tuple[list[str], list[str]]:
        source = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        candidates = [
            (["-fopenmp"], ["-fopenmp"]),
            (["-Xpreprocessor", "-fopenmp"], ["-lomp"]),  # Apple's clang with libomp
        ]
        if os.environ.get("FASTNN_NO_OPENMP"):
            candidates = []
        elif msvc:
            candidates = [(["/openmp"], [])]
        for compile_args, link_args in candidates:
            if self._compiles(source, compile_args, link_args):
                return compile_args, link_args
        print("fastnn: built without OpenMP; the kernels will run on one thread")
        return [], []

    def _accepts(self, flag: str) -> bool:
        # GCC is silent about an unknown -Wno-x: ask for -Wx.
        return self._compiles(
            "int main(void) { return 0; }\n", ["-Werror", flag.replace("-Wno-", "-W")]
        )

    def _compiles(
        self, source: str, compile_args: list[str], link_args: Sequence[str] = ()
    ) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "probe.c")
            path.write_text(source)
            try:
                objects = self.compiler.compile(
                    [str(path)], output_dir=folder, extra_postargs=compile_args
                )
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=list(link_args)
                )
            except Exception:  # each compiler class raises its own error
                return False
        return True


def extensions() -> list[Extension]:
    """All extensions; each instruction set has its own folder of generated C."""
    headers = [str(path) for path in Path("kernels").glob("*.[hp]*") if path.suffix != ".pyx"]
    cython = partial(
        cythonize, shared_utility_qualified_name=SHARED, compiler_directives=DIRECTIVES
    )
    found = cython(
        [Extension("fastnn._kernels.cpu", ["kernels/cpu.pyx"]), Extension(SHARED, [])],
        build_dir="build/c",
    )
    for isa in {**isas(msvc=False), **isas(msvc=os.name == "nt")}:
        found += cython(
            [
                Extension(
                    f"fastnn._kernels.{family}_{isa}", [f"kernels/{family}.pyx"],
                    include_dirs=["kernels"], depends=headers,
                )
                for family in FAMILIES
            ],
            build_dir=f"build/c_{isa}",
        )  # fmt: skip
    return found


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
