/* golden_model.h - the tiny models of tests/golden/models, and comparison with what transformers gave for them.
 *
 * Each folder is a model as people have it, with golden.safetensors beside it: tokens, lengths and every hook point in
 * float64 rounded to float32, made by tests/oracle/model_golden.py. Included by tests; everything is static.
 */
#ifndef GOLDEN_MODEL_H
#define GOLDEN_MODEL_H

#include <sonde/format.h>
#include <sonde/kernel.h>
#include <sonde/run.h>

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "statuses.h"

#define GOLDEN_ROOT "tests/golden/models"

enum { GOLDEN_MAX_MODELS = 64, GOLDEN_PATH = 512 };

typedef struct golden_model {
    char directory[GOLDEN_PATH];
    sonde_model *model;
    sonde_safetensors *file;
    int32_t *tokens; /* (B,T) */
    const int64_t *lengths;
    int64_t B, T;
    bool is_partial; /* the file holds only some points */
} golden_model;

static inline int golden_by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names of all folders, sorted; how many. */
static inline int golden_list(char names[][256])
{
    DIR *folder = opendir(GOLDEN_ROOT);
    struct dirent *entry;
    int n = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        assert_true(n < GOLDEN_MAX_MODELS);
        snprintf(names[n++], 256, "%s", entry->d_name);
    }
    closedir(folder);
    qsort(names, (size_t)n, 256, golden_by_name);
    return n;
}

static inline void golden_open(golden_model *out, const char *name)
{
    char path[GOLDEN_PATH + 32];
    sonde_tensor tokens, lengths;
    const char *partial;

    *out = (golden_model){0};
    snprintf(out->directory, sizeof out->directory, GOLDEN_ROOT "/%.255s", name);
    snprintf(path, sizeof path, "%s/golden.safetensors", out->directory);
    assert_ok(sonde_model_load(&out->model, out->directory, NULL));
    assert_ok(sonde_safetensors_open(&out->file, path));
    assert_ok(sonde_safetensors_get(&tokens, out->file, "tokens"));
    assert_ok(sonde_safetensors_get(&lengths, out->file, "lengths"));
    assert_true(tokens.dtype == SONDE_I64 && tokens.rank == 2 && lengths.dtype == SONDE_I64);
    out->B = tokens.shape[0];
    out->T = tokens.shape[1];
    out->lengths = lengths.data;
    out->tokens = malloc((size_t)(out->B * out->T) * sizeof *out->tokens);
    assert_non_null(out->tokens);
    for (int64_t i = 0; i < out->B * out->T; i++)
        out->tokens[i] = (int32_t)((const int64_t *)tokens.data)[i];
    partial = sonde_safetensors_metadata(out->file, "partial");
    out->is_partial = partial != NULL && strcmp(partial, "yes") == 0;
}

static inline void golden_close(golden_model *golden)
{
    free(golden->tokens);
    sonde_safetensors_close(golden->file);
    sonde_model_free(golden->model);
    *golden = (golden_model){0};
}

/* Largest difference in units of the largest finite value wanted, with the place in *at; infinite if shape, type, the
 * places of -inf, or finiteness differ. */
static inline double golden_error(const sonde_tensor *got, const sonde_tensor *want, int64_t *at)
{
    const float *g = got->data, *w = want->data;
    double largest = 0, worst = 0;
    int64_t n = sonde_tensor_n_elements(want);

    *at = -1;
    if (got->dtype != SONDE_F32 || got->rank != want->rank || memcmp(got->shape, want->shape, sizeof got->shape) != 0)
        return INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double difference = isinf(w[i]) && g[i] == w[i] ? 0.0 : fabs((double)g[i] - w[i]);
        if (isfinite(w[i]))
            largest = fmax(largest, fabs(w[i]));
        if (!(difference <= worst)) {
            *at = i;
            worst = difference;
        }
        if (!isfinite(difference))
            return INFINITY;
    }
    return worst == 0 ? 0 : worst / largest;
}

/* The pass over a golden model's tokens with every hook point captured by its exact name, and all logits. */
static inline void golden_run_all(sonde_run **out, const golden_model *golden)
{
    int64_t n;
    const sonde_hook_point *points = sonde_model_hook_points(golden->model, &n);
    assert_ok(sonde_run_new(out, golden->model));
    for (int64_t i = 0; i < n; i++)
        assert_ok(sonde_run_capture(*out, points[i].name, NULL));
    sonde_run_want_logits(*out, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(*out, golden->tokens, golden->lengths, golden->B, golden->T));
}

/* The pass as it is when nobody looks inside: only the residual stream between blocks is captured, so that everything that
 * can be fused is, attention too. */
static inline void golden_run_fused(sonde_run **out, const golden_model *golden)
{
    assert_ok(sonde_run_new(out, golden->model));
    assert_ok(sonde_run_capture(*out, "blocks.*.hook_resid_post", NULL));
    sonde_run_want_logits(*out, SONDE_LOGITS_ALL);
    assert_ok(sonde_run_forward(*out, golden->tokens, golden->lengths, golden->B, golden->T));
}

#endif
