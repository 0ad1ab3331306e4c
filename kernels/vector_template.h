/* Vectors of one element type: T is float or double, BYTES their width, TYPE what names end with.
   Without vectors of the compiler's (SCALAR) each has one element. */

#define NAME(x) JOIN(x, TYPE)
#define VECTOR NAME(vector)

#ifdef SCALAR
  typedef T VECTOR;
  typedef int NAME(mask);
#else
  typedef T VECTOR __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
  typedef __typeof__((VECTOR){0} < (VECTOR){0}) NAME(mask); /* integers of T's size */
#endif

/* a where the mask is set, else b. */
ALWAYS_INLINE VECTOR NAME(select)(NAME(mask) mask, VECTOR a, VECTOR b)
{
#ifdef SCALAR
    return mask ? a : b;
#else
    return (VECTOR)(((NAME(mask))a & mask) | ((NAME(mask))b & ~mask));
#endif
}

/* The first n elements of a vector: the rest is 0, and isn't stored. */
#if !defined(__AVX512F__)
ALWAYS_INLINE VECTOR NAME(load_part)(const T *from, ptrdiff_t n)
{
    VECTOR v = {0};
    memcpy(&v, from, n * sizeof(T));
    return v;
}
ALWAYS_INLINE void NAME(store_part)(T *to, VECTOR v, ptrdiff_t n) { memcpy(to, &v, n * sizeof(T)); }
#endif

#ifndef sqrt_f32
/* A root in double, rounded again, is the nearest float to the root. */
ALWAYS_INLINE VECTOR NAME(sqrt)(VECTOR a)
{
    for (size_t i = 0; i < BYTES / sizeof(T); i++) a[i] = (T)sqrt(a[i]);
    return a;
}
#endif

#undef NAME
#undef VECTOR
