/* ref/features.c - the definition of the features' gradients, and of a step along them. */
#include "kernel/ref.h"

#include <math.h>

/* g[d] = pull w[d] + sum over the pairs of feature s of factor[pair] rows[n][d], in double; w may be NULL. */
static void sum_rows(float *g, const sondep_feature_term *terms, int64_t n_terms, bool is_out, int64_t s, double pull,
                     const float *w, int64_t D)
{
    for (int64_t d = 0; d < D; d++) {
        double sum = w ? pull * w[d] : 0.0;
        for (const sondep_feature_term *t = terms; t < terms + n_terms; t++) {
            if (is_out ? !t->residual : !t->dpre)
                continue;
            for (int64_t i = t->columns->first[s]; i < t->columns->first[s + 1]; i++) {
                int64_t n = t->columns->row[i], at = t->columns->at[i];
                sum += is_out ? (double)t->codes->value[at] * t->residual[n * D + d]
                              : (double)t->dpre[at] * t->x[n * t->ld_x + d];
            }
        }
        g[d] = (float)sum;
    }
}

/* The same for the bias, whose rows are ones. */
static float sum_bias(const sondep_feature_term *terms, int64_t n_terms, int64_t s)
{
    double sum = 0.0;

    for (const sondep_feature_term *t = terms; t < terms + n_terms; t++)
        for (int64_t i = t->columns->first[s]; i < t->columns->first[s + 1] && t->dpre; i++)
            sum += t->dpre[t->columns->at[i]];
    return (float)sum;
}

/* g -= w (g . w) / |w|^2 */
static void take_out_along(float *g, const float *w, int64_t D)
{
    double along = 0.0, squares = sondep_sum_squares_ref(w, D);

    for (int64_t d = 0; d < D; d++)
        along += (double)g[d] * w[d];
    for (int64_t d = 0; d < D && squares > 0.0; d++)
        g[d] = (float)(g[d] - along / squares * w[d]);
}

/* Gradients of feature s: D floats for its row of the encoder, D_out for that of the decoder, and the bias. */
static float gradient_of(float *g, const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t s,
                         int64_t D, int64_t D_out)
{
    const float *w = f->w_out + s * D_out;

    sum_rows(g, terms, n_terms, false, s, 0.0, NULL, D);
    sum_rows(g + D, terms, n_terms, true, s, f->pull ? f->pull[s] : 0.0, f->pull ? w : NULL, D_out);
    for (int64_t d = 0; d < D && f->shrink != 0.0f; d++)
        g[d] += f->shrink * (float)((f->w_in[s * D + d] > 0.0f) - (f->w_in[s * D + d] < 0.0f));
    for (int64_t d = 0; d < D_out && f->shrink != 0.0f; d++)
        g[D + d] += f->shrink * (float)((w[d] > 0.0f) - (w[d] < 0.0f));
    if (f->is_tangent)
        take_out_along(g + D, w, D_out);
    return sum_bias(terms, n_terms, s);
}

/* The decoder's row, to the norm that is wanted. */
static void scale_to(float *w, float norm, int64_t D)
{
    double now = sqrt(sondep_sum_squares_ref(w, D));

    for (int64_t d = 0; d < D && now > 0.0; d++)
        w[d] = (float)(w[d] * (norm / now));
}

/* Feature by feature. */
void sondep_feature_step_ref(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms,
                             const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch)
{
    float *g = scratch, of_bias;

    for (int64_t s = 0; s < S; s++) {
        of_bias = gradient_of(g, f, terms, n_terms, s, D, D_out);
        sondep_adamw_step_ref(f->w_in + s * D, f->m_in + s * D, f->v_in + s * D, g, a, D);
        sondep_adamw_step_ref(f->w_out + s * D_out, f->m_out + s * D_out, f->v_out + s * D_out, g + D, a, D_out);
        if (f->b)
            sondep_adamw_step_ref(f->b + s, f->m_b + s, f->v_b + s, &of_bias, a, 1);
        if (f->norm)
            scale_to(f->w_out + s * D_out, f->norm[s], D_out);
    }
}

/* The bias's gradient counts where there is a bias. */
double sondep_feature_squares_ref(const sondep_features *f, const sondep_feature_term *terms, int64_t n_terms, int64_t S,
                                  int64_t D, int64_t D_out, void *scratch)
{
    float *g = scratch;
    double sum = 0.0;

    for (int64_t s = 0; s < S; s++) {
        double of_bias = gradient_of(g, f, terms, n_terms, s, D, D_out);
        sum += sondep_sum_squares_ref(g, D + D_out) + (f->b ? of_bias * of_bias : 0.0);
    }
    return sum;
}

/* One feature's gradients. */
size_t sondep_feature_scratch_bytes_ref(int64_t D, int64_t D_out)
{
    return (size_t)(D + D_out) * sizeof(float) + 64;
}
