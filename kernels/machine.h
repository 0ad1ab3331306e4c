/* What this machine allows: multiply-adds in registers, and plain loops over memory.

   Written so that nothing else bounds them: independent sums, aligned vectors, no calls. */
#include <time.h>
#include "vector.h"

#if defined(_OPENMP)
  #include <omp.h>
#else
  #define omp_get_thread_num() 0
#endif

#if !defined(__GNUC__)
/* No vector extensions, no limits. */
static double multiply_add(int threads, long rounds) { return -1; }
static double streams(int threads, int updated, int read, float *const *arrays, long n,
                      long repeats) { return -1; }
static long granule(int threads) { return 0; }
#else

#define W (VECTOR_BYTES / 4)
typedef float V __attribute__((vector_size(VECTOR_BYTES)));

#if defined(__x86_64__)
  #define VECTOR "+v"
#else
  #define VECTOR "+w"
#endif
/* The compiler merges equal sums; after this it can't know that they are equal. */
#define KEEP(a) __asm__ volatile("" : VECTOR(a))

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Seconds for `rounds` rounds of 12 independent vector multiply-adds on every thread. */
static double multiply_add(int threads, long rounds) {
    double start = now();
    #pragma omp parallel num_threads(threads)
    {
        V x = {1}, y = {0}, s[12] = {{0}};
        KEEP(x);
        KEEP(y);
        for (long i = 0; i < rounds; i++) {
            #define ADD(j) s[j] += x * y; KEEP(s[j]);
            ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7) ADD(8) ADD(9) ADD(10) ADD(11)
        }
    }
    return now() - start;
}

#define AT_ONCE 4
#define STEP (AT_ONCE * W)

/* One pass over floats from..to: each updated array is read and written, the others read. */
static inline __attribute__((always_inline)) void pass(
    int updated, int read, float *const *restrict arrays, long from, long to)
{
    V total[AT_ONCE] = {{0}};
    for (long i = from; i < to; i += STEP) {
        #pragma GCC unroll 8
        for (int u = 0; u < AT_ONCE; u++) {
            V sum = {0};
            #pragma GCC unroll 8
            for (int j = 0; j < read; j++)
                sum += *(const V *)(arrays[updated + j] + i + u * W);
            #pragma GCC unroll 8
            for (int j = 0; j < updated; j++) {
                V *p = (V *)(arrays[j] + i + u * W);
                *p = sum - *p;
            }
            if (updated == 0)
                total[u] += sum;
        }
    }
    for (int u = 0; u < AT_ONCE; u++)
        KEEP(total[u]);
}

/* Seconds for `repeats` passes over n floats (a multiple of threads * STEP) of updated + read
   arrays, those updated first; -1 if no loop was compiled for these numbers. */
static double streams(int threads, int updated, int read, float *const *arrays, long n,
                      long repeats) {
    if (updated > 3 || read > 2 || updated + read == 0 || n % ((long)threads * STEP))
        return -1;
    double start = now();
    #pragma omp parallel num_threads(threads)
    {
        long piece = n / threads, from = omp_get_thread_num() * piece, to = from + piece;
        for (long r = 0; r < repeats; r++) {
            switch (updated * 3 + read) {
                #define CASE(u, k) case u * 3 + k: pass(u, k, arrays, from, to); break;
                CASE(0, 1) CASE(0, 2)
                CASE(1, 0) CASE(1, 1) CASE(1, 2)
                CASE(2, 0) CASE(2, 1) CASE(2, 2)
                CASE(3, 0) CASE(3, 1) CASE(3, 2)
            }
        }
    }
    return now() - start;
}

/* Floats that n must be a multiple of, for so many threads. */
static long granule(int threads) { return (long)threads * STEP; }
#endif
