/* save_model.c - saves a model for the scripts of tests/oracle, by the library's public functions alone.
 *
 *   save_model MODEL OUT [DTYPE [TOKENIZER]]         a folder, loaded; DTYPE is f32, f16, bf16 or stored
 *   save_model shape:NAME OUT [DTYPE [TOKENIZER]]    random numbers in a well-known shape
 *   save_model config:PATH OUT [DTYPE [TOKENIZER]]   random numbers in the shape of a config.json
 */
#include <sonde/model.h>

#include <stdio.h>
#include <string.h>

/* The model that the first argument names. */
static sonde_status get_model(sonde_model **out, const char *what)
{
    sonde_config config;
    sonde_status status;

    *out = NULL;
    if (strncmp(what, "shape:", 6) == 0)
        status = sonde_config_shape(&config, what + 6);
    else if (strncmp(what, "config:", 7) == 0)
        status = sonde_config_load(&config, what + 7);
    else
        return sonde_model_load(out, what, NULL);
    return status == SONDE_OK ? sonde_model_random(out, &config, 1, NULL) : status;
}

int main(int argc, char **argv)
{
    sonde_model *model = NULL;
    sonde_save_opts opts;
    sonde_dtype dtype;
    sonde_status status;

    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: save_model MODEL|shape:NAME|config:PATH OUT [DTYPE [TOKENIZER]]\n");
        return 2;
    }
    sonde_save_opts_init(&opts);
    status = get_model(&model, argv[1]);
    if (status == SONDE_OK && argc > 3 && strcmp(argv[3], "stored") != 0) {
        status = sonde_dtype_parse(&dtype, argv[3]);
        if (status == SONDE_OK)
            opts.dtype = dtype;
    }
    opts.tokenizer = argc > 4 ? argv[4] : NULL;
    if (status == SONDE_OK)
        status = sonde_model_save(model, argv[2], &opts);
    if (status != SONDE_OK)
        fprintf(stderr, "save_model: %s\n", sonde_last_error()->message);
    sonde_model_free(model);
    return sonde_status_exit_code(status);
}
