/* Numbers below the smallest normal one (1.2e-38 in float32) take the arithmetic units
   some hundred cycles each. Training makes them by the million: a unit that died has
   gradient 0, and its momentum decays towards 0 for ever. So the kernels count them as 0,
   as other engines do: each piece of work sets its thread's mode and puts it back. */

#ifndef FASTNN_DENORMALS_H
#define FASTNN_DENORMALS_H

#if defined(__SSE2__) || defined(_M_X64)
  #include <immintrin.h>
  typedef unsigned int float_mode;
  static inline float_mode flush_denormals(void)
  {
      float_mode before = _mm_getcsr();
      _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
      return before;
  }
  static inline void set_float_mode(float_mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__) && defined(__GNUC__)
  typedef unsigned long long float_mode;
  static inline void set_float_mode(float_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
  static inline float_mode flush_denormals(void)
  {
      float_mode before;
      __asm__ volatile("mrs %0, fpcr" : "=r"(before));
      set_float_mode(before | 1 << 24);
      return before;
  }
#else
  typedef int float_mode;
  static inline float_mode flush_denormals(void) { return 0; }
  static inline void set_float_mode(float_mode mode) { (void)mode; }
#endif

#endif
