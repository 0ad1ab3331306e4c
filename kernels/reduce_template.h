/* The windows for one element type: T is float or double, INTEGER as wide, TYPE f32 or f64. */

#define NAME(x) JOIN(x, TYPE)

/* One element, for what is shorter than a vector. */
static inline void NAME(reduce_element)(const windows *p, const T *const *x, ptrdiff_t at, T *to,
                                        void *index)
{
    T best = p->op == MAX ? x[0][at] : 0;
    int place = p->number[0];
    for (ptrdiff_t t = p->op == MAX; t < p->taps; t++) {
        const T v = x[t][at];
        if (p->op == MAX) {
            if (!(v <= best) && best == best) best = v, place = p->number[t];
            continue;
        }
        const ptrdiff_t i = p->op == SUM ? 0 : x[t] + at - (const T *)p->origin;
        if (p->op == CHOSEN_SUM)
            place = p->size == 1 ? ((uint8_t *)index)[i] : ((int32_t *)index)[i];
        best += p->op == SUM || place == p->number[t] ? v : 0;
    }
    *to = p->op == SUM ? best / (T)p->divisor : best;
    if (p->op == MAX && p->size == 1) *(uint8_t *)index = (uint8_t)place;
    else if (p->op == MAX) *(int32_t *)index = place;
}

#ifndef SCALAR
#define VECTOR NAME(vector)
#define W ((ptrdiff_t)(sizeof(VECTOR) / sizeof(T)))
#define INTEGERS NAME(reduce_integers)
#define BYTES NAME(reduce_bytes)
#define INTS NAME(reduce_ints)
typedef INTEGER INTEGERS __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t BYTES __attribute__((vector_size(VECTOR_BYTES / sizeof(T)), aligned(1), may_alias));
typedef int32_t INTS
    __attribute__((vector_size(VECTOR_BYTES / sizeof(T) * 4), aligned(4), may_alias));

/* vecs, op and size are constants at every call, so that best and place live in registers. The
   first of equal elements wins, and the first NaN. */
ALWAYS_INLINE void NAME(reduce_vectors)(const int vecs, const int op, const int size,
                                        const windows *p, const T *const *x, ptrdiff_t at, T *to,
                                        char *index)
{
    VECTOR best[VECS];
    INTEGERS place[VECS];
    UNROLL for (int j = 0; j < vecs; j++) {
        best[j] = op == MAX ? *(const VECTOR *)(x[0] + at + j * W) : (VECTOR){0};
        place[j] = (INTEGERS){0} + p->number[0];
    }
    for (ptrdiff_t t = op == MAX; t < p->taps; t++) {
        const INTEGERS number = (INTEGERS){0} + p->number[t];
        const T *const x_t = x[t] + at;
        UNROLL for (int j = 0; j < vecs; j++) {
            const VECTOR v = *(const VECTOR *)(x_t + j * W);
            if (op == MAX) {
                const INTEGERS wins = ~(v <= best[j]) & (best[j] == best[j]);
                best[j] = (VECTOR)(((INTEGERS)v & wins) | ((INTEGERS)best[j] & ~wins));
                place[j] = (number & wins) | (place[j] & ~wins);
            } else if (op == CHOSEN_SUM) {
                const char *const i = index + (x_t + j * W - (const T *)p->origin) * size;
                place[j] = size == 1 ? NAME(widen)(i)
                                     : __builtin_convertvector(*(const INTS *)i, INTEGERS);
                best[j] += (VECTOR)((INTEGERS)v & (place[j] == number));
            } else
                best[j] += v;
        }
    }
    UNROLL for (int j = 0; j < vecs; j++) {
        *(VECTOR *)(to + j * W) = op == SUM ? (VECTOR)(best[j] / (T)p->divisor) : best[j];
        if (op == MAX && size == 1)
            *(BYTES *)(index + j * W) = __builtin_convertvector(place[j], BYTES);
        else if (op == MAX)
            *(INTS *)(index + 4 * j * W) = __builtin_convertvector(place[j], INTS);
    }
}

ALWAYS_INLINE void NAME(weigh_vectors)(const int vecs, ptrdiff_t taps, const T *const *x,
                                       ptrdiff_t at, const T *const *weights, ptrdiff_t i,
                                       const T *init, T *to)
{
    VECTOR sum[VECS];
    UNROLL for (int j = 0; j < vecs; j++) sum[j] = *(const VECTOR *)(init + j * W);
    for (ptrdiff_t t = 0; t < taps; t++) {
        UNROLL for (int j = 0; j < vecs; j++)
            sum[j] += *(const VECTOR *)(x[t] + at + j * W)
                      * *(const VECTOR *)(weights[t] + i + j * W);
    }
    UNROLL for (int j = 0; j < vecs; j++) *(VECTOR *)(to + j * W) = sum[j];
}

/* One window; the last vector overlaps the one before. */
ALWAYS_INLINE void NAME(reduce_window)(const int op, const int size, const windows *p,
                                       const T *const *x, ptrdiff_t at, T *to, char *index)
{
    const ptrdiff_t n = p->n, step = op == MAX ? size : 0;
    ptrdiff_t i = 0;
    for (; i + VECS * W <= n; i += VECS * W)
        NAME(reduce_vectors)(VECS, op, size, p, x, at + i, to + i, index + i * step);
    for (; i < n; i += W) {
        if (i > n - W) i = n - W;
        NAME(reduce_vectors)(1, op, size, p, x, at + i, to + i, index + i * step);
    }
}
#endif

static UNUSED void NAME(reduce)(const windows *p, const T *const *x, T *to, char *index)
{
    const ptrdiff_t step = p->op == MAX ? p->size : 0;
    for (ptrdiff_t o = 0; o < p->count; o++, to += p->to_step, index += p->to_step * step) {
        const ptrdiff_t at = o * p->step;
#ifndef SCALAR
        if (p->n >= W) {
            if (p->op == SUM) NAME(reduce_window)(SUM, 1, p, x, at, to, index);
            else if (p->op == MAX && p->size == 1) NAME(reduce_window)(MAX, 1, p, x, at, to, index);
            else if (p->op == MAX) NAME(reduce_window)(MAX, 4, p, x, at, to, index);
            else if (p->size == 1) NAME(reduce_window)(CHOSEN_SUM, 1, p, x, at, to, index);
            else NAME(reduce_window)(CHOSEN_SUM, 4, p, x, at, to, index);
            continue;
        }
#endif
        for (ptrdiff_t i = 0; i < p->n; i++)
            NAME(reduce_element)(p, x, at + i, to + i, index + i * step);
    }
}

/* to = init + Σ over taps of x · weights, element by element. to may be init. */
static UNUSED void NAME(weighted_sum)(const windows *p, const T *const *x,
                                      const T *const *weights, const T *init, T *to)
{
    for (ptrdiff_t o = 0; o < p->count; o++, to += p->to_step) {
        const ptrdiff_t n = p->n, at = o * p->step;
        ptrdiff_t i = 0;
#ifndef SCALAR
        T last[W];
        if (n >= W) memcpy(last, init + n - W, sizeof(last));
        for (; i + VECS * W <= n; i += VECS * W)
            NAME(weigh_vectors)(VECS, p->taps, x, at + i, weights, i, init + i, to + i);
        for (; i + W <= n; i += W)
            NAME(weigh_vectors)(1, p->taps, x, at + i, weights, i, init + i, to + i);
        if (i < n && n >= W) {
            i = n - W; /* the last vector overlaps the one before */
            NAME(weigh_vectors)(1, p->taps, x, at + i, weights, i, last, to + i);
            i = n;
        }
#endif
        for (; i < n; i++) {
            T sum = init[i];
            for (ptrdiff_t t = 0; t < p->taps; t++) sum += x[t][at + i] * weights[t][i];
            to[i] = sum;
        }
    }
}

#undef NAME
#undef W
#undef VECTOR
#undef INTEGERS
#undef BYTES
#undef INTS
