/* codes.c - decoding, codes by features, and steps of features.                floor 2: kernel
 *
 * Each of them reads rows that lie anywhere, several side by side, so that memory is the bound and not one row's latency.
 * A row of codes is one thread's, and so is a feature: sums are formed in floats in the order of pairs. Squares of gradients
 * are summed in double by tasks of about as many pairs, whose cut depends on the codes alone, and joined in order.
 * AVX-512, two cores, 4096 rows of 32 pairs, 768 x 24576: decoding with the way back 8 ms, columns 0.4 ms, squares 12 ms, a
 * step 24 ms: 50 GB/s of decoder rows, 38 GB/s of weights and moments.
 */
#include "kernel/meet.h"
#include "kernel/panels.h"

#include <math.h>
#include <omp.h>

enum {
    ALONE = 1 << 15,  /* numbers that one thread does alone */
    ROWS_AT_ONCE = 8, /* of codes, that a thread takes */
    PAIRS = 64,       /* of a feature whose factors are gathered at a time */
    SLICES = 64,      /* of features, in the sums of their pairs */
    TASKS = 256,      /* of features, in a step */
    ROW_COST = 8      /* of the step of a feature, in pairs: what waits for memory is its weights and moments */
};

/* ---- decoding ------------------------------------------------------------------------------------------------------------------ */

/* y[n], in the order of pairs. */
static void decode_row(const sondep_leaf *leaf, float *y, const sondep_codes *codes, const float *w, const float *b,
                       int64_t n, int64_t D)
{
    if (b)
        memcpy(y, b, (size_t)D * sizeof *y);
    else
        memset(y, 0, (size_t)D * sizeof *y);
    leaf->add_listed(y, w, D, codes->index + n * codes->capacity, codes->value + n * codes->capacity, codes->count[n], D);
}

/* The way back of row n, whose rows of w are still near. */
static void backward_row(const sondep_leaf *leaf, const sondep_decode_backward *back, const float *y,
                         const sondep_codes *codes, const float *w, int64_t n, int64_t D)
{
    float *r = back->residual + n * D;

    if (y != r)
        memcpy(r, y, (size_t)D * sizeof *r);
    leaf->add_scaled(r, back->target + n * back->ld_target, -1.0f, D);
    if (back->error)
        back->error[n] = leaf->sum_squares(r, D);
    leaf->scale(r, r, back->factor, D);
    if (back->dvalue)
        leaf->dot_listed(back->dvalue + n * codes->capacity, r, w, D, codes->index + n * codes->capacity, codes->count[n],
                         D);
}

void sondep_rows_decode(const sondep_leaf *leaf, float *y, const sondep_codes *codes, const float *w, const float *b,
                        const sondep_decode_backward *backward, int64_t N, int64_t D)
{
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * D > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t first = 0; first < N; first += ROWS_AT_ONCE) {
            int64_t end = first + ROWS_AT_ONCE < N ? first + ROWS_AT_ONCE : N;
            for (int64_t n = first; n < end; n++) {
                float *row = (y ? y : backward->residual) + n * D;
                decode_row(leaf, row, codes, w, b, n, D);
                if (backward)
                    backward_row(leaf, backward, row, codes, w, n, D);
            }
        }
        sondep_meet(&meeting);
    }
}

/* ---- by features ----------------------------------------------------------------------------------------------------------------- */

/* Rows in blocks, one for each thread; whatever their number, a pair has one right place. */
typedef struct sorting {
    const sondep_columns *out;
    const sondep_codes *codes;
    int64_t N, S, n_blocks;
    int64_t *places;          /* (n_blocks,S): pairs of a feature in a block, then the place of the next one */
    int64_t of_slice[SLICES]; /* pairs of its features */
} sorting;

/* Counts a block's pairs. */
static void count_block(const sorting *x, int64_t block)
{
    int64_t *count = x->places + block * x->S;

    memset(count, 0, (size_t)x->S * sizeof *count);
    for (int64_t n = block * x->N / x->n_blocks; n < (block + 1) * x->N / x->n_blocks; n++)
        for (int64_t i = 0; i < x->codes->count[n]; i++)
            count[x->codes->index[n * x->codes->capacity + i]]++;
}

/* Pairs of a slice of features. */
static void count_slice(sorting *x, int64_t slice)
{
    int64_t total = 0;

    for (int64_t block = 0; block < x->n_blocks; block++)
        for (int64_t s = slice * x->S / SLICES; s < (slice + 1) * x->S / SLICES; s++)
            total += x->places[block * x->S + s];
    x->of_slice[slice] = total;
}

/* Counts become places: behind the slices before, feature by feature, the pairs of earlier blocks first. */
static void place_slice(const sorting *x, int64_t slice)
{
    int64_t place = 0, count;

    for (int64_t i = 0; i < slice; i++)
        place += x->of_slice[i];
    for (int64_t s = slice * x->S / SLICES; s < (slice + 1) * x->S / SLICES; s++) {
        x->out->first[s] = place;
        for (int64_t block = 0; block < x->n_blocks; block++) {
            count = x->places[block * x->S + s];
            x->places[block * x->S + s] = place;
            place += count;
        }
    }
    if (slice == SLICES - 1)
        x->out->first[x->S] = place;
}

/* Puts a block's pairs where they belong. */
static void fill_block(const sorting *x, int64_t block)
{
    int64_t *next = x->places + block * x->S;

    for (int64_t n = block * x->N / x->n_blocks; n < (block + 1) * x->N / x->n_blocks; n++) {
        for (int64_t i = 0; i < x->codes->count[n]; i++) {
            int64_t at = n * x->codes->capacity + i, place = next[x->codes->index[at]]++;
            x->out->row[place] = (int32_t)n;
            x->out->at[place] = at;
        }
    }
}

/* Four rounds, each of which needs all of the one before. */
void sondep_blocks_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch)
{
    sorting x = {out, codes, N, S, sonde_threads(), scratch, {0}};
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (N * codes->capacity > ALONE)
    {
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t block = 0; block < x.n_blocks; block++)
            count_block(&x, block);
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t slice = 0; slice < SLICES; slice++)
            count_slice(&x, slice);
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t slice = 0; slice < SLICES; slice++)
            place_slice(&x, slice);
        sondep_meet(&meeting);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t block = 0; block < x.n_blocks; block++)
            fill_block(&x, block);
        sondep_meet(&meeting);
    }
}

size_t sondep_blocks_list_columns_scratch_bytes(int64_t S)
{
    return aligned(sonde_threads() * S * (int64_t)sizeof(int64_t)) + 64;
}

/* ---- steps of features ------------------------------------------------------------------------------------------------------------- */

/* One pass over features. */
typedef struct pass {
    const sondep_leaf *leaf;
    const sondep_features *f;
    const sondep_feature_term *terms;
    int64_t n_terms;
    const sondep_adamw *a; /* NULL: squares alone */
    int64_t S, D, D_out;
} pass;

/* What the features before s cost, in pairs. */
static int64_t cost_before(const pass *p, int64_t s)
{
    int64_t cost = s * ROW_COST;

    for (int64_t t = 0; t < p->n_terms; t++)
        cost += p->terms[t].columns->first[s] - p->terms[t].columns->first[0];
    return cost;
}

/* First feature of a task: tasks cost about the same, however much more some features are used than others. */
static int64_t first_of(const pass *p, int64_t task, int64_t n_tasks)
{
    int64_t low = 0, high = p->S, bar = (int64_t)((double)cost_before(p, p->S) * (double)task / (double)n_tasks);

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (cost_before(p, middle) < bar)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds a term's share to the gradients of feature s, some pairs at a time; returns that of its bias. */
static double add_term(const pass *p, float *g, const sondep_feature_term *t, int64_t s)
{
    const int64_t *first = t->columns->first;
    float value[PAIRS], dpre[PAIRS];
    double of_bias = 0.0;

    for (int64_t i = first[s]; i < first[s + 1]; i += PAIRS) {
        int64_t n = first[s + 1] - i < PAIRS ? first[s + 1] - i : PAIRS;
        for (int64_t k = 0; k < n; k++) {
            value[k] = t->codes->value[t->columns->at[i + k]];
            dpre[k] = t->dpre ? t->dpre[t->columns->at[i + k]] : 0.0f;
            of_bias += dpre[k];
        }
        if (t->dpre)
            p->leaf->add_listed(g, t->x, t->ld_x, t->columns->row + i, dpre, n, p->D);
        if (t->residual)
            p->leaf->add_listed(g + p->D, t->residual, p->D_out, t->columns->row + i, value, n, p->D_out);
    }
    return of_bias;
}

/* g += shrink sign(w) */
static void add_signs(float *restrict g, const float *restrict w, float shrink, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        g[i] += w[i] > 0.0f ? shrink : w[i] < 0.0f ? -shrink : 0.0f;
}

/* Gradients of feature s: D floats for its row of the encoder, D_out for that of the decoder; returns that of its bias. */
static float form_gradient(const pass *p, float *g, int64_t s)
{
    const float *w = p->f->w_out + s * p->D_out;
    float *of_out = g + p->D;
    double of_bias = 0.0, squares;

    memset(g, 0, (size_t)(p->D + p->D_out) * sizeof *g);
    if (p->f->pull)
        p->leaf->add_scaled(of_out, w, p->f->pull[s], p->D_out);
    for (int64_t t = 0; t < p->n_terms; t++)
        of_bias += add_term(p, g, &p->terms[t], s);
    if (p->f->shrink != 0.0f) {
        add_signs(g, p->f->w_in + s * p->D, p->f->shrink, p->D);
        add_signs(of_out, w, p->f->shrink, p->D_out);
    }
    if (p->f->is_tangent && (squares = p->leaf->sum_squares(w, p->D_out)) > 0.0)
        p->leaf->add_scaled(of_out, w, (float)(-p->leaf->dot(of_out, w, p->D_out) / squares), p->D_out);
    return (float)of_bias;
}

/* AdamW on the rows and the bias of feature s. */
static void step_feature(const pass *p, const float *g, float of_bias, int64_t s)
{
    const sondep_features *f = p->f;
    int64_t in = s * p->D, out = s * p->D_out;
    double now;

    p->leaf->adamw(f->w_in + in, f->m_in + in, f->v_in + in, g, p->a, p->D);
    p->leaf->adamw(f->w_out + out, f->m_out + out, f->v_out + out, g + p->D, p->a, p->D_out);
    if (f->b)
        p->leaf->adamw(f->b + s, f->m_b + s, f->v_b + s, &of_bias, p->a, 1);
    if (f->norm && (now = sqrt(p->leaf->sum_squares(f->w_out + out, p->D_out))) > 0.0)
        p->leaf->scale(f->w_out + out, f->w_out + out, (float)(f->norm[s] / now), p->D_out);
}

/* Features first to end; returns the squares of their gradients. */
static double run_features(const pass *p, float *g, int64_t first, int64_t end)
{
    double sum = 0.0;

    for (int64_t s = first; s < end; s++) {
        float of_bias = form_gradient(p, g, s);
        if (p->a)
            step_feature(p, g, of_bias, s);
        else
            sum += p->leaf->sum_squares(g, p->D + p->D_out) + (p->f->b ? (double)of_bias * of_bias : 0.0);
    }
    return sum;
}

/* Tasks as threads come free; their sums are joined in order. */
static double run(const pass *p, void *scratch)
{
    int64_t n_tasks = p->S < TASKS ? p->S : TASKS;
    size_t bytes = aligned((p->D + p->D_out) * 4);
    double of_task[TASKS], sum = 0.0;
    sondep_meeting meeting = SONDEP_MEETING;

#pragma omp parallel num_threads(sonde_threads()) if (p->S * (p->D + p->D_out) > ALONE)
    {
        float *g = (float *)((char *)scratch + (size_t)omp_get_thread_num() * bytes);
#pragma omp for schedule(dynamic, 1) nowait
        for (int64_t task = 0; task < n_tasks; task++)
            of_task[task] = run_features(p, g, first_of(p, task, n_tasks), first_of(p, task + 1, n_tasks));
        sondep_meet(&meeting);
    }
    for (int64_t task = 0; task < n_tasks; task++)
        sum += of_task[task];
    return sum;
}

void sondep_tasks_feature_step(const sondep_leaf *leaf, const sondep_features *f, const sondep_feature_term *terms,
                               int64_t n_terms, const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch)
{
    pass p = {leaf, f, terms, n_terms, a, S, D, D_out};
    (void)run(&p, scratch);
}

double sondep_tasks_feature_squares(const sondep_leaf *leaf, const sondep_features *f, const sondep_feature_term *terms,
                                    int64_t n_terms, int64_t S, int64_t D, int64_t D_out, void *scratch)
{
    pass p = {leaf, f, terms, n_terms, NULL, S, D, D_out};
    return run(&p, scratch);
}

size_t sondep_tasks_feature_scratch_bytes(int64_t D, int64_t D_out)
{
    return (size_t)sonde_threads() * aligned((D + D_out) * 4) + 64;
}
