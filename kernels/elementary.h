/* exp and what activations are made of, as straight-line code, so that the compiler can run them on whole
   vectors (libm's expf is a call, and a call never vectorises). Polynomials and constants are
   those of Moshier's Cephes library, unless it says otherwise; errors stay within 4 units in the
   last place.

   exp(x) = 2^n exp(r) with n = round(x / log 2), |r| <= log(2) / 2. Adding 1.5 * 2^23 (2^52 for
   double) rounds to an integer and leaves n in the low bits of the sum, from where one shift
   puts it into the exponent. log 2 is split in two, the first part short enough that n times
   it is exact. */

#ifndef FASTNN_ELEMENTARY_H
#define FASTNN_ELEMENTARY_H

#include <math.h>

#include "vector.h"

/* exp(x) = power (1 + rest), for x <= 0, all the callers need; not below the smallest normal number.
   NaN stays NaN. */
ALWAYS_INLINE float exp_parts_f32(float x, float *power)
{
    const float clamped = x < -87.33654f ? -87.33654f : x;
    const float shifted = clamped * 1.44269504088896341f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(power, &bits, sizeof *power);
    return p * (r * r) + r;
}

ALWAYS_INLINE double exp_parts_f64(double x, double *power)
{
    const double clamped = x < -708.39 ? -708.39 : x;
    const double shifted = clamped * 1.4426950408889634074 + 6755399441055744.0;
    const double n = shifted - 6755399441055744.0;
    const double r = (clamped - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
    const double s = r * r;
    const double p = r * ((1.26177193074810590878e-4 * s + 3.02994407707441961300e-2) * s
                          + 9.99999999999999999910e-1);
    const double q = ((3.00198505138664455042e-6 * s + 2.52448340349684104192e-3) * s
                      + 2.27265548208155028766e-1) * s + 2.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 52) + 0x3ff0000000000000u;
    memcpy(power, &bits, sizeof *power);
    return 2.0 * (p / (q - p));
}

/* 0 below the smallest normal number. */
ALWAYS_INLINE float exp_f32(float x)
{
    float power;
    const float rest = exp_parts_f32(x, &power);
    return x < -87.33654f ? 0.0f : (rest + 1.0f) * power;
}

ALWAYS_INLINE double exp_f64(double x)
{
    double power;
    const double rest = exp_parts_f64(x, &power);
    return x < -708.39 ? 0.0 : (1.0 + rest) * power;
}

/* tanh(x) for |x| < 0.625, where 1 - 2 / (exp(2x) + 1) would cancel. */
ALWAYS_INLINE float small_tanh_f32(float x)
{
    const float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    return p * s * x + x;
}

ALWAYS_INLINE double small_tanh_f64(double x)
{
    const double s = x * x;
    const double p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s
                     - 1.61468768441708447952e3;
    const double q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s
                     + 4.84406305325125486048e3;
    return x + x * s * (p / q);
}

/* log(1 + x) for 0 <= x <= 1: with s = x / (2 + x) <= 1/3 it is the series
   2 (s + s^3/3 + s^5/5 + ...), whose terms shrink ninefold. */
ALWAYS_INLINE float log1p_f32(float x)
{
    const float s = x / (2.0f + x), t = s * s;
    float p = 1.0f / 15;
    for (int n = 13; n > 0; n -= 2) p = p * t + 1.0f / n;
    return 2.0f * s * p;
}

ALWAYS_INLINE double log1p_f64(double x)
{
    const double s = x / (2.0 + x), t = s * s;
    double p = 1.0 / 33;
    for (int n = 31; n > 0; n -= 2) p = p * t + 1.0 / n;
    return 2.0 * s * p;
}

/* exp(z^2) erfc(z) for 0 <= z <= 9.4 (27): a polynomial in 1 / (z + k), as Shepherd and Laframboise
   (1981) have it, its argument scaled to -1 ... 1. Coefficients of a Chebyshev interpolation in 60
   digits, relative errors 4e-9 and 2e-16. What is beyond is multiplied by an exp that is 0. */
ALWAYS_INLINE float erfcx_f32(float z)
{
    const float u = 7.914893617f / ((z > 9.4f ? 9.4f : z) + 3.0f) - 1.638297872f;
    float p = 3.311950024e-6f;
    p = (p * u + 8.73763817e-6f) * u - 5.517093688e-5f;
    p = (p * u - 0.0002634722568f) * u + 0.0003958892242f;
    p = (p * u + 0.007319584736f) * u + 0.03448506551f;
    p = (p * u + 0.1023052564f) * u + 0.2203170956f;
    p = (p * u + 0.3607868225f) * u + 0.2746968802f;
    return p;
}

ALWAYS_INLINE double erfcx_f64(double z)
{
    const double u = 7.907407407407407407 / ((z > 27.0 ? 27.0 : z) + 3.5) - 1.259259259259259259;
    double p = 2.621434452717126752e-10;
    p = (p * u + 9.23101756221856984e-11) * u - 3.594729436887237423e-9;
    p = (p * u - 7.389191839660943723e-10) * u + 3.465056660250626186e-8;
    p = (p * u + 8.244038241980822564e-9) * u - 3.275426504868429406e-7;
    p = (p * u - 2.337536026609631719e-7) * u + 3.188637220769425864e-6;
    p = (p * u + 6.232087022509398023e-6) * u - 0.0000266484003714408826;
    p = (p * u - 0.0001350922043000182311) * u - 0.00003482524290349423814;
    p = (p * u + 0.00184550586869739716) * u + 0.009838271261810158719;
    p = (p * u + 0.03170275420602586871) * u + 0.0761993969576031537;
    p = (p * u + 0.1465195783060231563) * u + 0.2326426087448120026;
    p = (p * u + 0.3096204438974940665) * u + 0.1918191082617092236;
    return p;
}

/* Both sides of every choice are computed first: a choice of values is a vector instruction,
   a choice of what to compute would be a branch. */
#define DEFINE_ACTIVATIONS(T, S, copy_sign) \
    ALWAYS_INLINE T relu_##S(T x) { return x < 0 ? 0 : x; } \
    ALWAYS_INLINE T sigmoid_##S(T x) \
    { \
        const T e = exp_##S(x < 0 ? x : -x); \
        const T above = x < 0 ? e : (T)1; \
        return above / ((T)1 + e); \
    } \
    ALWAYS_INLINE T tanh_##S(T x) \
    { \
        const T size = copy_sign(x, (T)1); \
        const T e = exp_##S((T)-2 * size); \
        const T large = copy_sign(((T)1 - e) / ((T)1 + e), x); \
        const T small = small_tanh_##S(x); \
        return size < (T)0.625 ? small : large; \
    } \
    /* exp(x) - 1 for x <= 0 */ \
    ALWAYS_INLINE T expm1_##S(T x) \
    { \
        T power; \
        const T rest = exp_parts_##S(x, &power); \
        return power * rest + (power - (T)1); \
    } \
    ALWAYS_INLINE T elu_##S(T x, T scale, T scaled_alpha) \
    { \
        const T below = scaled_alpha * expm1_##S(x > 0 ? 0 : x); \
        return x > 0 ? scale * x : below; \
    } \
    ALWAYS_INLINE T softplus_##S(T x) { return relu_##S(x) + log1p_##S(exp_##S(x < 0 ? x : -x)); } \
    ALWAYS_INLINE T softplus_slope_##S(T y) { return -expm1_##S(-y); } \
    ALWAYS_INLINE T heaviside_##S(T x) \
    { \
        const T below = x <= 0 ? 0 : x; \
        return x > 0 ? 1 : below; \
    } \
    /* d/dx of x sigmoid(v), v with the derivative dv; 1 - sigmoid(v) without cancellation */ \
    ALWAYS_INLINE T gated_slope_##S(T x, T v, T dv) \
    { \
        const T e = exp_##S(v < 0 ? v : -v), d = (T)1 + e; \
        const T open = (v < 0 ? e : (T)1) / d, shut = (v < 0 ? (T)1 : e) / d; \
        return open * ((T)1 + x * dv * shut); \
    } \
    ALWAYS_INLINE T swish_##S(T x) { return x * sigmoid_##S(x); } \
    ALWAYS_INLINE T swish_slope_##S(T x) { return gated_slope_##S(x, x, 1); } \
    /* 0.5 (1 + tanh(u)) is sigmoid(2 u); the factor is sqrt(8 / pi) */ \
    ALWAYS_INLINE T gelu_tanh_##S(T x) \
    { \
        return x * sigmoid_##S((T)1.5957691216057307 * (x + (T)0.044715 * x * x * x)); \
    } \
    ALWAYS_INLINE T gelu_tanh_slope_##S(T x) \
    { \
        const T cubic = (T)0.044715 * x * x, factor = (T)1.5957691216057307; \
        return gated_slope_##S(x, factor * (x + cubic * x), factor * ((T)1 + 3 * cubic)); \
    } \
    /* P(normal number < x), from the tail: erfc(|x| / sqrt 2) / 2; bell is exp(-x^2 / 2) */ \
    ALWAYS_INLINE T normal_cdf_##S(T x, T bell) \
    { \
        const T tail = (T)0.5 * bell * erfcx_##S(copy_sign(x, (T)1) * (T)0.70710678118654752); \
        return x < 0 ? tail : (T)1 - tail; \
    } \
    ALWAYS_INLINE T gelu_##S(T x) { return x * normal_cdf_##S(x, exp_##S((T)-0.5 * x * x)); } \
    ALWAYS_INLINE T gelu_slope_##S(T x) \
    { \
        const T bell = exp_##S((T)-0.5 * x * x); \
        return normal_cdf_##S(x, bell) + x * bell * (T)0.39894228040143268; \
    }
DEFINE_ACTIVATIONS(float, f32, copysignf)
DEFINE_ACTIVATIONS(double, f64, copysign)

#endif
