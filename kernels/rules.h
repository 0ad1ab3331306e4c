/* The rules of the optimizers, on a vector of elements at a time, and a loop over arrays.

   An update reads and writes each array once, in one pass; NumPy's form makes a pass per operation.
   It is limited by memory: with divisions and roots of whole vectors the arithmetic hides behind it.

   Scalars come rounded to the arrays' type, and the operations are those of
   fastnn/backends/reference/update.py in its order: the bits are the same. Where the field has two
   conventions there is one formula, with a number for each of the two places it may stand in; the
   other is 0 in a sum or 1 in a product, which is exact.

   The second half is a template, included for float and for double. */

#ifndef FASTNN_RULES_H
#define FASTNN_RULES_H

#include "vector.h"

/* The rules, each with the number of arrays it keeps. */
#define RULES(X) X(SGD, 0) X(MOMENTUM, 1) X(ADAGRAD, 1) X(ADADELTA, 2) X(RMSPROP, 1) X(ADAM, 2) X(LION, 1)
#define RULE_NAME(name, arrays) name,
typedef enum { RULES(RULE_NAME) } rule_name;

typedef struct { /* fastnn.rules.Rule */
    rule_name name;
    double rate, mu, rho, beta_1, beta_2, correction_1, correction_2, epsilon;
    int epsilon_inside, nesterov, rate_inside;
    double scale, limit, weight_decay;
    int decoupled, treats; /* treats: whether anything happens before the rule itself */
    unsigned int seed;
    ptrdiff_t place;
} rule;

#define T float
#define TYPE f32
#include "rules_template.h"
#undef T
#undef TYPE
#define T double
#define TYPE f64
#include "rules_template.h"
#undef T
#undef TYPE

#endif
