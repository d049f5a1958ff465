/* common_subject.c - whole texts with the labels of their tokens, and rows of activations.  floor 10: cli */
#include "picture.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool cli_exclude_bos;

const cli_option cli_bos_options[] = {
    {"exclude-bos", 0, CLI_FLAG, &cli_exclude_bos, NULL, 0, 0, "leave the BOS token out (its values dwarf the others)"},
    {0},
};

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* What one text holds; the labels point into the tokenizer or into numbers, and own nothing. */
static void release_subject(cli_subject *subject)
{
    free(subject->ids);
    free(subject->labels);
    free(subject->numbers);
}

/* Takes NULL, and texts that were only half read. */
void cli_subjects_free(cli_subject *subjects, int64_t n)
{
    for (int64_t i = 0; subjects != NULL && i < n; i++)
        release_subject(&subjects[i]);
    free(subjects);
}

/* Copies a sequence and makes the labels of its tokens; `out` may be half-filled on failure. */
static sonde_status read_subject(cli_subject *out, const cli_model *m, const cli_sequence *sequence)
{
    CLI_TRY(CLI_NEW(out->ids, sequence->n));
    CLI_TRY(CLI_NEW(out->labels, sequence->n));
    CLI_TRY(CLI_NEW(out->numbers, sequence->n));
    for (int64_t i = 0; i < sequence->n; i++)
        out->ids[i] = sequence->ids[i];
    out->n = sequence->n;
    out->has_bos = sequence->has_bos;
    /* BOS stays in ids, since the model must see it; it is only not looked at. */
    out->first = cli_exclude_bos && sequence->has_bos;
    for (int64_t i = 0; i < out->n; i++) {
        /* Raw bytes, borrowed from the tokenizer; without one, or for an id it does not know, the id itself. */
        size_t n_bytes = 0;
        const char *bytes = m->tokenizer != NULL ? sonde_tokenizer_bytes(&n_bytes, m->tokenizer, out->ids[i]) : NULL;
        if (bytes == NULL) {
            n_bytes = (size_t)snprintf(out->numbers[i], sizeof out->numbers[i], "#%d", (int)out->ids[i]);
            bytes = out->numbers[i];
        }
        out->labels[i] = (sonde_plot_label){bytes, (int64_t)n_bytes};
    }
    /* Rows without tokens would be an empty picture. */
    if (out->n - out->first < 1)
        return cli_fail(SONDE_E_RANGE, "text %lld has no tokens to look at%s", (long long)sequence->index,
                        out->first ? " but BOS, which --exclude-bos leaves out" : "");
    return SONDE_OK;
}

sonde_status cli_subjects_read(cli_subject **out, int64_t *n, cli_model *m, const char *const *texts, int n_texts,
                               int64_t max)
{
    cli_source *source = NULL;
    cli_sequence sequence;
    bool has_more;
    sonde_status status;

    *n = 0;
    *out = NULL;
    if (cli.ids.n > 0)
        cli_model_has_tokenizer(m); /* for the labels */
    CLI_TRY_DONE(cli_source_open(&source, m, texts, n_texts, CLI_LONG_FAILS));
    /* Room for all that are allowed: there are one or two of them, never a whole data set. */
    CLI_TRY_DONE(CLI_NEW(*out, max));
    /* One more than fits is read, so that a text is never left out in silence. */
    for (;;) {
        CLI_TRY_DONE(cli_source_next(source, &sequence, &has_more));
        if (!has_more)
            break;
        if (*n == max) {
            status = cli_misuse("more than %lld text%s given", (long long)max, max > 1 ? "s" : "");
            cli_hint(SONDE_E_ARG, "--limit %lld takes the first", (long long)max);
            goto done;
        }
        CLI_TRY_DONE(read_subject(&(*out)[(*n)++], m, &sequence));
    }
    if (*n == 0)
        status = cli_fail(SONDE_E_RANGE, "no text to look at: the files have no documents");
done:
    /* On failure the caller gets nothing to free. */
    cli_source_close(source);
    if (status != SONDE_OK) {
        cli_subjects_free(*out, *n);
        *out = NULL;
        *n = 0;
    }
    return status;
}

/* BOS changes means and scales a great deal: no output leaves open whether it is in. */
const char *cli_bos_text(const cli_subject *subject)
{
    return !subject->has_bos ? "no BOS" : subject->first ? "BOS left out" : "BOS included";
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

/* A batch of one text without padding: [1, n]. */
sonde_status cli_subject_forward(sonde_run *run, const cli_subject *subject)
{
    return sonde_run_forward(run, subject->ids, NULL, 1, subject->n);
}

sonde_status cli_subject_rows(float **out, int64_t *width, const sonde_run *run, const sonde_hook_point *point,
                              const cli_subject *subject)
{
    sonde_tensor x;
    float *rows;

    CLI_TRY(sonde_run_get(&x, run, point->name));
    /* A row is all neurons of a token, or for attention points [H, n keys] of one query. */
    *width = sonde_tensor_n_elements(&x) / subject->n;
    CLI_TRY(CLI_NEW(rows, *width * (subject->n - subject->first)));
    /* Rows are numbered from the first token that counts. */
    for (int64_t t = subject->first; t < subject->n; t++)
        sonde_hook_token(rows + (t - subject->first) * *width, point, &x, 0, t, subject->n);
    *out = rows;
    return SONDE_OK;
}

/* ---- labels ------------------------------------------------------------------------------------------------------ */

json_t *cli_label_json(sonde_plot_label label)
{
    static const char replacement[] = "\xef\xbf\xbd";
    char *clean = cli_alloc(label.n_bytes * 3 + 1, 1);
    /* Each byte becomes 3 at most, those of U+FFFD; one more keeps the room above 0. */
    size_t used = 0;
    json_t *out;

    if (clean == NULL)
        return NULL;
    /* Character by character; each byte that belongs to none becomes U+FFFD. */
    for (int64_t i = 0; i < label.n_bytes;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)label.text + i, label.n_bytes - i, &c);
        size_t take = n > 0 ? (size_t)n : 3;
        memcpy(clean + used, n > 0 ? label.text + i : replacement, take);
        used += take;
        i += n > 0 ? n : 1;
    }
    out = json_stringn(clean, used);
    free(clean);
    return out;
}

/* Positions are those in the whole text, so that they stay the same with --exclude-bos. */
json_t *cli_subject_json(const cli_subject *subject)
{
    json_t *list = json_array();

    for (int64_t t = subject->first; t < subject->n; t++)
        json_array_append_new(list, json_pack("{s:I, s:i, s:o}", "position", (json_int_t)t, "id", (int)subject->ids[t],
                                              "token", cli_label_json(subject->labels[t])));
    return list;
}

/* Behind the last slash. */
const char *cli_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path; /* "models/x/" is shown as it was given */
}

/* Behind the block. */
const char *cli_hook_suffix(const sonde_hook_point *point)
{
    /* "blocks.11.": the number may have any length, hence the dot behind it. */
    const char *dot = strncmp(point->name, "blocks.", 7) == 0 ? strchr(point->name + 7, '.') : NULL;
    return dot != NULL ? dot + 1 : point->name;
}
