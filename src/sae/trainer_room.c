/* trainer_room.c - the memory of a trainer's steps.                             floor 7: sae
 *
 * One list of arrays is gone through twice: to count their bytes, and to take them from the block that was made for so many.
 * Pages that are not touched cost nothing: the rows of dead features side by side, and the matrices of gradients of a way
 * that is not gone, are as large as they may become.
 *
 * Lists of pairs have the room that the architecture needs as a rule; where a batch needs more, everything is laid out anew.
 */
#include "sae/trainer.h"

#include <math.h>

enum {
    LEAST_PAIRS = 64,        /* of a row */
    BATCH_PAIRS = 4,         /* candidates of a row, of a batch's choice, in k */
    DENSE_SHARE = 12,        /* a row with more than S / 12 features on is cheaper as a row of a matrix */
    DENSE_NUMBERS = 1 << 25, /* of a block of rows of the dense way */
    DENSE_ROWS = 64,         /* rows of such a block are a multiple of this */
    PURSUED_ROWS = 256       /* of matching pursuit, whose pairs have a gradient each */
};

/* Takes an array, or counts it. */
static void *take(sondep_arena *arena, size_t *bytes, int64_t n, size_t size)
{
    size_t all = ((size_t)n * size + 63) & ~(size_t)63;

    *bytes += all;
    return arena && n > 0 ? sondep_arena_take(arena, all) : NULL;
}
#define TAKE(p, n) ((p) = take(arena, &bytes, (n), sizeof *(p)))

/* Pairs of a row at most. */
static int64_t capacity_of(const sonde_sae_trainer *t)
{
    int64_t n = t->rule->is_batch ? (int64_t)ceil(BATCH_PAIRS * t->opts.k) : t->S / DENSE_SHARE;

    n = n > LEAST_PAIRS ? n : LEAST_PAIRS;
    if (t->rule->is_topk && !t->rule->is_batch)
        n = (int64_t)t->opts.k;
    n = t->capacity > n ? t->capacity : n;
    return n < t->S ? n : t->S;
}

/* Lists of pairs, with what the rule has of each. */
static size_t lay_pairs(sondep_arena *arena, sondep_sae_pairs *p, const sonde_sae_trainer *t, int64_t capacity,
                        bool is_plain)
{
    const sondep_sae_rule *rule = t->rule;
    int64_t n = t->N * capacity;
    size_t bytes = 0;

    p->codes.capacity = capacity;
    TAKE(p->codes.index, n);
    TAKE(p->codes.value, n);
    TAKE(p->codes.count, t->N);
    TAKE(p->dvalue, n);
    TAKE(p->columns.first, t->S + 1);
    TAKE(p->columns.row, n);
    TAKE(p->columns.at, n);
    p->h = p->codes.value;
    if (rule->keeps_h && !is_plain)
        TAKE(p->h, n);
    if (rule->has_gate && !is_plain) {
        TAKE(p->gate, n);
        TAKE(p->dgate, n);
    }
    for (int i = 0; i < rule->n_extras && !is_plain; i++)
        TAKE(p->extra[i], n);
    return bytes;
}

/* Rows, and what is known of each. */
static size_t lay_rows(sondep_arena *arena, sonde_sae_trainer *t)
{
    size_t bytes = 0;

    TAKE(t->scaled, t->N * t->D);
    t->target = t->x = t->scaled;
    if (t->is_transcoder)
        TAKE(t->target, t->N * t->O);
    if (t->ties_bias)
        TAKE(t->x, t->N * t->D);
    TAKE(t->residual, t->N * t->O);
    if (t->rule->has_gate)
        TAKE(t->gate_residual, t->N * t->O);
    TAKE(t->gate_error, t->rule->has_gate || t->rule->is_topk ? t->N : 0);
    if (t->rule->is_topk || t->opts.has_skip || t->opts.arch == SONDE_SAE_ARCH_PURSUIT)
        TAKE(t->rest, t->N * t->O);
    if (t->rule->is_topk || t->opts.arch == SONDE_SAE_ARCH_PURSUIT)
        TAKE(t->rest_residual, t->N * t->O);
    if (t->opts.scaling == SONDE_SAE_SCALE_WHITENING) {
        TAKE(t->whitening, t->D * t->D);
        TAKE(t->centred, t->N * t->D);
    }
    TAKE(t->error, t->N);
    TAKE(t->penalty, t->N);
    TAKE(t->plain_penalty, t->opts.arch == SONDE_SAE_ARCH_PANNEAL ? t->N : 0);
    TAKE(t->next_penalty, t->opts.arch == SONDE_SAE_ARCH_PANNEAL ? t->N : 0);
    TAKE(t->found, t->N);
    TAKE(t->n_on, t->N);
    return bytes;
}

/* What is known of each feature. */
static size_t lay_features(sondep_arena *arena, sonde_sae_trainer *t)
{
    size_t bytes = 0;

    TAKE(t->column, 2 * t->O);
    TAKE(t->norms, t->S);
    TAKE(t->exp_r, t->rule->has_gate ? t->S : 0);
    TAKE(t->ones, t->S);
    TAKE(t->pull, t->S);
    TAKE(t->bar, t->S);
    TAKE(t->fired, t->S);
    TAKE(t->means, t->rule->has_means ? t->S : 0);
    TAKE(t->slopes, t->rule->has_means ? t->S : 0);
    TAKE(t->below, t->rule->lifts && t->opts.pre_act > 0.0 ? t->S : 0);
    for (int i = 0; i < SONDEP_N_SAE_SUMS; i++)
        TAKE(t->sums[i], t->S);
    TAKE(t->gradient, t->first[SONDEP_N_SAE_PARAMETERS] - t->first[SONDEP_SAE_VECTOR]);
    return bytes;
}

/* The dead ones of TopK, side by side: touched as far as there are any. */
static size_t lay_dead(sondep_arena *arena, sonde_sae_trainer *t)
{
    size_t bytes = 0;

    TAKE(t->dead, t->S);
    if (!t->rule->is_topk)
        return bytes;
    TAKE(t->no_bar, t->S);
    TAKE(t->dead_rows, t->S * t->D);
    TAKE(t->dead_bias, t->S);
    TAKE(t->dead_norms, t->S);
    return bytes + lay_pairs(arena, &t->dead_pairs, t, t->opts.aux_k, true);
}

/* Groups of matryoshka. */
static size_t lay_groups(sondep_arena *arena, sonde_sae_trainer *t)
{
    int64_t n = t->N * t->pairs.codes.capacity;
    size_t bytes = 0;

    if (!t->rule->is_nested)
        return bytes;
    t->group.capacity = t->pairs.codes.capacity;
    TAKE(t->group.index, n);
    TAKE(t->group.value, n);
    TAKE(t->group.count, t->N);
    TAKE(t->group_dvalue, n);
    for (int64_t i = 0; i < t->n_groups; i++)
        TAKE(t->group_residual[i], t->N * t->O);
    return bytes;
}

/* Gradients that are matrices, as a term: a pair for each feature. */
static size_t lay_matrices(sondep_arena *arena, sonde_sae_trainer *t)
{
    size_t bytes = 0;

    TAKE(t->dense_in, sondep_sae_count(t, SONDEP_SAE_IN));
    TAKE(t->dense_out, t->S * t->O);
    t->one_each.capacity = 1;
    t->one_each.value = t->ones;
    TAKE(t->one_each_columns.first, t->S + 1);
    TAKE(t->one_each_columns.row, t->S);
    TAKE(t->one_each_columns.at, t->S);
    return bytes;
}

/* Blocks of rows by all features, and their gradients. */
static size_t lay_dense(sondep_arena *arena, sonde_sae_trainer *t)
{
    int64_t rows = DENSE_NUMBERS / t->S / DENSE_ROWS * DENSE_ROWS, n;
    size_t bytes = 0;

    if (t->rule->is_topk)
        return bytes;
    rows = rows > DENSE_ROWS ? rows : DENSE_ROWS;
    t->block = rows < t->N ? rows : t->N;
    n = t->block * t->S;
    TAKE(t->dense_h, n);
    t->dense_value = t->dense_h;
    if (t->rule->keeps_h)
        TAKE(t->dense_value, n);
    TAKE(t->dense_dvalue, n);
    if (t->rule->has_gate) {
        TAKE(t->dense_gate, n);
        TAKE(t->dense_dgate, n);
    }
    for (int i = 0; i < t->rule->n_extras; i++)
        TAKE(t->dense_extra[i], n);
    return bytes + lay_matrices(arena, t);
}

/* Matching pursuit: pairs of a row in the order in which they were chosen, some rows' gradients at a time. */
static size_t lay_pursuit(sondep_arena *arena, sonde_sae_trainer *t)
{
    int64_t k = (int64_t)t->opts.k;
    size_t bytes = lay_pairs(arena, &t->pairs, t, k, true);

    t->block = PURSUED_ROWS < t->N ? PURSUED_ROWS : t->N;
    TAKE(t->pursued, t->block * k * t->O);
    TAKE(t->products, t->block * t->S);
    TAKE(t->order, t->block);
    TAKE(t->gram, sondep_sae_has_gram(t->S) ? t->S * t->S : 0);
    return bytes + lay_matrices(arena, t);
}

/* Everything. */
static size_t lay_out(sondep_arena *arena, sonde_sae_trainer *t)
{
    size_t bytes = lay_rows(arena, t) + lay_features(arena, t) + lay_dead(arena, t);

    if (t->opts.arch == SONDE_SAE_ARCH_PURSUIT)
        return bytes + lay_pursuit(arena, t);
    bytes += lay_pairs(arena, &t->pairs, t, capacity_of(t), false);
    bytes += lay_groups(arena, t) + lay_dense(arena, t);
    TAKE(t->keys, t->rule->is_batch ? t->N * t->pairs.codes.capacity : 0);
    return bytes;
}

/* Numbers that stay as they are. */
static void fill_constants(sonde_sae_trainer *t)
{
    for (int64_t s = 0; s < t->S; s++) {
        t->ones[s] = 1.0f;
        if (t->no_bar != NULL)
            t->no_bar[s] = -INFINITY;
        if (t->one_each_columns.first == NULL)
            continue;
        t->one_each_columns.first[s] = t->one_each_columns.at[s] = s;
        t->one_each_columns.row[s] = (int32_t)s;
    }
    if (t->one_each_columns.first != NULL)
        t->one_each_columns.first[t->S] = t->S;
}

/* Counted first, then taken, by the same lines. */
sonde_status sondep_sae_make_room(sonde_sae_trainer *t)
{
    /* scratch follows the lists, too */
    if (t->scratch != NULL)
        sondep_unmap_block(t->scratch, t->scratch_bytes);
    t->scratch = NULL;
    sondep_arena_release(&t->arena);
    SONDE_TRY(sondep_arena_reserve(&t->arena, lay_out(NULL, t)));
    lay_out(&t->arena, t);
    fill_constants(t);
    return sondep_sae_make_scratch(t);
}

/* The larger of two sizes. */
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Of all products and kernels of a step. */
static size_t scratch_bytes(const sonde_sae_trainer *t)
{
    int64_t N = t->N, S = t->S, D = t->D, O = t->O, R = t->block > 0 ? t->block : 1;
    size_t bytes = larger(sondep_feature_scratch_bytes(D, O), sondep_list_columns_scratch_bytes(S));

    bytes = larger(bytes, sondep_norm_backward_scratch_bytes(N, O));
    bytes = larger(bytes, sondep_product_scratch_bytes(1, D, S));
    bytes = larger(bytes, sondep_product_scratch_bytes(N, O, D));
    bytes = larger(bytes, sondep_product_scratch_bytes(O, D, N));
    bytes = larger(bytes, sondep_product_scratch_bytes(N, D, D));
    bytes = larger(bytes, sondep_encode_scratch_bytes(N, S, D, larger((size_t)t->pairs.codes.capacity, 1)));
    if (t->rule->is_topk)
        bytes = larger(bytes, sondep_encode_scratch_bytes(N, S, D, t->opts.aux_k));
    if (t->gram != NULL)
        bytes = larger(bytes, sondep_product_scratch_bytes(S, S, D));
    /* matching pursuit without it takes products of any number of rows */
    for (int64_t rows = 1; rows <= R && t->products != NULL && t->gram == NULL; rows++)
        bytes = larger(bytes, sondep_product_scratch_bytes(rows, S, D));
    /* the last block of rows may be smaller, and be cut so that it takes more */
    for (int64_t rows = R; rows > 0 && t->block > 0; rows = rows == R ? N % R : 0) {
        bytes = larger(bytes, sondep_product_scratch_bytes(rows, S, D));
        bytes = larger(bytes, sondep_product_scratch_bytes(rows, O, S));
        bytes = larger(bytes, sondep_product_scratch_bytes(rows, S, O));
        bytes = larger(bytes, sondep_product_scratch_bytes(S, D, rows));
        bytes = larger(bytes, sondep_product_scratch_bytes(S, O, rows));
    }
    return bytes;
}

/* Each thread has a share: the scratch follows their number. */
sonde_status sondep_sae_make_scratch(sonde_sae_trainer *t)
{
    if (t->scratch != NULL && t->threads == sonde_threads())
        return SONDE_OK;
    if (t->scratch != NULL)
        sondep_unmap_block(t->scratch, t->scratch_bytes);
    t->scratch = NULL;
    t->threads = sonde_threads();
    t->scratch_bytes = scratch_bytes(t);
    return sondep_map_block(&t->scratch, t->scratch_bytes);
}
