/* planted.c - rows of planted directions, and how well an autoencoder finds them.          floor 8: toy
 *
 * Everything of a row is a function of the seed and its number: a stream of Philox for each row, a counter for each feature. So rows can be drawn in any
 * order, on any number of threads, and once more for an evaluation that must see none of those that were trained on.
 *
 *   x = sum_i f_i d_i + noise,   f_i = max(mean_i + deviation_i z, 0) where feature i is on
 *
 * Sets make features come together or exclude each other; a parent that is off takes its children with it (hierarchies).
 *
 * Scores are those of sae_lens's benchmark on synthetic data.
 *
 * Source: sae_lens 6.54.12, synthetic: activation_generator, hierarchy, evals.
 */
#include "toy/toy.h"

#include "sae/sae.h"
#include "train/state.h"

#include <math.h>

struct sonde_planted {
    sonde_planted_opts opts; /* lists of its own */
    double *probability, *mean, *deviation;
    sonde_toy_set *sets;
    int64_t *parent;
    float *directions; /* (n, width) */
};

/* Streams: of directions, of rows. Counters of a row: whether a feature is on, its size, noise. */
enum { OF_DIRECTIONS = 7, ROWS_FROM = 1 << 20 };

/* Twice as many features as numbers. */
void sonde_planted_opts_init(sonde_planted_opts *out)
{
    *out = (sonde_planted_opts){.struct_size = sizeof *out, .n_features = 128, .width = 64};
}

/* ---- life -------------------------------------------------------------------------------------------------------------- */

/* Sizes, probabilities, sets, parents. */
static sonde_status check(const sonde_planted_opts *o)
{
    int64_t next = 0;

    SONDE_TRY(sondep_check_option("n_features", (double)o->n_features, 1, 1e6));
    SONDE_TRY(sondep_check_option("width", (double)o->width, 1, 1e6));
    SONDE_TRY(sondep_check_option("noise", o->noise, 0, 1e6));
    /* a parent comes first, so that one pass settles hierarchies of any depth */
    for (int64_t i = 0; i < o->n_features; i++) {
        if (o->probability != NULL && !(o->probability[i] > 0.0 && o->probability[i] <= 1.0))
            return SONDE_FAIL(SONDE_E_ARG, "option 'probability' is %g at feature %lld, not in (0, 1]", o->probability[i],
                              (long long)i);
        if (o->parent != NULL && (o->parent[i] < -1 || o->parent[i] >= i))
            return SONDE_FAIL(SONDE_E_ARG, "option 'parent' of feature %lld is %lld, which does not come before it",
                              (long long)i, (long long)o->parent[i]);
    }
    for (int64_t i = 0; o->sets != NULL && i < o->n_sets; i++) {
        if (o->sets[i].first != next || o->sets[i].n < 1 || o->sets[i].kind < 0 || o->sets[i].kind > SONDE_TOY_ONE_OF)
            return SONDE_FAIL(SONDE_E_ARG, "option 'sets': set %lld does not follow feature %lld", (long long)i,
                              (long long)next - 1);
        next += o->sets[i].n;
    }
    if (o->sets != NULL && next != o->n_features)
        return SONDE_FAIL(SONDE_E_ARG, "option 'sets' ends behind feature %lld of %lld", (long long)next,
                          (long long)o->n_features);
    return SONDE_OK;
}

/* One direction, of length 1. */
static void make_direction(float *row, int64_t d, uint64_t seed, int64_t i)
{
    double square = 0.0;

    for (int64_t k = 0; k < d; k++) {
        row[k] = (float)sonde_random_normal(seed, OF_DIRECTIONS, (uint64_t)(i * d + k));
        square += (double)row[k] * row[k];
    }
    for (int64_t k = 0; k < d; k++)
        row[k] = (float)(row[k] / sqrt(square));
}

/* Lists of the caller, or what stands for them. */
static sonde_status copy_lists(sonde_planted *p, const sonde_planted_opts *o)
{
    int64_t n = o->n_features;

    p->opts.n_sets = o->sets ? o->n_sets : 1;
    SONDE_TRY(SONDE_NEW(p->probability, n));
    SONDE_TRY(SONDE_NEW(p->mean, n));
    SONDE_TRY(SONDE_NEW(p->deviation, n));
    SONDE_TRY(SONDE_NEW(p->parent, n));
    SONDE_TRY(SONDE_NEW(p->sets, p->opts.n_sets));
    SONDE_TRY(SONDE_NEW(p->directions, n * o->width));
    for (int64_t i = 0; i < n; i++) {
        p->probability[i] = o->probability ? o->probability[i] : 0.05;
        p->mean[i] = o->mean ? o->mean[i] : 1.0;
        p->deviation[i] = o->deviation ? o->deviation[i] : 0.15;
        p->parent[i] = o->parent ? o->parent[i] : -1;
        make_direction(p->directions + i * o->width, o->width, o->seed, i);
    }
    for (int64_t i = 0; i < p->opts.n_sets; i++)
        p->sets[i] = o->sets ? o->sets[i] : (sonde_toy_set){SONDE_TOY_ALONE, 0, n};
    return SONDE_OK;
}

/* Everything is checked before memory is taken. */
sonde_status sonde_planted_new(sonde_planted **out, const sonde_planted_opts *opts)
{
    sonde_planted_opts o;
    sonde_planted *p = NULL;
    sonde_status status;

    *out = NULL;
    sonde_planted_opts_init(&o);
    SONDE_TRY(sondep_opts_read(&o, sizeof o, opts, "the struct of a planted dictionary's options"));
    SONDE_TRY(check(&o));
    SONDE_TRY_DONE(SONDE_NEW(p, 1));
    p->opts = o;
    SONDE_TRY_DONE(copy_lists(p, &o));
    *out = p;
    p = NULL;
done:
    sonde_planted_free(p);
    return status;
}

/* Parts that are not there yet are fine. */
void sonde_planted_free(sonde_planted *p)
{
    if (p == NULL)
        return;
    sondep_free(p->probability);
    sondep_free(p->mean);
    sondep_free(p->deviation);
    sondep_free(p->parent);
    sondep_free(p->sets);
    sondep_free(p->directions);
    sondep_free(p);
}

/* Rows of length 1. */
const float *sonde_planted_directions(const sonde_planted *planted)
{
    return planted->directions;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

/* Which features of a set are on. */
static void draw_set(const sonde_planted *p, const sonde_toy_set *set, uint64_t row, float *f)
{
    uint64_t seed = p->opts.seed, stream = ROWS_FROM + row;
    /* one draw for the whole set: how far it is below the bar says which of them */
    double u = sonde_random_uniform(seed, stream, (uint64_t)set->first), bar = p->probability[set->first];
    int64_t one = (int64_t)(u / bar * (double)set->n);

    for (int64_t i = set->first; i < set->first + set->n; i++) {
        bool on = set->kind == SONDE_TOY_ALONE ? sonde_random_uniform(seed, stream, (uint64_t)i) < p->probability[i]
                                               : u < bar && (set->kind == SONDE_TOY_ALL_OF || i - set->first == one);
        /* most are off: their size is not asked for */
        double size =
            on ? p->mean[i] + p->deviation[i] * sonde_random_normal(seed, stream, (uint64_t)(p->opts.n_features + i)) : 0.0;
        f[i] = size > 0.0 ? (float)size : 0.0f;
    }
}

/* Features of a row: sets, then what its parents take away. */
static void draw_features(const sonde_planted *p, uint64_t row, float *f)
{
    for (int64_t s = 0; s < p->opts.n_sets; s++)
        draw_set(p, &p->sets[s], row, f);
    for (int64_t i = 0; i < p->opts.n_features; i++)
        if (p->parent[i] >= 0 && f[p->parent[i]] == 0.0f)
            f[i] = 0.0f;
}

/* A row is one thread's. */
sonde_status sonde_planted_rows(float *x, float *features, const sonde_planted *p, int64_t first, int64_t n_rows)
{
    int64_t n = p->opts.n_features, d = p->opts.width;
    float *room = NULL;

    if (features == NULL)
        SONDE_TRY(SONDE_NEW(room, n_rows * n));
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t r = 0; r < n_rows; r++) {
        float *f = (features ? features : room) + r * n, *row = x + r * d;
        uint64_t number = (uint64_t)(first + r);
        draw_features(p, number, f);
        for (int64_t k = 0; k < d; k++)
            row[k] =
                p->opts.noise > 0.0
                    ? (float)(p->opts.noise * sonde_random_normal(p->opts.seed, ROWS_FROM + number, (uint64_t)(2 * n + k)))
                    : 0.0f;
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < d && f[i] != 0.0f; k++)
                row[k] += f[i] * p->directions[i * d + k];
    }
    sondep_free(room);
    return SONDE_OK;
}

/* ---- scores ----------------------------------------------------------------------------------------------------------------- */

/* What is counted over rows. */
typedef struct counts {
    int64_t *both, *sae_only, *true_only; /* (S) rows */
    double shrinkage, true_on, on, error, *sum, *squares;
    int64_t n, n_long;
} counts;

/* Of the directions: nearest to each decoder row, uniqueness, largest cosines. */
static sonde_status compare_directions(sonde_planted_score *out, int64_t *nearest, const sonde_planted *p,
                                       const float *decoder, int64_t S)
{
    int64_t n = p->opts.n_features, *match = NULL;
    double *value = NULL;
    bool *is_found = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(match, S));
    SONDE_TRY_DONE(SONDE_NEW(value, S * n));
    SONDE_TRY_DONE(SONDE_NEW(is_found, n));
    SONDE_TRY_DONE(sonde_match_directions(&out->mcc, match, decoder, S, p->directions, n, p->opts.width));
    sondep_toy_cosines(value, decoder, S, p->directions, n, p->opts.width);
    for (int64_t s = 0; s < S; s++) {
        nearest[s] = 0;
        for (int64_t i = 1; i < n; i++)
            nearest[s] = value[s * n + i] > value[s * n + nearest[s]] ? i : nearest[s];
        out->uniqueness += is_found[nearest[s]] ? 0.0 : 1.0 / (double)S;
        is_found[nearest[s]] = true;
    }
    for (int64_t i = 0; i < n; i++) {
        double most = 0.0;
        for (int64_t s = 0; s < S; s++)
            most = fmax(most, value[s * n + i]);
        out->mean_max_cosine += most / (double)n;
    }
done:
    sondep_free(match);
    sondep_free(value);
    sondep_free(is_found);
    return status;
}

/* One row: x, y (d), planted features (n), the autoencoder's (S). */
static void count_row(counts *c, const float *x, const float *y, int64_t d, const float *truth, int64_t n, const float *f,
                      int64_t S, const int64_t *nearest)
{
    double xx = 0.0, yy = 0.0;

    for (int64_t k = 0; k < d; k++) {
        xx += (double)x[k] * x[k];
        yy += (double)y[k] * y[k];
        c->error += ((double)y[k] - x[k]) * ((double)y[k] - x[k]);
        c->sum[k] += x[k];
        c->squares[k] += (double)x[k] * x[k];
    }
    if (sqrt(xx) > 1e-6) {
        c->shrinkage += sqrt(yy / xx);
        c->n_long++;
    }
    for (int64_t i = 0; i < n; i++)
        c->true_on += truth[i] > 0.0f;
    for (int64_t s = 0; s < S; s++) {
        /* a feature with a negative value is on as well: AbsTopK has such */
        bool is_on = f[s] != 0.0f, is_true = truth[nearest[s]] > 0.0f;
        c->on += is_on;
        c->both[s] += is_on && is_true;
        c->sae_only[s] += is_on && !is_true;
        c->true_only[s] += !is_on && is_true;
    }
    c->n++;
}

/* Means over features and rows. */
static void finish_score(sonde_planted_score *out, const counts *c, int64_t S, int64_t d)
{
    double variance = 0.0;

    for (int64_t s = 0; s < S; s++) {
        double both = (double)c->both[s], extra = (double)c->sae_only[s], missed = (double)c->true_only[s];
        /* 0 where it never fired, or never should have: as sae-lens counts */
        double precision = both + extra > 0.0 ? both / (both + extra) : 0.0;
        double recall = both + missed > 0.0 ? both / (both + missed) : 0.0;
        out->precision += precision / (double)S;
        out->recall += recall / (double)S;
        out->f1 += (precision + recall > 0.0 ? 2.0 * precision * recall / (precision + recall) : 0.0) / (double)S;
        out->accuracy += (1.0 - (extra + missed) / (double)c->n) / (double)S;
        out->n_dead += both + extra == 0.0;
    }
    for (int64_t k = 0; k < d; k++)
        variance += c->squares[k] - c->sum[k] * c->sum[k] / (double)c->n;
    out->explained_variance = 1.0 - c->error / variance;
    out->shrinkage = c->n_long > 0 ? c->shrinkage / (double)c->n_long : 0.0;
    out->true_l0 = c->true_on / (double)c->n;
    out->l0 = c->on / (double)c->n;
}

/* Some rows at a time, counted in their order. */
static sonde_status count_rows(counts *c, const sonde_planted *p, const sonde_sae *sae, const int64_t *nearest,
                               int64_t first, int64_t n_rows)
{
    enum { BLOCK = 256 };
    int64_t n = p->opts.n_features, d = p->opts.width, S = sae->config.d_sae;
    float *x = NULL, *y = NULL, *truth = NULL, *f = NULL;
    sonde_sae_coder *coder = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(x, BLOCK * d));
    SONDE_TRY_DONE(SONDE_NEW(y, BLOCK * d));
    SONDE_TRY_DONE(SONDE_NEW(truth, BLOCK * n));
    SONDE_TRY_DONE(SONDE_NEW(f, BLOCK * S));
    SONDE_TRY_DONE(sonde_sae_coder_new(&coder, sae));
    for (int64_t row = 0; row < n_rows; row += BLOCK) {
        int64_t some = n_rows - row < BLOCK ? n_rows - row : BLOCK;
        SONDE_TRY_DONE(sonde_planted_rows(x, truth, p, first + row, some));
        SONDE_TRY_DONE(sonde_sae_encode(coder, f, x, some));
        SONDE_TRY_DONE(sonde_sae_decode(coder, y, f, x, some));
        for (int64_t i = 0; i < some; i++)
            count_row(c, x + i * d, y + i * d, d, truth + i * n, n, f + i * S, S, nearest);
    }
done:
    sonde_sae_coder_free(coder);
    sondep_free(x);
    sondep_free(y);
    sondep_free(truth);
    sondep_free(f);
    return status;
}

/* Directions first: which planted feature each of the autoencoder stands for is a matter of weights alone. */
sonde_status sonde_planted_evaluate(sonde_planted_score *out, const sonde_planted *p, const sonde_sae *sae, int64_t first,
                                    int64_t n_rows)
{
    int64_t S = sae->config.d_sae, d = p->opts.width, *nearest = NULL;
    counts c = {0};
    sonde_status status;

    *out = (sonde_planted_score){0};
    if (sae->config.d_in != d || sae->config.d_out != d)
        return SONDE_FAIL(SONDE_E_SHAPE, "the autoencoder has rows of %lld and %lld numbers, the planted ones have %lld",
                          (long long)sae->config.d_in, (long long)sae->config.d_out, (long long)d);
    SONDE_TRY_DONE(SONDE_NEW(nearest, S));
    SONDE_TRY_DONE(SONDE_NEW(c.both, S));
    SONDE_TRY_DONE(SONDE_NEW(c.sae_only, S));
    SONDE_TRY_DONE(SONDE_NEW(c.true_only, S));
    SONDE_TRY_DONE(SONDE_NEW(c.sum, d));
    SONDE_TRY_DONE(SONDE_NEW(c.squares, d));
    SONDE_TRY_DONE(compare_directions(out, nearest, p, sae->w[SONDEP_W_DEC], S));
    SONDE_TRY_DONE(count_rows(&c, p, sae, nearest, first, n_rows));
    finish_score(out, &c, S, d);
done:
    sondep_free(nearest);
    sondep_free(c.both);
    sondep_free(c.sae_only);
    sondep_free(c.true_only);
    sondep_free(c.sum);
    sondep_free(c.squares);
    return status;
}
