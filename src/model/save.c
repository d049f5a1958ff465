/* save.c - a model as a folder in the layout of Hugging Face.                  floor 5: model
 *
 *   config.json             as transformers 4 and 5 read it (config_write.c)
 *   model.safetensors       the tensors as they lie in memory, under the names of the family's class
 *   tokenizer.json          copied, with a tokenizer_config.json that names the class that reads it
 *
 * All of it is written into a folder beside, which then takes the place of the old one: whoever reads sees one model or the
 * other. A folder that is no model's is never replaced: someone may have named the wrong one. What would not be in the file
 * what it is in memory (a number that is not finite, or becomes infinite in 16 bits) is an error with its place.
 */
#include "model/config.h"

#include "base/file.h"
#include "base/folder.h"

#include <sonde/text.h>

#include <math.h>

/* What folders of models have. */
static const char *const model_names[] = {"merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", NULL};
static const char *const model_endings[] = {".json", ".safetensors", NULL};
static const sondep_folder_kind model_folder = {"a model", "config.json", model_names, model_endings};

void sonde_save_opts_init(sonde_save_opts *out)
{
    *out = (sonde_save_opts){.struct_size = sizeof *out, .dtype = SONDE_AS_STORED};
}

/* The caller's options over the defaults, each within its bounds. */
static sonde_status read_opts(sonde_save_opts *out, const sonde_save_opts *opts)
{
    sonde_save_opts_init(out);
    SONDE_TRY(sondep_opts_read(out, sizeof *out, opts, "the struct of save options"));
    if (out->dtype != SONDE_AS_STORED && out->dtype != SONDE_F32 && out->dtype != SONDE_F16 && out->dtype != SONDE_BF16)
        return SONDE_FAIL(SONDE_E_ARG, "option 'dtype' is %lld; weights are stored as F32, F16 or BF16",
                          (long long)out->dtype);
    return SONDE_OK;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

enum { PIECE = 1 << 16 }; /* elements that are converted at a time */

/* What is written, in the order in which it was taken. */
typedef struct plan {
    const sonde_model *model;
    char **names;           /* owned */
    sonde_tensor *declared; /* with the type of the file */
    const char **metadata;  /* pairs; borrows */
    float *numbers;         /* (PIECE) */
    void *converted;        /* (PIECE) of the type of the file */
} plan;

static void plan_release(plan *p)
{
    for (int64_t i = 0; p->names != NULL && i < p->model->n_named; i++)
        sondep_free(p->names[i]);
    sondep_free(p->names);
    sondep_free(p->declared);
    sondep_free((void *)p->metadata);
    sondep_free(p->numbers);
    sondep_free(p->converted);
}

/* The name that the class gives a tensor: files that were saved without a head lack the prefix, and a tied matrix may have
 * come under its name as unembedding. */
static sonde_status class_name(char **out, const sonde_model *model, const sondep_family *family, const char *name)
{
    static const char head[] = "lm_head.weight";
    const char *prefix = family->prefixes[0];
    sondep_string s = {0};
    sonde_status status;

    /* The unembedding never has a prefix, in neither class. */
    if (strcmp(name, head) == 0 && model->config.tied)
        name = family->embedding;
    if (strcmp(name, head) == 0 || strncmp(name, prefix, strlen(prefix)) == 0)
        prefix = "";
    status = sondep_string_printf(&s, "%s%s", prefix, name);
    *out = s.text;
    return status;
}

/* The texts of __metadata__: "format" is what transformers asks for, and is ours alone. */
static sonde_status plan_metadata(plan *p, const sonde_save_opts *opts)
{
    SONDE_TRY(SONDE_NEW(p->metadata, 2 * (opts->n_metadata + 1)));
    p->metadata[0] = "format";
    p->metadata[1] = "pt";
    for (int64_t i = 0; i < 2 * opts->n_metadata; i++)
        p->metadata[i + 2] = opts->metadata[i];
    /* JSON with a key twice is read by some and refused by others. */
    for (int64_t i = 0; i <= opts->n_metadata; i++)
        for (int64_t k = 0; k < i; k++)
            if (strcmp(p->metadata[2 * i], p->metadata[2 * k]) == 0)
                return SONDE_FAIL(SONDE_E_ARG, "the key '%s' stands twice in the metadata ('format' is always there)",
                                  p->metadata[2 * i]);
    return SONDE_OK;
}

/* Names, types and shapes of the file. */
static sonde_status plan_make(plan *p, const sondep_family *family, const sonde_save_opts *opts)
{
    const sonde_model *model = p->model;

    SONDE_TRY(SONDE_NEW(p->names, model->n_named));
    SONDE_TRY(SONDE_NEW(p->declared, model->n_named));
    for (int64_t i = 0; i < model->n_named; i++) {
        SONDE_TRY(class_name(&p->names[i], model, family, model->named[i].name));
        p->declared[i] = model->named[i].tensor;
        if (opts->dtype != SONDE_AS_STORED)
            p->declared[i].dtype = (sonde_dtype)opts->dtype;
    }
    SONDE_TRY(SONDE_NEW(p->numbers, PIECE));
    p->converted = sondep_alloc(PIECE, sizeof(float));
    SONDE_TRY(p->converted ? SONDE_OK : SONDE_E_NOMEM);
    return plan_metadata(p, opts);
}

/* n numbers, which are finite, and stay so as `dtype`, of which `converted` holds what they have become. */
static sonde_status check_numbers(const plan *p, int64_t i, int64_t first, int64_t n)
{
    sonde_dtype dtype = p->declared[i].dtype;

    for (int64_t k = 0; k < n; k++) {
        if (!isfinite(p->numbers[k]))
            return SONDE_FAIL(SONDE_E_NONFINITE, "weight '%s' is %g at element %lld: the model is not saved", p->names[i],
                              (double)p->numbers[k], (long long)(first + k));
        /* Numbers from here on round to infinity; BF16 has the range of a float, but for its last step. */
        if ((dtype == SONDE_F16 && fabsf(p->numbers[k]) >= 65520.0f) ||
            (dtype == SONDE_BF16 && fabsf(p->numbers[k]) >= 0x1.ffp127f))
            return SONDE_FAIL(SONDE_E_RANGE, "weight '%s' is %g at element %lld, too large for %s", p->names[i],
                              (double)p->numbers[k], (long long)(first + k), sonde_dtype_name(dtype));
    }
    return SONDE_OK;
}

/* Tensor i, piece by piece. Where the type stays, its bytes are written as they are. */
static sonde_status put_tensor(sonde_sink *sink, const plan *p, int64_t i)
{
    const sonde_tensor *t = &p->model->named[i].tensor;
    int64_t n = sonde_tensor_n_elements(t);
    size_t size = sonde_dtype_bytes(t->dtype);

    for (int64_t first = 0; first < n; first += PIECE) {
        int64_t n_here = n - first < PIECE ? n - first : PIECE;
        const void *bytes = (const char *)t->data + (size_t)first * size;

        /* As floats for the check in any case; written from them only where the type changes. */
        sonde_convert_to_f32(p->numbers, bytes, t->dtype, n_here);
        SONDE_TRY(check_numbers(p, i, first, n_here));
        if (p->declared[i].dtype != t->dtype) {
            sonde_convert_from_f32(p->converted, p->declared[i].dtype, p->numbers, n_here);
            bytes = p->converted;
        }
        SONDE_TRY(sonde_sink_put(sink, i, first, bytes, n_here));
    }
    return SONDE_OK;
}

/* model.safetensors. */
static sonde_status save_weights(const sonde_model *model, const sondep_family *family, const sonde_save_opts *opts,
                                 const char *path)
{
    plan p = {.model = model};
    sonde_sink *sink = NULL;
    sonde_status status;

    /* The sink lays the file out from the names and shapes; then each tensor goes to its place. */
    SONDE_TRY_DONE(plan_make(&p, family, opts));
    SONDE_TRY_DONE(sonde_sink_open(&sink, path, (const char *const *)p.names, p.declared, model->n_named, p.metadata,
                                   opts->n_metadata + 1));
    for (int64_t i = 0; i < model->n_named; i++)
        SONDE_TRY_DONE(put_tensor(sink, &p, i));
    status = sonde_sink_commit(sink);
    sink = NULL;
done:
    sonde_sink_abort(sink);
    plan_release(&p);
    return status;
}

/* ---- the tokenizer ------------------------------------------------------------------------------------------------- */

/* tokenizer_config.json: the class that takes everything from tokenizer.json, and the special tokens by their text. */
static sonde_status save_tokenizer_config(const sonde_model *model, const sonde_tokenizer *tokenizer, const char *path)
{
    const sonde_config *c = &model->config;
    const struct {
        const char *name;
        int64_t id;
    } specials[] = {{"bos_token", c->bos_id}, {"eos_token", c->eos_id}};
    sondep_json_writer json = {0};

    /* An id without a token is left out: the class has no special token then, as the model has none. */
    sondep_json_put_begin(&json, NULL, '{');
    sondep_json_put_text(&json, "tokenizer_class", "PreTrainedTokenizerFast");
    sondep_json_put_int(&json, "model_max_length", c->n_context);
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        const char *token = specials[i].id >= 0 ? sonde_tokenizer_token(tokenizer, (int32_t)specials[i].id) : NULL;
        if (token != NULL)
            sondep_json_put_text(&json, specials[i].name, token);
    }
    sondep_json_put_bool(&json, "clean_up_tokenization_spaces", false);
    sondep_json_put_end(&json, '}');
    return sondep_json_write(&json, path);
}

/* A file as it is. */
static sonde_status copy_file(const char *to, const char *from)
{
    sondep_file file = {0};
    sondep_writer writer = {.fd = -1};
    sonde_status status;

    /* Mapped, so that a large vocabulary is not in memory twice. */
    SONDE_TRY_DONE(sondep_file_map(&file, from));
    SONDE_TRY_DONE(sondep_writer_open(&writer, to));
    SONDE_TRY_DONE(sondep_writer_put(&writer, file.data, file.bytes));
    status = sondep_writer_commit(&writer);
done:
    sondep_writer_abort(&writer);
    sondep_file_release(&file);
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

/* The three or four paths of a folder, and the tokenizer that goes into it. */
typedef struct saving {
    char *config, *weights, *tokenizer_json, *tokenizer_config;
    char *source; /* tokenizer.json that is copied */
    sonde_tokenizer *tokenizer;
} saving;

static void saving_release(saving *s)
{
    sondep_free(s->config);
    sondep_free(s->weights);
    sondep_free(s->tokenizer_json);
    sondep_free(s->tokenizer_config);
    sondep_free(s->source);
    sonde_tokenizer_free(s->tokenizer);
}

/* Reads the tokenizer before anything is written: one that cannot be read, or that gives ids which the model lacks, is no use. */
static sonde_status load_tokenizer(saving *s, const sonde_model *model, const char *path)
{
    int64_t n_ids;

    if (path == NULL)
        return SONDE_OK;
    SONDE_TRY(sondep_is_directory(path) ? sondep_path_join(&s->source, path, "tokenizer.json")
                                        : sondep_copy_string(&s->source, path));
    SONDE_TRY(sonde_tokenizer_load(&s->tokenizer, s->source));
    n_ids = sonde_tokenizer_n_vocab(s->tokenizer);
    if (n_ids > model->config.n_vocab)
        sondep_log(SONDE_LOG_WARN, "'%s' has %lld ids, the model's vocabulary %lld: the ids beyond it cannot be used",
                   s->source, (long long)n_ids, (long long)model->config.n_vocab);
    return SONDE_OK;
}

/* Every file of the folder. */
static sonde_status save_files(const sonde_model *model, const sondep_family *family, const sonde_save_opts *opts, saving *s,
                               const char *folder)
{
    sonde_dtype dtype = opts->dtype == SONDE_AS_STORED ? sonde_model_weight_dtype(model) : (sonde_dtype)opts->dtype;

    SONDE_TRY(sondep_path_join(&s->config, folder, "config.json"));
    SONDE_TRY(sondep_path_join(&s->weights, folder, "model.safetensors"));
    SONDE_TRY(sondep_path_join(&s->tokenizer_json, folder, "tokenizer.json"));
    SONDE_TRY(sondep_path_join(&s->tokenizer_config, folder, "tokenizer_config.json"));
    /* The weights come last: they are what takes long, and what a full disk stops. */
    SONDE_TRY(sondep_config_write(&model->config, dtype, s->config));
    if (s->tokenizer != NULL) {
        SONDE_TRY(copy_file(s->tokenizer_json, s->source));
        SONDE_TRY(save_tokenizer_config(model, s->tokenizer, s->tokenizer_config));
    }
    return save_weights(model, family, opts, s->weights);
}

/* What is wrong with the request is found before a folder appears. */
sonde_status sonde_model_save(const sonde_model *model, const char *directory, const sonde_save_opts *opts)
{
    const sondep_family *family;
    sonde_save_opts options;
    sondep_folder folder = {0};
    saving s = {0};
    sonde_status status;

    SONDE_TRY(read_opts(&options, opts));
    SONDE_TRY(sondep_folder_may_replace(directory, &model_folder));
    SONDE_TRY(sondep_config_check_family(&family, &model->config, directory));
    SONDE_TRY_DONE(load_tokenizer(&s, model, options.tokenizer));
    SONDE_TRY_DONE(sondep_folder_open(&folder, directory));
    SONDE_TRY_DONE(save_files(model, family, &options, &s, folder.part));
    status = sondep_folder_commit(&folder);
done:
    sondep_folder_abort(&folder);
    saving_release(&s);
    return status;
}
