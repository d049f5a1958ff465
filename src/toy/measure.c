/* measure.c - what a toy model looks like: lengths, interference, shapes; and exact losses of linear ones.    floor 8: toy
 *
 * Everything is computed from the Gram matrix G = W W^T: G_ii is the squared length of a feature, G_ij its overlap with another. The shapes are recognised
 * by what one of their corners sees: under which cosines it has the others, and how often. A component is a shape if all of its members have
 * the same length and see the same.
 *
 *   digon             -1                                             1/2 of a dimension each
 *   triangle          -1/2 twice                                     2/3
 *   tetrahedron       -1/3 three times                               3/4
 *   pentagon          cos 72 twice, cos 144 twice                    2/5
 *   square antiprism  two squares, turned by 45 degrees and apart    3/8
 *
 * Source: Elhage et al. 2022, "The geometry of superposition"; tight frames for the antiprism's height.
 */
#include "toy/toy.h"

#include <math.h>
#include <stdlib.h>

/* W_i . W_j, in double. */
static double dot(const float *w, int64_t m, int64_t i, int64_t j)
{
    double sum = 0.0;

    for (int64_t k = 0; k < m; k++)
        sum += (double)w[i * m + k] * w[j * m + k];
    return sum;
}

/* All pairs, once each way. */
void sonde_toy_features(double *norms, double *interference, double *dimensionality, const float *w, int64_t n, int64_t m)
{
    for (int64_t i = 0; i < n; i++) {
        double square = dot(w, m, i, i), others = 0.0;
        for (int64_t j = 0; j < n && square > 0.0; j++)
            others += j == i ? 0.0 : dot(w, m, i, j) * dot(w, m, i, j) / square;
        if (norms != NULL)
            norms[i] = sqrt(square);
        if (interference != NULL)
            interference[i] = others;
        if (dimensionality != NULL)
            dimensionality[i] = square > 0.0 ? square / (square + others) : 0.0;
    }
}

/* All of W counts, features that are nearly gone as well. */
double sonde_toy_dimensions_each(const float *w, int64_t n, int64_t m)
{
    return (double)m / sondep_sum_squares(w, n * m);
}

/* ---- shapes --------------------------------------------------------------------------------------------------------- */

/* Cosines between one feature of a shape and the others, in order, and how often; and the dimensions that it lies in. */
typedef struct shape_rule {
    const char *name;
    int64_t n;
    double fraction;
    int n_cosines;
    double cosines[4];
    int counts[4];
} shape_rule;

static const shape_rule rules[SONDE_TOY_N_SHAPES] = {
    [SONDE_TOY_NO_SHAPE] = {"no shape", 0, 0.0, 0, {0}, {0}},
    [SONDE_TOY_ALONE_SHAPE] = {"a dimension of its own", 1, 1.0, 0, {0}, {0}},
    [SONDE_TOY_DIGON] = {"digon", 2, 1.0 / 2, 1, {-1.0}, {1}},
    [SONDE_TOY_TRIANGLE] = {"triangle", 3, 2.0 / 3, 1, {-0.5}, {2}},
    [SONDE_TOY_TETRAHEDRON] = {"tetrahedron", 4, 3.0 / 4, 1, {-1.0 / 3}, {3}},
    [SONDE_TOY_PENTAGON] = {"pentagon", 5, 2.0 / 5, 2, {-0.80901699437494745, 0.30901699437494745}, {2, 2}},
    /* two squares, one turned by 45 degrees; as far apart as makes 3/8 of each: W W^T is 8/3 of a projection */
    [SONDE_TOY_ANTIPRISM] =
        {"square antiprism", 8, 3.0 / 8, 4, {-0.80473785412436494, -1.0 / 3, 1.0 / 3, 0.13807118745769834}, {2, 1, 2, 2}},
};

/* As it is printed. */
const char *sonde_toy_shape_name(sonde_toy_shape shape)
{
    return rules[shape].name;
}

/* Dimensions over corners. */
double sonde_toy_shape_fraction(sonde_toy_shape shape)
{
    return rules[shape].fraction;
}

/* One component: its members, and the Gram matrix that they are judged by. */
typedef struct part {
    const float *w;
    int64_t m, n;
    const int64_t *members;
} part;

/* Whether member a sees the others under the shape's angles, as often as it should. */
static bool sees(const part *p, const shape_rule *rule, int64_t a, double tolerance)
{
    int left[4];

    memcpy(left, rule->counts, sizeof left);
    for (int64_t b = 0; b < p->n; b++) {
        int64_t i = p->members[a], j = p->members[b];
        double cosine = dot(p->w, p->m, i, j) / sqrt(dot(p->w, p->m, i, i) * dot(p->w, p->m, j, j));
        int k = 0;
        if (a == b)
            continue;
        /* the first angle of the shape that is not used up and fits */
        while (k < rule->n_cosines && (left[k] == 0 || fabs(cosine - rule->cosines[k]) > tolerance))
            k++;
        if (k == rule->n_cosines)
            return false;
        left[k]--;
    }
    return true;
}

/* Equal lengths, and every member under the angles of the same shape. */
static sonde_toy_shape shape_of(const part *p, double tolerance)
{
    double first = sqrt(dot(p->w, p->m, p->members[0], p->members[0]));

    for (int64_t a = 0; a < p->n; a++)
        if (fabs(sqrt(dot(p->w, p->m, p->members[a], p->members[a])) / first - 1.0) > tolerance)
            return SONDE_TOY_NO_SHAPE;
    for (int shape = SONDE_TOY_ALONE_SHAPE; shape < SONDE_TOY_N_SHAPES; shape++) {
        bool is_it = rules[shape].n == p->n;
        for (int64_t a = 0; a < p->n && is_it; a++)
            is_it = sees(p, &rules[shape], a, tolerance);
        if (is_it)
            return (sonde_toy_shape)shape;
    }
    return SONDE_TOY_NO_SHAPE;
}

/* Everyone that feature i reaches gets its number; an edge is a product that is not small. */
static void reach(int64_t *component, const float *w, int64_t n, int64_t m, int64_t i, double join)
{
    for (int64_t j = 0; j < n; j++) {
        if (component[j] != -2 || fabs(dot(w, m, i, j)) < join)
            continue;
        component[j] = component[i];
        reach(component, w, n, m, j, join);
    }
}

/* Depth first; members of a component are looked up again, so that no list is needed. */
int64_t sonde_toy_components(int64_t *component, sonde_toy_shape *shapes, const float *w, int64_t n, int64_t m, double join,
                             double shortest, double tolerance)
{
    int64_t n_parts = 0, members[8];

    /* -2: not seen yet */
    for (int64_t i = 0; i < n; i++)
        component[i] = sqrt(dot(w, m, i, i)) >= shortest ? -2 : -1;
    for (int64_t i = 0; i < n; i++) {
        part p = {w, m, 0, members};
        if (component[i] != -2)
            continue;
        component[i] = n_parts;
        reach(component, w, n, m, i, join);
        for (int64_t j = i; j < n; j++)
            if (component[j] == n_parts && p.n++ < 8)
                members[p.n - 1] = j;
        shapes[n_parts++] = p.n <= 8 ? shape_of(&p, tolerance) : SONDE_TOY_NO_SHAPE;
    }
    return n_parts;
}

/* ---- exact losses ---------------------------------------------------------------------------------------------------- */

/* Features are independent: variances add up. */
double sonde_toy_linear_loss(const float *w, const float *b, const double *probability, const double *importance, int64_t n,
                             int64_t m)
{
    double loss = 0.0;

    for (int64_t i = 0; i < n; i++) {
        /* the error is linear in the features: its mean and its variance are sums */
        double variance = 0.0, mean = b[i];
        for (int64_t j = 0; j < n; j++) {
            double a = dot(w, m, i, j) - (i == j ? 1.0 : 0.0), p = probability[j];
            variance += a * a * (p / 3.0 - p * p / 4.0);
            mean += a * p / 2.0;
        }
        loss += importance[i] * (variance + mean * mean) / (double)n;
    }
    return loss;
}

/* The largest first. */
static int compare_down(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Independent features are principal components themselves. */
sonde_status sonde_toy_pca_loss(double *out, const double *probability, const double *importance, int64_t n, int64_t m)
{
    double *share;

    SONDE_TRY(SONDE_NEW(share, n));
    for (int64_t i = 0; i < n; i++)
        share[i] = importance[i] * (probability[i] / 3.0 - probability[i] * probability[i] / 4.0);
    qsort(share, (size_t)n, sizeof *share, compare_down);
    *out = 0.0;
    /* what is not among the m largest is lost, but for its mean */
    for (int64_t i = m; i < n; i++)
        *out += share[i] / (double)n;
    sondep_free(share);
    return SONDE_OK;
}
