"""What the kernels were built with and what this CPU can run. Compiled for the baseline."""

cdef extern from *:
    """
    #if defined(__clang__)
      #define COMPILER "clang " __VERSION__
    #elif defined(__GNUC__)
      #define COMPILER "gcc " __VERSION__
    #else
      #define COMPILER "another compiler"
    #endif
    #if defined(_OPENMP)
      #define OPENMP_VERSION _OPENMP
    #else
      #define OPENMP_VERSION 0
    #endif
    #if defined(__x86_64__) && defined(__GNUC__)
      #define HAS_AVX2 (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      #define HAS_AVX512 (HAS_AVX2 && __builtin_cpu_supports("avx512f") \
                          && __builtin_cpu_supports("avx512dq") \
                          && __builtin_cpu_supports("avx512bw") \
                          && __builtin_cpu_supports("avx512vl"))
    #else
      #define HAS_AVX2 0
      #define HAS_AVX512 0
    #endif
    """
    const char *COMPILER
    int OPENMP_VERSION
    int HAS_AVX2
    int HAS_AVX512
    const char *FASTNN_ISAS  # "name=flags" of every instruction set built, by setup.py

_FLAGS = dict(line.split("=", 1) for line in FASTNN_ISAS.decode().split(";"))


def available_isas():
    """Instruction sets that were built and that this CPU runs, fastest first."""
    runs = {"avx512": HAS_AVX512, "avx2": HAS_AVX2}
    return [isa for isa in _FLAGS if runs.get(isa, True)]


def build_info():
    """Compiler, OpenMP version (0: built without) and flags by instruction set."""
    return {
        "compiler": COMPILER.decode(),
        "openmp": OPENMP_VERSION,
        "flags": dict(_FLAGS),
    }
