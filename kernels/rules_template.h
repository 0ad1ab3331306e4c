/* The rules for one element type: T is float or double, TYPE f32 or f64.

   g gradient, *p parameter, the rest is the rule's state: vectors, wherever they lie. What was just
   stored isn't read again: across two lines of cache that takes twice the time. */

#define NAME(x) JOIN(x, TYPE)
#define VECTOR NAME(vector)
#define W ((ptrdiff_t)(sizeof(VECTOR) / sizeof(T)))

/* A rule's numbers in the arrays' type. */
typedef struct {
    T rate, mu, inner, outer, rho, rest_rho, beta_1, rest_1, beta_2, rest_2;
    T correction_1, correction_2, epsilon, epsilon_inside, epsilon_outside;
    T scale, limit, decay, keep;
    int nesterov;
} NAME(numbers);

ALWAYS_INLINE NAME(numbers) NAME(numbers_of)(const rule *r)
{
    return (NAME(numbers)){
        .rate = (T)r->rate,
        .mu = (T)r->mu,
        .inner = r->rate_inside ? (T)r->rate : 1, /* the rate is a factor of the gradient … */
        .outer = r->rate_inside ? 1 : (T)r->rate, /* … or of the step */
        .nesterov = r->nesterov,
        .rho = (T)r->rho,
        .rest_rho = (T)(1 - r->rho),
        .beta_1 = (T)r->beta_1,
        .rest_1 = (T)(1 - r->beta_1),
        .beta_2 = (T)r->beta_2,
        .rest_2 = (T)(1 - r->beta_2),
        .correction_1 = (T)r->correction_1,
        .correction_2 = (T)r->correction_2,
        .epsilon = (T)r->epsilon,
        .epsilon_inside = r->epsilon_inside ? (T)r->epsilon : 0, /* of the root */
        .epsilon_outside = r->epsilon_inside ? 0 : (T)r->epsilon,
        .scale = (T)r->scale,
        .limit = (T)r->limit,
        .decay = r->decoupled ? 0 : (T)r->weight_decay,
        .keep = r->decoupled ? (T)(1 - r->rate * r->weight_decay) : 1,
    };
}

ALWAYS_INLINE VECTOR NAME(root)(const NAME(numbers) *k, VECTOR square)
{
    return NAME(sqrt)(square + k->epsilon_inside) + k->epsilon_outside;
}

ALWAYS_INLINE void NAME(sgd)(const NAME(numbers) *k, VECTOR g, VECTOR *p)
{
    *p -= k->rate * g;
}

ALWAYS_INLINE void NAME(momentum)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *velocity)
{
    const VECTOR v = k->mu * *velocity + k->inner * g;
    const VECTOR ahead = k->mu * v + k->inner * g;
    *velocity = v;
    *p -= k->outer * (k->nesterov ? ahead : v);
}

ALWAYS_INLINE void NAME(adagrad)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *accumulator)
{
    const VECTOR sum = *accumulator + g * g;
    *accumulator = sum;
    *p -= k->rate * g / NAME(root)(k, sum);
}

ALWAYS_INLINE void NAME(adadelta)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *mean_square,
                                  VECTOR *mean_square_step)
{
    const VECTOR before = *mean_square_step;
    const VECTOR square = k->rho * *mean_square + k->rest_rho * (g * g);
    const VECTOR step = NAME(sqrt)(before + k->epsilon) / NAME(sqrt)(square + k->epsilon) * g;
    *mean_square = square;
    *mean_square_step = k->rho * before + k->rest_rho * (step * step);
    *p -= k->rate * step;
}

ALWAYS_INLINE void NAME(rmsprop)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *mean_square)
{
    const VECTOR square = k->rho * *mean_square + k->rest_rho * (g * g);
    *mean_square = square;
    *p -= k->rate * g / NAME(root)(k, square);
}

ALWAYS_INLINE void NAME(adam)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *m, VECTOR *v)
{
    const VECTOR mean = k->beta_1 * *m + k->rest_1 * g;
    const VECTOR square = k->beta_2 * *v + k->rest_2 * (g * g);
    *m = mean;
    *v = square;
    *p -= k->rate * (mean * k->correction_1) / NAME(root)(k, square * k->correction_2);
}

ALWAYS_INLINE void NAME(lion)(const NAME(numbers) *k, VECTOR g, VECTOR *p, VECTOR *m)
{
    const VECTOR zero = {0}, mean = *m, c = k->beta_1 * mean + k->rest_1 * g;
    *m = k->beta_2 * mean + k->rest_2 * g;
    /* The sign of c; that of NaN is NaN. */
    *p -= k->rate * NAME(select)(c > 0, zero + 1, NAME(select)(c < 0, zero - 1, c));
}

/* One rule, a constant at every call, on vectors that may lie in registers; state that it doesn't have isn't looked at. */
ALWAYS_INLINE void NAME(apply)(const rule_name name, const NAME(numbers) *k, VECTOR g, VECTOR *p,
                               VECTOR *s, VECTOR *t)
{
    switch (name) {
    case SGD: NAME(sgd)(k, g, p); break;
    case MOMENTUM: NAME(momentum)(k, g, p, s); break;
    case ADAGRAD: NAME(adagrad)(k, g, p, s); break;
    case ADADELTA: NAME(adadelta)(k, g, p, s, t); break;
    case RMSPROP: NAME(rmsprop)(k, g, p, s); break;
    case ADAM: NAME(adam)(k, g, p, s, t); break;
    case LION: NAME(lion)(k, g, p, s); break;
    }
}

/* g clipped, with the decay; a decoupled decay shrinks p itself. */
ALWAYS_INLINE VECTOR NAME(treated)(const NAME(numbers) *k, VECTOR g, VECTOR *p)
{
    const VECTOR limit = k->limit - (VECTOR){0}, x = k->scale * g, before = *p;
    const VECTOR clipped = NAME(select)(x < -limit, -limit, NAME(select)(x > limit, limit, x));
    *p = before * k->keep;
    return clipped + k->decay * before;
}

/* One rule on n elements. */
ALWAYS_INLINE void NAME(run)(const rule_name name, const int arrays, const NAME(numbers) *k,
                             const int treats, ptrdiff_t n, T *p, const T *g, T *s, T *t)
{
    ptrdiff_t i = 0;
    for (; i + W <= n; i += W) {
        VECTOR g_i = *(const VECTOR *)(g + i), p_i = *(const VECTOR *)(p + i);
        if (treats) g_i = NAME(treated)(k, g_i, &p_i);
        NAME(apply)(name, k, g_i, &p_i, (VECTOR *)(s + i), (VECTOR *)(t + i));
        *(VECTOR *)(p + i) = p_i;
    }
#ifndef SCALAR
    if (i < n) {
        VECTOR g_i = NAME(load_part)(g + i, n - i), p_i = NAME(load_part)(p + i, n - i), s_i, t_i;
        if (arrays > 0) s_i = NAME(load_part)(s + i, n - i);
        if (arrays > 1) t_i = NAME(load_part)(t + i, n - i);
        if (treats) g_i = NAME(treated)(k, g_i, &p_i);
        NAME(apply)(name, k, g_i, &p_i, &s_i, &t_i);
        NAME(store_part)(p + i, p_i, n - i);
        if (arrays > 0) NAME(store_part)(s + i, s_i, n - i);
        if (arrays > 1) NAME(store_part)(t + i, t_i, n - i);
    }
#endif
}

/* r on n elements. */
UNUSED static void NAME(run_rule)(const rule *r, ptrdiff_t n, T *p, const T *g, T *s, T *t)
{
    const NAME(numbers) numbers = NAME(numbers_of)(r);
    switch (r->name) {
    #define RUN(name, arrays)                                                            \
    case name:                                                                           \
        if (r->treats) NAME(run)(name, arrays, &numbers, 1, n, p, g, s, t);               \
        else NAME(run)(name, arrays, &numbers, 0, n, p, g, s, t);                         \
        break;
    RULES(RUN)
    #undef RUN
    }
}

#undef W
#undef VECTOR
#undef NAME
