/* evaluate.c - an autoencoder on texts: what it keeps of the activations, and of what the model predicts.   floor 7: sae
 *
 *   first walk    the model up to the hook: the mean of x
 *   second walk   batch by batch: clean (x is read, encoded, decoded), then spliced, zero and mean, each a pass of its own whose
 *                 logits are held against those of the clean one, row by row as they come
 *
 * Rows are real tokens of a batch in the order of texts; measured rows are those that are not left out.
 */
#include "sae/score.h"

#include "run/run.h"

#include <sonde/kernel.h>

#include <math.h>

/* Rows that are encoded at a time. */
enum { BLOCK = 256 };

/* What stands at the output's hook point in a pass. */
typedef enum change { AS_IT_IS = -1, SPLICED, ZERO, MEAN, N_CHANGES } change;

/* A row of the present batch. */
typedef struct row {
    int64_t text, target; /* the token that it should predict; -1: its loss does not count */
    bool is_left_out;
} row;

typedef struct evaluation {
    const sonde_sae *sae;
    const sonde_sae_texts *texts;
    sonde_sae_eval_opts opts;
    int64_t D, O, S, V;
    sonde_run *run;
    sonde_sae_coder *coder;
    char *in, *out; /* names of the hook points; owned */
    bool is_same;   /* one point: what is read is what is written */

    int64_t longest, n_rows, n_measured, first_text, B, T; /* room; rows of the batch; the batch */
    int32_t *tokens;                                       /* (longest) padded */
    int64_t *lengths;
    int64_t tokens_capacity;
    row *rows;
    float *x, *target, *y; /* measured rows; target is x where is_same */
    float *features;       /* (BLOCK,S) */
    double *row_sums;      /* (BLOCK,N_SUMS) */
    change change;

    float *clean;                  /* (rows,V) probabilities of the clean pass */
    double *clean_part, *ce, *kl;  /* (rows) sum p log p of it; the present pass */
    double *log_sum_exp;           /* (rows) of the present pass */
    double *mean;                  /* (O) */
    double *sums;                  /* (n_texts,N_SUMS) */
    sonde_sae_feature *of_feature; /* (S) or NULL */
    int64_t *last_text;            /* (S) the last text in which a feature fired, and one more */

    sonde_sae_progress_fn *progress;
    void *ctx;
    int64_t n_done, n_to_do;
} evaluation;

void sonde_sae_eval_opts_init(sonde_sae_eval_opts *out)
{
    *out = (sonde_sae_eval_opts){.struct_size = sizeof *out, .has_loss = 1, .n_resamples = 1000, .batch = 1024};
}

static sonde_status read_opts(sonde_sae_eval_opts *out, const sonde_sae_eval_opts *opts)
{
    sonde_sae_eval_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of evaluation options"));
    if (out->protocol < 0 || out->protocol > SONDE_SAE_PROTOCOL_SAELENS || out->batch < 1 || out->n_resamples < 0)
        return SONDE_FAIL(SONDE_E_ARG,
                          "options of an evaluation outside their bounds: protocol %lld, batch %lld, resamples %lld",
                          (long long)out->protocol, (long long)out->batch, (long long)out->n_resamples);
    return SONDE_OK;
}

static void evaluation_close(evaluation *e)
{
    sonde_run_free(e->run);
    sonde_sae_coder_free(e->coder);
    if (e->target != e->x)
        sondep_free(e->target);
    void *const blocks[] = {e->in, e->out,         e->tokens,   e->lengths, e->rows,       e->x,
                            e->y,  e->features,    e->row_sums, e->clean,   e->clean_part, e->ce,
                            e->kl, e->log_sum_exp, e->mean,     e->sums,    e->last_text};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        sondep_free(blocks[i]);
}

/* ---- what is measured where ---------------------------------------------------------------------------------------------- */

/* The one point of a name; its numbers for a position must be as many as the autoencoder has. */
static sonde_status find_point(char **out, const sonde_model *model, const char *name, int64_t width, const char *verb)
{
    const sonde_hook_point *point;
    int64_t has;

    SONDE_TRY(sondep_find_one_point(&point, model, name));
    has = sonde_hook_n_neurons(point);
    if (has != width)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' has %lld numbers for each position, the autoencoder %s %lld", point->name,
                          (long long)has, verb, (long long)width);
    return sondep_copy_string(out, point->name);
}

/* Both points, from the options or from cfg.json. */
static sonde_status find_points(evaluation *e, const sonde_model *model)
{
    const sonde_sae_config *c = &e->sae->config;
    const char *in = e->opts.hook ? e->opts.hook : c->hook_name,
               *out = e->opts.hook_out ? e->opts.hook_out : c->hook_name_out;

    if (*in == '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_HOOK, "the autoencoder does not say which hook point it reads"),
                           "name it: '--hook blocks.3.hook_resid_post'");
    if (c->is_transcoder && *out == '\0')
        return sondep_hint(SONDE_FAIL(SONDE_E_HOOK, "the transcoder does not say which hook point it writes"),
                           "name it: '--hook-out blocks.3.hook_mlp_out'");
    SONDE_TRY(find_point(&e->in, model, in, e->D, "reads"));
    SONDE_TRY(find_point(&e->out, model, c->is_transcoder ? out : in, e->O, "writes"));
    e->is_same = strcmp(e->in, e->out) == 0;
    return SONDE_OK;
}

/* ---- hooks --------------------------------------------------------------------------------------------------------------- */

/* Measured rows of a tensor, one behind another. */
static void gather(const evaluation *e, float *to, const sonde_tensor *x, int64_t width)
{
    const row *r = e->rows;

    for (int64_t b = 0; b < e->B; b++)
        for (int64_t t = 0; t < e->lengths[b]; t++, r++) {
            if (r->is_left_out)
                continue;
            memcpy(to, (const float *)x->data + (b * e->T + t) * width, (size_t)width * sizeof *to);
            to += width;
        }
}

/* The input, in the clean pass. */
static sonde_status on_input(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    evaluation *e = ctx;

    (void)event;
    if (e->change == AS_IT_IS)
        gather(e, e->x, x, e->D);
    return SONDE_OK;
}

/* One position of the output changed; y is its reconstruction. */
static void change_row(const evaluation *e, float *x, const float *y)
{
    for (int64_t d = 0; d < e->O; d++)
        x[d] = e->change == SPLICED ? y[d] : e->change == ZERO ? 0.0f : (float)e->mean[d];
}

/* The output: read in the clean pass, changed in the others. */
static sonde_status on_output(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    evaluation *e = ctx;
    const float *y = e->y;
    const row *r = e->rows;
    bool takes_all = e->opts.protocol == SONDE_SAE_PROTOCOL_SAELENS && e->change != SPLICED;

    (void)event;
    if (e->change == AS_IT_IS) {
        if (!e->is_same)
            gather(e, e->target, x, e->O);
        return SONDE_OK;
    }
    for (int64_t b = 0; b < e->B; b++)
        for (int64_t t = 0; t < e->lengths[b]; t++, r++) {
            if (!r->is_left_out || takes_all)
                change_row(e, (float *)x->data + (b * e->T + t) * e->O, y);
            y += r->is_left_out ? 0 : e->O;
        }
    return SONDE_OK;
}

/* ---- logits -------------------------------------------------------------------------------------------------------------- */

/* sum a b, in eight sums of doubles. */
static double dot(const float *a, const float *b, int64_t n)
{
    double sums[8] = {0};
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < n; i++)
        sums[0] += (double)a[i] * (double)b[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* A block of rows of logits a: the loss of each, and
 *   clean      p = softmax(a), and sum p log p = sum p a - log sum exp a
 *   changed    KL(p, softmax(a)) = sum p log p - sum p a + log sum exp a */
static sonde_status on_logits(const float *logits, int64_t first_row, int64_t n_rows, int64_t V, void *ctx)
{
    evaluation *e = ctx;
    float *p = e->clean + first_row * V;

    if (e->change == AS_IT_IS) {
        memcpy(p, logits, (size_t)(n_rows * V) * sizeof *p);
        sondep_softmax_rows(p, n_rows, V);
    }
    sonde_log_sum_exp(e->log_sum_exp, logits, n_rows, V);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 4)
    for (int64_t i = 0; i < n_rows; i++) {
        int64_t r = first_row + i, target = e->rows[r].target;
        double part = dot(p + i * V, logits + i * V, V) - e->log_sum_exp[i];
        e->ce[r] = target < 0 ? 0.0 : e->log_sum_exp[i] - (double)logits[i * V + target];
        e->kl[r] = target < 0 || e->change == AS_IT_IS ? 0.0 : e->clean_part[r] - part;
        if (e->change == AS_IT_IS)
            e->clean_part[r] = part;
    }
    return SONDE_OK;
}

/* Adds a pass's losses to those of its texts. */
static void add_losses(evaluation *e)
{
    for (int64_t r = 0; r < e->n_rows; r++) {
        double *sums = e->sums + e->rows[r].text * N_SUMS;
        if (e->rows[r].target < 0)
            continue;
        if (e->change == AS_IT_IS) {
            sums[SUM_PREDICTED] += 1.0;
            sums[SUM_CE_CLEAN] += e->ce[r];
        } else {
            sums[SUM_CE + e->change] += e->ce[r];
            sums[SUM_KL + e->change] += e->kl[r];
        }
    }
}

/* ---- a batch -------------------------------------------------------------------------------------------------------------- */

/* Texts from `text` on while they fit, at least one; their rows. */
static void fill_batch(evaluation *e, int64_t text, int64_t offset)
{
    const sonde_sae_texts *all = e->texts;

    e->first_text = text;
    e->B = e->T = e->n_rows = e->n_measured = 0;
    for (; text < all->n; text++) {
        int64_t length = all->lengths[text], T = length > e->T ? length : e->T;
        if (e->B > 0 && (e->B + 1) * T > e->opts.batch)
            break;
        e->lengths[e->B++] = length;
        e->T = T;
        for (int64_t t = 0; t < length; t++, offset++) {
            bool is_left_out = all->left_out != NULL && all->left_out[offset];
            bool counts = t + 1 < length && !(is_left_out && e->opts.protocol == SONDE_SAE_PROTOCOL_SAELENS);
            e->rows[e->n_rows++] = (row){text, counts ? all->tokens[offset + 1] : -1, is_left_out};
            e->n_measured += !is_left_out;
        }
    }
    /* padded: [B,T] */
    offset -= e->n_rows;
    for (int64_t b = 0; b < e->B; b++) {
        memcpy(e->tokens + b * e->T, all->tokens + offset, (size_t)e->lengths[b] * sizeof *e->tokens);
        offset += e->lengths[b];
    }
}

/* A pass over the batch. */
static sonde_status pass(evaluation *e, change what)
{
    e->change = what;
    if (e->n_rows > 0)
        SONDE_TRY(sonde_run_forward(e->run, e->tokens, e->lengths, e->B, e->T));
    e->n_done += e->n_rows;
    return e->progress != NULL ? e->progress(e->n_done, e->n_to_do, e->ctx) : SONDE_OK;
}

/* What each feature did in a block of rows: columns are a thread's. */
static void count_features(evaluation *e, const int64_t *text_of_row, int64_t n)
{
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < e->S; s++) {
        sonde_sae_feature *f = &e->of_feature[s];
        for (int64_t i = 0; i < n; i++) {
            double size = fabs((double)e->features[i * e->S + s]);
            if (size == 0.0)
                continue;
            f->n_fired++;
            f->sum += size;
            f->most = size > f->most ? size : f->most;
            f->n_texts += e->last_text[s] != text_of_row[i] + 1;
            e->last_text[s] = text_of_row[i] + 1;
        }
    }
}

/* Encodes and decodes n measured rows from `first` on, which belong to texts, and adds what they show. */
static sonde_status measure_block(evaluation *e, int64_t first, int64_t n, const int64_t *text_of_row)
{
    float *x = e->x + first * e->D, *target = e->target + first * e->O, *y = e->y + first * e->O;

    SONDE_TRY(sonde_sae_encode(e->coder, e->features, x, n));
    SONDE_TRY(sonde_sae_decode(e->coder, y, e->features, x, n));
    memset(e->row_sums, 0, (size_t)(n * N_SUMS) * sizeof *e->row_sums);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
    for (int64_t i = 0; i < n; i++)
        sondep_sae_add_position(e->row_sums + i * N_SUMS, target + i * e->O, y + i * e->O, e->mean, e->O,
                                e->features + i * e->S, e->S);
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < N_SUMS; k++)
            e->sums[text_of_row[i] * N_SUMS + k] += e->row_sums[i * N_SUMS + k];
    if (e->of_feature != NULL)
        count_features(e, text_of_row, n);
    return SONDE_OK;
}

/* All measured rows of the batch, block by block. */
static sonde_status measure_batch(evaluation *e)
{
    int64_t text_of_row[BLOCK], n = 0, first = 0;

    for (int64_t r = 0; r < e->n_rows; r++) {
        if (!e->rows[r].is_left_out)
            text_of_row[n++] = e->rows[r].text;
        if (n == BLOCK || (r + 1 == e->n_rows && n > 0)) {
            SONDE_TRY(measure_block(e, first, n, text_of_row));
            first += n;
            n = 0;
        }
    }
    return SONDE_OK;
}

/* Everything of the second walk. */
static sonde_status measure(evaluation *e)
{
    SONDE_TRY(pass(e, AS_IT_IS));
    SONDE_TRY(measure_batch(e));
    if (!e->opts.has_loss)
        return SONDE_OK;
    add_losses(e);
    for (change what = SPLICED; what < N_CHANGES; what++) {
        SONDE_TRY(pass(e, what));
        add_losses(e);
    }
    return SONDE_OK;
}

/* Everything of the first walk. */
static sonde_status add_to_mean(evaluation *e)
{
    SONDE_TRY(pass(e, AS_IT_IS));
    for (int64_t r = 0; r < e->n_measured; r++)
        for (int64_t d = 0; d < e->O; d++)
            e->mean[d] += (double)e->target[r * e->O + d];
    return SONDE_OK;
}

/* ---- walks ---------------------------------------------------------------------------------------------------------------- */

/* All batches; how many rows were measured in *n. */
static sonde_status walk(evaluation *e, sonde_status (*step)(evaluation *), int64_t *n)
{
    int64_t offset = 0;

    *n = 0;
    for (int64_t text = 0; text < e->texts->n; text += e->B) {
        fill_batch(e, text, offset);
        SONDE_TRY(step(e));
        offset += e->n_rows;
        *n += e->n_measured;
    }
    return SONDE_OK;
}

/* Listens where it reads and where it writes. The first walk only reads, and the model ends there. */
static sonde_status listen(evaluation *e, bool is_first)
{
    bool writes = !is_first && e->opts.has_loss;

    sonde_run_reset(e->run);
    SONDE_TRY(sonde_run_hook(e->run, e->in, SONDE_HOOK_READ, on_input, e, NULL));
    if (!e->is_same || writes)
        SONDE_TRY(sonde_run_hook(e->run, e->out, writes ? SONDE_HOOK_WRITE : SONDE_HOOK_READ, on_output, e, NULL));
    if (writes)
        sonde_run_stream_logits(e->run, on_logits, e);
    return SONDE_OK;
}

/* Room for the largest batch. */
static sonde_status make_room(evaluation *e)
{
    int64_t N;

    for (int64_t i = 0; i < e->texts->n; i++)
        e->longest = e->texts->lengths[i] > e->longest ? e->texts->lengths[i] : e->longest;
    N = e->longest > e->opts.batch ? e->longest : e->opts.batch;
    SONDE_TRY(SONDE_NEW(e->tokens, N));
    SONDE_TRY(SONDE_NEW(e->lengths, e->texts->n + 1));
    SONDE_TRY(SONDE_NEW(e->rows, N));
    SONDE_TRY(SONDE_NEW(e->x, N * e->D));
    e->target = e->x;
    if (!e->is_same)
        SONDE_TRY(SONDE_NEW(e->target, N * e->O));
    SONDE_TRY(SONDE_NEW(e->y, N * e->O));
    SONDE_TRY(SONDE_NEW(e->features, BLOCK * e->S));
    SONDE_TRY(SONDE_NEW(e->row_sums, BLOCK * N_SUMS));
    SONDE_TRY(SONDE_NEW(e->mean, e->O));
    SONDE_TRY(SONDE_NEW(e->sums, e->texts->n * N_SUMS));
    SONDE_TRY(SONDE_NEW(e->last_text, e->S));
    if (!e->opts.has_loss)
        return SONDE_OK;
    SONDE_TRY(SONDE_NEW(e->clean, N * e->V));
    SONDE_TRY(SONDE_NEW(e->clean_part, N));
    SONDE_TRY(SONDE_NEW(e->ce, N));
    SONDE_TRY(SONDE_NEW(e->kl, N));
    return SONDE_NEW(e->log_sum_exp, N);
}

/* Both walks. */
static sonde_status evaluate(evaluation *e, sonde_sae_report *out)
{
    int64_t n;

    for (int64_t i = 0; i < e->texts->n; i++)
        e->n_to_do += e->texts->lengths[i] * (e->opts.has_loss ? 2 + N_CHANGES : 2);
    SONDE_TRY(listen(e, true));
    SONDE_TRY(walk(e, add_to_mean, &n));
    if (n == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "no position to measure: the texts have left-out tokens only");
    for (int64_t d = 0; d < e->O; d++)
        e->mean[d] /= (double)n;
    SONDE_TRY(listen(e, false));
    SONDE_TRY(walk(e, measure, &n));
    return sondep_sae_estimate(out, e->sums, e->texts->n, e->O, e->opts.has_loss, e->opts.n_resamples, e->opts.seed);
}

sonde_status sonde_sae_evaluate(sonde_sae_report *out, sonde_sae_feature *features, const sonde_model *model,
                                const sonde_sae *sae, const sonde_sae_texts *texts, const sonde_sae_eval_opts *opts,
                                sonde_sae_progress_fn *progress, void *ctx)
{
    const sonde_sae_config *c = &sae->config;
    evaluation e = {
        .sae = sae, .texts = texts, .D = c->d_in, .O = c->d_out, .S = c->d_sae, .progress = progress, .ctx = ctx};
    sonde_status status;

    e.V = sonde_model_config(model)->n_vocab;
    e.of_feature = features;
    if (features != NULL)
        memset(features, 0, (size_t)e.S * sizeof *features);
    SONDE_TRY_DONE(read_opts(&e.opts, opts));
    SONDE_TRY_DONE(find_points(&e, model));
    SONDE_TRY_DONE(sonde_run_new(&e.run, model));
    SONDE_TRY_DONE(sonde_sae_coder_new(&e.coder, sae));
    SONDE_TRY_DONE(make_room(&e));
    status = evaluate(&e, out);
done:
    evaluation_close(&e);
    return status;
}
