# The optimizer's state in fewer bits; included by apply_rule.pxi. fastnn/rules.py says what the
# forms are. A hash and a few products an element: it is arithmetic that bounds these loops, so they
# are written without branches, for vectors.
from libc.math cimport sqrt, sqrtf

cdef extern from * nogil:
    """
    #include <float.h>
    #include <math.h>
    #include <string.h>
    static inline float float_of(unsigned int bits)
    { float x; memcpy(&x, &bits, sizeof x); return x; }
    static inline unsigned int bits_of(float x)
    { unsigned int bits; memcpy(&bits, &x, sizeof bits); return bits; }
    """
    float float_of(unsigned int bits)
    unsigned int bits_of(float x)
    float FLT_MIN
    float fabsf(float x)
    double fabs(double x)

cdef enum:
    BLOCK = 64  # elements that share a scale

cdef enum StateForm:
    FULL, BFLOAT16, CODES

cdef struct State:
    StateForm form
    int count            # arrays of the rule
    void *arrays[2]
    float *scales[2]     # of codes


cdef State find_state(tuple arrays, const floating *parameter) except *:
    """The state of a parameter of that type; who asks keeps the arrays alive."""
    cdef State state
    cdef floating[::1] full
    cdef unsigned short[::1] half
    cdef unsigned char[::1] codes
    cdef float[::1] scales
    cdef int i, size = 0 if not arrays else arrays[0].dtype.itemsize
    state.form = CODES if size == 1 else (BFLOAT16 if size == 2 else FULL)
    state.count = len(arrays) // 2 if state.form == CODES else len(arrays)
    state.arrays[0] = state.arrays[1] = NULL
    for i in range(state.count):
        if state.form == FULL:
            full = arrays[i]
            state.arrays[i] = &full[0]
        elif state.form == BFLOAT16:
            half = arrays[i]
            state.arrays[i] = &half[0]
        else:
            codes, scales = arrays[i], arrays[state.count + i]
            state.arrays[i] = &codes[0]
            state.scales[i] = &scales[0]
    return state


cdef inline Py_ssize_t rows_together(const State *state, Py_ssize_t columns) noexcept nogil:
    """A matrix may be cut after each so many rows: there a block of codes ends."""
    cdef Py_ssize_t power = columns & -columns
    return BLOCK // min(<Py_ssize_t> BLOCK, power) if state.form == CODES else 1


cdef inline void random_bits(unsigned int seed, unsigned int place, unsigned int *bits,
                             Py_ssize_t n) noexcept nogil:
    """32 for each element: a hash of the seed and the place (Wellons, 2018: lowbias32)."""
    cdef unsigned int h
    cdef Py_ssize_t i
    for i in range(n):
        h = (place + <unsigned int> i) * 0x9E3779B9U + seed
        h = (h ^ (h >> 16)) * 0x7FEB352DU
        h = (h ^ (h >> 15)) * 0x846CA68BU
        bits[i] = h ^ (h >> 16)


cdef inline floating size_of(floating x) noexcept nogil:
    return fabsf(x) if floating is float else fabs(x)


cdef inline void widen(const State *state, int k, bint has_sign, Py_ssize_t place,
                       floating *wide, Py_ssize_t n) noexcept nogil:
    """n elements of array k, from ``place`` on."""
    cdef const unsigned short *half = <unsigned short *> state.arrays[k] + place
    cdef const unsigned char *codes = <unsigned char *> state.arrays[k] + place
    cdef floating signed_unit = <floating> (1.0 / 16129.0), unit = <floating> (1.0 / 4228250625.0)
    cdef floating c, scale
    cdef int s
    cdef Py_ssize_t i, b, first
    if state.form == BFLOAT16:
        for i in range(n):
            wide[i] = float_of(<unsigned int> half[i] << 16)
        return
    for b in range((n + BLOCK - 1) // BLOCK):
        first = b * BLOCK
        scale = state.scales[k][(place + first) // BLOCK]
        if has_sign:
            for i in range(first, min(first + BLOCK, n)):
                s = <int> codes[i] - 128
                wide[i] = <floating> (s * (-s if s < 0 else s)) * signed_unit * scale
        else:
            for i in range(first, min(first + BLOCK, n)):
                c = <floating> <int> codes[i]
                wide[i] = (c * c) * (c * c) * unit * scale


cdef inline unsigned short bfloat16(float x, unsigned int below) noexcept nogil:
    """The upper half of x + the bits below it: up with a probability of what is cut off."""
    cdef unsigned int raw = 0 if fabsf(x) < FLT_MIN else bits_of(x)
    cdef bint finite = (raw & 0x7F800000U) != 0x7F800000U
    return <unsigned short> ((raw + (below if finite else 0)) >> 16)


cdef inline void narrow(const State *state, int k, bint has_sign, Py_ssize_t place,
                        const floating *wide, const unsigned int *bits,
                        Py_ssize_t n) noexcept nogil:
    """The reverse of ``widen``; rounds up or down by 16 of the random bits."""
    cdef unsigned short *half = <unsigned short *> state.arrays[k] + place
    cdef unsigned char *codes = <unsigned char *> state.arrays[k] + place
    cdef unsigned int shift = 16 * k
    cdef float scale
    cdef Py_ssize_t i, b, first, size
    if state.form == BFLOAT16:
        for i in range(n):
            half[i] = bfloat16(<float> wide[i], (bits[i] >> shift) & 0xFFFFU)
        return
    for b in range((n + BLOCK - 1) // BLOCK):
        first = b * BLOCK
        size = min(<Py_ssize_t> BLOCK, n - first)
        scale = largest(wide + first, size)
        state.scales[k][(place + first) // BLOCK] = scale
        if has_sign:
            encode_signed(wide + first, bits + first, shift, scale, codes + first, size)
        else:
            encode(wide + first, bits + first, shift, scale, codes + first, size)


cdef inline float largest(const floating *x, Py_ssize_t n) noexcept nogil:
    """The largest size. As integers, for positive floats have their order and GCC makes vectors."""
    cdef int most = 0, size
    cdef Py_ssize_t i
    for i in range(n):
        size = <int> bits_of(fabsf(<float> x[i]))
        most = size if size > most else most
    return float_of(most) if float_of(most) >= FLT_MIN else 0


cdef inline void encode_signed(const floating *x, const unsigned int *bits, unsigned int shift,
                               float scale, unsigned char *codes, Py_ssize_t n) noexcept nogil:
    """Codes of a block of numbers with signs."""
    cdef floating divisor = scale if scale > 0 else 1, squares = 16129, unit = 1.0 / 65536
    cdef floating size, c, chance
    cdef Py_ssize_t i
    cdef int code
    for i in range(n):
        size = size_of(x[i]) / divisor * squares
        c = <floating> floor_of(square_root(size), 127)
        chance = <floating> <int> ((bits[i] >> shift) & 0xFFFFU) * unit
        code = <int> c + <int> ((size - c * c) / (c + c + 1) > chance)
        code = code if code < 127 else 127
        codes[i] = <unsigned char> (128 + (code ^ -<int> (x[i] < 0)) + <int> (x[i] < 0))


cdef inline void encode(const floating *x, const unsigned int *bits, unsigned int shift,
                        float scale, unsigned char *codes, Py_ssize_t n) noexcept nogil:
    """Codes of a block of numbers that are never negative; only of 0 is it 0."""
    cdef floating divisor = scale if scale > 0 else 1, powers = 4228250625.0, unit = 1.0 / 65536
    cdef floating tiny = FLT_MIN, size, c, low, high, chance
    cdef Py_ssize_t i
    cdef int code, least
    for i in range(n):
        size = x[i] / divisor * powers
        c = <floating> floor_of(square_root(square_root(size)), 255)
        low = (c * c) * (c * c)
        high = ((c + 1) * (c + 1)) * ((c + 1) * (c + 1))
        chance = <floating> <int> ((bits[i] >> shift) & 0xFFFFU) * unit
        code = <int> c + <int> ((size - low) / (high - low) > chance)
        least = <int> (x[i] >= tiny)
        code = code if code > least else least
        codes[i] = <unsigned char> (code if code < 255 else 255)


cdef inline floating square_root(floating x) noexcept nogil:
    return sqrtf(x) if floating is float else sqrt(x)


cdef inline int floor_of(floating x, int most) noexcept nogil:
    """In 0 … most. By integers: a choice between floats, cast afterwards, GCC makes a branch."""
    cdef int i = <int> x
    i = i if i < most else most
    return i if i > 0 else 0
