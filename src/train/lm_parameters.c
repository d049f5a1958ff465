/* lm_parameters.c - what a model's weights are to an optimiser.                floor 6: train */
#include "train/lm.h"

#include <math.h>

/* Whether a tensor is one of the matrices between layers; *parts is how many of them lie side by side in it. */
static bool is_hidden(const sonde_model *model, const sonde_tensor *t, int64_t *parts)
{
    const void *data = t->data;

    *parts = 1;
    for (int64_t layer = 0; layer < model->config.n_layers; layer++) {
        const sondep_block *b = &model->blocks[layer];
        const sondep_linear *linears[] = {&b->q, &b->k, &b->v, &b->o, &b->gate, &b->up, &b->down};

        /* (D, 3 D): queries, keys and values are columns of one tensor. */
        if (b->qkv.w.data == data && b->qkv.n_out == t->shape[1] && b->qkv.w.col_stride == 1) {
            *parts = 3;
            return true;
        }
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
            if (linears[i]->n_out > 0 && linears[i]->w.data == data)
                return true;
    }
    return false;
}

sonde_status sondep_lm_parameters(sondep_parameter **out, int64_t *n, const sonde_model *model)
{
    sondep_parameter *table;

    *out = NULL;
    *n = model->n_named;
    SONDE_TRY(SONDE_NEW(table, model->n_named));
    for (int64_t i = 0; i < model->n_named; i++) {
        const sonde_tensor *t = &model->named[i].tensor;
        sondep_parameter *p = &table[i];

        /* Gains and biases are vectors: they do not decay, and no optimiser turns them. */
        p->name = model->named[i].name;
        p->first = (const float *)t->data - model->parameters;
        p->n = sonde_tensor_n_elements(t);
        p->rows = t->rank == 2 ? t->shape[0] : 1;
        p->columns = t->rank == 2 ? t->shape[1] : p->n;
        p->decays = t->rank == 2;
        p->is_hidden = t->rank == 2 && is_hidden(model, t, &p->parts);
        p->parts = p->is_hidden ? p->parts : 1;
    }
    *out = table;
    return SONDE_OK;
}

sonde_status sondep_lm_check_vocab(const sonde_model *model, const sonde_corpus *corpus)
{
    if (sonde_corpus_n_vocab(corpus) <= model->config.n_vocab)
        return SONDE_OK;
    return SONDE_FAIL(SONDE_E_RANGE, "the vocabulary of the corpus is %lld, the model's is %lld",
                      (long long)sonde_corpus_n_vocab(corpus), (long long)model->config.n_vocab);
}

/* Divides the matrices that write to the stream by sqrt(2 L): sums over layers then begin as large as one layer. */
sonde_status sonde_lm_initial(sonde_model **out, const sonde_config *config, uint64_t seed)
{
    sonde_model *random, *model;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(sonde_model_random(&random, config, seed, NULL));
    status = sondep_model_trainable(&model, random);
    sonde_model_free(random);
    SONDE_TRY(status);
    for (int64_t layer = 0; layer < config->n_layers; layer++) {
        const sondep_linear *writers[] = {&model->blocks[layer].o, &model->blocks[layer].down};
        for (int i = 0; i < 2; i++) {
            float *w = model->parameters + ((const float *)writers[i]->w.data - model->parameters);
            for (int64_t k = 0; k < writers[i]->n_in * writers[i]->n_out; k++)
                w[k] = (float)(w[k] / sqrt(2.0 * (double)config->n_layers));
        }
    }
    *out = model;
    return SONDE_OK;
}
