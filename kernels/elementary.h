/* exp, sigmoid and tanh as straight-line code, so that the compiler can run them on whole
   vectors (libm's expf is a call, and a call never vectorises). Polynomials and constants are
   those of Moshier's Cephes library; errors stay within 4 units in the last place.

   exp(x) = 2^n exp(r) with n = round(x / log 2), |r| <= log(2) / 2. Adding 1.5 * 2^23 (2^52 for
   double) rounds to an integer and leaves n in the low bits of the sum, from where one shift
   puts it into the exponent. log 2 is split in two, the first part short enough that n times
   it is exact. */

#ifndef FASTNN_ELEMENTARY_H
#define FASTNN_ELEMENTARY_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* For x <= 0, all the callers need. 0 below the smallest normal number; NaN stays NaN. */
static inline float exp_f32(float x)
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
    p = p * (r * r) + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.33654f ? 0.0f : p * power;
}

static inline double exp_f64(double x)
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
    double power;
    memcpy(&power, &bits, sizeof power);
    return x < -708.39 ? 0.0 : (1.0 + 2.0 * (p / (q - p))) * power;
}

/* tanh(x) for |x| < 0.625, where 1 - 2 / (exp(2x) + 1) would cancel. */
static inline float small_tanh_f32(float x)
{
    const float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    return p * s * x + x;
}

static inline double small_tanh_f64(double x)
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
static inline float log1p_f32(float x)
{
    const float s = x / (2.0f + x), t = s * s;
    float p = 1.0f / 15;
    for (int n = 13; n > 0; n -= 2) p = p * t + 1.0f / n;
    return 2.0f * s * p;
}

static inline double log1p_f64(double x)
{
    const double s = x / (2.0 + x), t = s * s;
    double p = 1.0 / 33;
    for (int n = 31; n > 0; n -= 2) p = p * t + 1.0 / n;
    return 2.0 * s * p;
}

/* Both sides of every choice are computed first: a choice of values is a vector instruction,
   a choice of what to compute would be a branch. */
#define DEFINE_ACTIVATIONS(T, S, copy_sign) \
    static inline T relu_##S(T x) { return x < 0 ? 0 : x; } \
    static inline T sigmoid_##S(T x) \
    { \
        const T e = exp_##S(x < 0 ? x : -x); \
        const T above = x < 0 ? e : (T)1; \
        return above / ((T)1 + e); \
    } \
    static inline T tanh_##S(T x) \
    { \
        const T size = copy_sign(x, (T)1); \
        const T e = exp_##S((T)-2 * size); \
        const T large = copy_sign(((T)1 - e) / ((T)1 + e), x); \
        const T small = small_tanh_##S(x); \
        return size < (T)0.625 ? small : large; \
    }
DEFINE_ACTIVATIONS(float, f32, copysignf)
DEFINE_ACTIVATIONS(double, f64, copysign)

#endif
