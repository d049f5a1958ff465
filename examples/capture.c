/* capture.c - hello, activations: the residual stream of a model behind each of its layers.
 *
 *   cc capture.c $(pkg-config --cflags --libs sonde) -lm -o capture
 *   ./capture MODEL "Once upon a time"       a folder with config.json, *.safetensors and tokenizer.json
 *   ./capture MODEL 1,403,407                the same by token ids; no tokenizer is needed
 */
#include <sonde.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every call that can fail says why in sonde_last_error(). */
static void check(sonde_status status)
{
    if (status == SONDE_OK)
        return;
    fprintf(stderr, "capture: %s\n", sonde_last_error()->message);
    exit(sonde_status_exit_code(status));
}

/* Ids of "1,403,407", or the tokens of a text as the model's own tokenizer splits it. */
static int64_t read_tokens(int32_t *ids, int64_t capacity, const char *model, const char *text)
{
    sonde_tokenizer *tokenizer;
    sonde_tokens tokens = {0};
    int64_t n = 0;

    if (text[strspn(text, "0123456789,")] == '\0') {
        for (char *end; *text != '\0' && n < capacity; text = end + (*end == ','))
            ids[n++] = (int32_t)strtol(text, &end, 10);
        return n;
    }
    check(sonde_tokenizer_load(&tokenizer, model));
    check(sonde_tokenizer_encode(&tokens, tokenizer, text, strlen(text), SONDE_SPECIALS_AS_FILE));
    n = tokens.n < capacity ? tokens.n : capacity;
    memcpy(ids, tokens.ids, (size_t)n * sizeof *ids);
    sonde_tokens_release(&tokens);
    sonde_tokenizer_free(tokenizer);
    return n;
}

int main(int argc, char **argv)
{
    sonde_model *model;
    sonde_run *run;
    sonde_tensor x;
    int32_t ids[512];
    char shape[64], name[64];

    if (argc != 3) {
        fprintf(stderr, "usage: capture MODEL TEXT|IDS\n");
        return 2;
    }

    /* Weights are mapped, not read: loading takes milliseconds whatever the model's size. */
    check(sonde_model_load(&model, argv[1], NULL));
    int64_t n_tokens = read_tokens(ids, 512, argv[1], argv[2]);

    /* First say what to keep, then run: only what somebody asked for is computed. */
    check(sonde_run_new(&run, model));
    check(sonde_run_capture(run, "blocks.*.hook_resid_post", NULL));
    check(sonde_run_forward(run, ids, NULL, 1, n_tokens));

    /* Each capture is a view of the run's memory: [batch, position, d_model] floats, contiguous. */
    for (int64_t layer = 0; layer < sonde_model_config(model)->n_layers; layer++) {
        snprintf(name, sizeof name, "blocks.%lld.hook_resid_post", (long long)layer);
        check(sonde_run_get(&x, run, name));

        int64_t d_model = x.shape[2];
        const float *last = (const float *)x.data + (n_tokens - 1) * d_model;
        double sum = 0.0;
        for (int64_t d = 0; d < d_model; d++)
            sum += (double)last[d] * last[d];
        printf("%s %s, norm at the last token %.4f\n", name, sonde_tensor_format_shape(shape, sizeof shape, &x), sqrt(sum));
    }

    sonde_run_free(run);
    sonde_model_free(model);
    return 0;
}
