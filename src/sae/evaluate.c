/* evaluate.c - autoencoders on texts: what they keep of the activations, and of what the model predicts.   floor 7: sae
 *
 *   first walk    the model up to the hook: the mean of x
 *   second walk   batch by batch: clean (x is read, and encoded and decoded by each autoencoder), then spliced with each, zero and mean, each a
 *                 pass of its own whose logits are held against those of the clean one, row by row as they come
 *
 * Rows are real tokens of a batch in the order of texts; measured rows are those that are not left out.
 */
#include "sae/evaluate.h"

#include "tensor/half.h"

#include <sonde/kernel.h>

#include <math.h>

/* ---- hooks --------------------------------------------------------------------------------------------------------------- */

/* Measured rows of a tensor, one behind another. */
static void gather(const sondep_sae_evaluation *e, float *to, const sonde_tensor *x, int64_t width)
{
    const sondep_sae_row *r = e->rows;

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
    sondep_sae_evaluation *e = ctx;

    (void)event;
    if (e->change == AS_IT_IS)
        gather(e, e->x, x, e->D);
    return SONDE_OK;
}

/* One position of the output changed; y is its reconstruction. */
static void change_row(const sondep_sae_evaluation *e, float *x, const float *y)
{
    for (int64_t d = 0; d < e->O; d++)
        x[d] = e->change == SPLICED ? y[d] : e->change == ZERO ? 0.0f : (float)e->mean[d];
}

/* The output: read in the clean pass, changed in the others. */
static sonde_status on_output(const sonde_hook_event *event, sonde_tensor *x, void *ctx)
{
    sondep_sae_evaluation *e = ctx;
    const float *y = e->change == SPLICED ? e->spliced->y : e->target;
    const sondep_sae_row *r = e->rows;
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
    sondep_sae_evaluation *e = ctx;
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

/* Adds a pass's losses to those of its texts, of one autoencoder. */
static void add_losses(const sondep_sae_evaluation *e, const sondep_sae_subject *s)
{
    for (int64_t r = 0; r < e->n_rows; r++) {
        double *sums = s->sums + e->rows[r].text * N_SUMS;
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
static void fill_batch(sondep_sae_evaluation *e, int64_t text, int64_t offset)
{
    const sonde_sae_texts *all = e->texts;

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
            e->rows[e->n_rows++] = (sondep_sae_row){text, counts ? all->tokens[offset + 1] : -1, is_left_out};
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
static sonde_status pass(sondep_sae_evaluation *e, sondep_sae_change what)
{
    e->change = what;
    if (e->n_rows > 0)
        SONDE_TRY(sonde_run_forward(e->run, e->tokens, e->lengths, e->B, e->T));
    e->n_done += e->n_rows;
    return e->progress != NULL ? e->progress(e->n_done, e->n_to_do, e->ctx) : SONDE_OK;
}

/* What each feature did in a block of rows: columns are a thread's. */
static void count_features(const sondep_sae_subject *of, const float *features, const int64_t *text_of_row, int64_t n)
{
    int64_t S = of->sae->config.d_sae;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t s = 0; s < S; s++) {
        sonde_sae_feature *f = &of->of_feature[s];
        for (int64_t i = 0; i < n; i++) {
            double size = fabs((double)features[i * S + s]);
            if (size == 0.0)
                continue;
            f->n_fired++;
            f->sum += size;
            f->most = size > f->most ? size : f->most;
            f->n_texts += of->last_text[s] != text_of_row[i] + 1;
            of->last_text[s] = text_of_row[i] + 1;
        }
    }
}

/* Positive floats that are above a bar; their bits are in the order of the numbers. */
static int64_t count_above(const float *f, int64_t n, float bar)
{
    int64_t count = 0;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static) reduction(+ : count)
    for (int64_t i = 0; i < n; i++)
        count += f[i] > bar;
    return count;
}

/* Of n features of a batch, none below 0, the k largest stay: in the order of rows where the last of them are equal. */
static void keep_largest(float *f, int64_t n, int64_t k)
{
    uint32_t low = 0, high = sondep_float_bits(INFINITY); /* k or more are above low, fewer are above high */
    int64_t ties;

    if (count_above(f, n, 0.0f) <= k)
        return;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (count_above(f, n, sondep_bits_float(middle)) >= k)
            low = middle;
        else
            high = middle;
    }
    /* what is above `high` stays; of what is `high`, as many as are missing */
    ties = k - count_above(f, n, sondep_bits_float(high));
    for (int64_t i = 0; i < n; i++)
        if (!(f[i] > sondep_bits_float(high)) && (f[i] != sondep_bits_float(high) || ties-- <= 0))
            f[i] = 0.0f;
}

/* Decodes n measured rows from `first` on, which belong to texts, from their features, and adds what they show. */
static sonde_status measure_block(sondep_sae_evaluation *e, const sondep_sae_subject *s, const float *features,
                                  int64_t first, int64_t n, const int64_t *text_of_row)
{
    float *x = e->x + first * e->D, *target = e->target + first * e->O, *y = s->y + first * e->O;
    int64_t S = s->sae->config.d_sae;

    SONDE_TRY(sonde_sae_decode(s->coder, y, features, x, n));
    memset(e->row_sums, 0, (size_t)(n * N_SUMS) * sizeof *e->row_sums);
#pragma omp parallel for num_threads(sonde_threads()) schedule(dynamic, 8)
    for (int64_t i = 0; i < n; i++)
        sondep_sae_add_position(e->row_sums + i * N_SUMS, target + i * e->O, y + i * e->O, e->mean, e->O, features + i * S,
                                S);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(e->row_sums[i * N_SUMS + SUM_ERROR]) || !isfinite(e->row_sums[i * N_SUMS + SUM_L1]))
            return SONDE_FAIL(SONDE_E_NONFINITE,
                              "features or their reconstruction are not finite: text %lld, measured row %lld of its pass",
                              (long long)text_of_row[i], (long long)(first + i));
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < N_SUMS; k++)
            s->sums[text_of_row[i] * N_SUMS + k] += e->row_sums[i * N_SUMS + k];
    if (s->of_feature != NULL)
        count_features(s, features, text_of_row, n);
    return SONDE_OK;
}

/* All measured rows of the batch, block by block; where the batch chooses, all of them are encoded first. */
static sonde_status measure_batch(sondep_sae_evaluation *e, const sondep_sae_subject *s)
{
    int64_t text_of_row[SONDEP_SAE_EVAL_BLOCK], n = 0, first = 0, S = s->sae->config.d_sae;
    bool is_together = e->opts.batch_topk > 0.0;

    if (is_together) {
        SONDE_TRY(sonde_sae_encode(s->coder, e->features, e->x, e->n_measured));
        keep_largest(e->features, e->n_measured * S, (int64_t)(e->opts.batch_topk * (double)e->n_measured));
    }
    for (int64_t r = 0; r < e->n_rows; r++) {
        if (!e->rows[r].is_left_out)
            text_of_row[n++] = e->rows[r].text;
        if (n == SONDEP_SAE_EVAL_BLOCK || (r + 1 == e->n_rows && n > 0)) {
            if (!is_together)
                SONDE_TRY(sonde_sae_encode(s->coder, e->features, e->x + first * e->D, n));
            SONDE_TRY(measure_block(e, s, e->features + (is_together ? first * S : 0), first, n, text_of_row));
            first += n;
            n = 0;
        }
    }
    return SONDE_OK;
}

/* Losses of a pass that is the same for all autoencoders. */
static void add_to_all(const sondep_sae_evaluation *e)
{
    for (int64_t i = 0; i < e->n_subjects; i++)
        add_losses(e, &e->subjects[i]);
}

/* Everything of the second walk. */
static sonde_status measure(sondep_sae_evaluation *e)
{
    SONDE_TRY(pass(e, AS_IT_IS));
    for (int64_t i = 0; i < e->n_subjects; i++)
        SONDE_TRY(measure_batch(e, &e->subjects[i]));
    if (!e->opts.has_loss)
        return SONDE_OK;
    add_to_all(e);
    for (int64_t i = 0; i < e->n_subjects; i++) {
        e->spliced = &e->subjects[i];
        SONDE_TRY(pass(e, SPLICED));
        add_losses(e, e->spliced);
    }
    /* ablations know nothing of autoencoders */
    for (sondep_sae_change what = ZERO; what < N_CHANGES; what++) {
        SONDE_TRY(pass(e, what));
        add_to_all(e);
    }
    return SONDE_OK;
}

/* Everything of the first walk. */
static sonde_status add_to_mean(sondep_sae_evaluation *e)
{
    SONDE_TRY(pass(e, AS_IT_IS));
    for (int64_t r = 0; r < e->n_measured; r++)
        for (int64_t d = 0; d < e->O; d++)
            e->mean[d] += (double)e->target[r * e->O + d];
    return SONDE_OK;
}

/* ---- walks ---------------------------------------------------------------------------------------------------------------- */

/* All batches; how many rows were measured in *n. */
static sonde_status walk(sondep_sae_evaluation *e, sonde_status (*step)(sondep_sae_evaluation *), int64_t *n)
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
static sonde_status listen(sondep_sae_evaluation *e, bool is_first)
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

/* Both walks; then each autoencoder's metrics. */
static sonde_status evaluate(sondep_sae_evaluation *e, sonde_sae_report *out)
{
    int64_t n, passes = e->opts.has_loss ? 1 + N_CHANGES + e->n_subjects : 2;

    for (int64_t i = 0; i < e->texts->n; i++)
        e->n_to_do += e->texts->lengths[i] * passes;
    SONDE_TRY(listen(e, true));
    SONDE_TRY(walk(e, add_to_mean, &n));
    if (n == 0)
        return SONDE_FAIL(SONDE_E_RANGE, "no position to measure: the texts have left-out tokens only");
    for (int64_t d = 0; d < e->O; d++)
        e->mean[d] /= (double)n;
    SONDE_TRY(listen(e, false));
    SONDE_TRY(walk(e, measure, &n));
    for (int64_t i = 0; i < e->n_subjects; i++)
        SONDE_TRY(sondep_sae_estimate(&out[i], e->subjects[i].sums, e->texts->n, e->O, e->opts.has_loss, e->opts.n_resamples,
                                      e->opts.seed));
    return SONDE_OK;
}

/* Everything that was made for it is freed behind it. */
sonde_status sonde_sae_evaluate(sonde_sae_report *out, sonde_sae_feature *const *features, const sonde_model *model,
                                const sonde_sae *const *saes, int64_t n_saes, const sonde_sae_texts *texts,
                                const sonde_sae_eval_opts *opts, sonde_sae_progress_fn *progress, void *ctx)
{
    sondep_sae_evaluation e = {.texts = texts, .progress = progress, .ctx = ctx};
    sonde_status status;

    SONDE_TRY_DONE(sondep_sae_evaluation_open(&e, model, saes, features, n_saes, opts));
    status = evaluate(&e, out);
done:
    sondep_sae_evaluation_close(&e);
    return status;
}
