# Included by the kernels that call the functions of elementary.h.
cdef extern from "elementary.h" nogil:
    float relu_f32(float x)
    double relu_f64(double x)
    float sigmoid_f32(float x)
    double sigmoid_f64(double x)
    float tanh_f32(float x)
    double tanh_f64(double x)
    float exp_f32(float x)
    double exp_f64(double x)
    float log1p_f32(float x)
    double log1p_f64(double x)
