/* info_store.c - `sonde info` of a store of activations. Opening it checks every shard.     floor 10: cli */
#include "info.h"

#include <sys/stat.h>

/* By the file that makes it one. */
bool info_is_store(const char *folder)
{
    char path[4096];
    struct stat info;

    return (size_t)snprintf(path, sizeof path, "%s/store.json", folder) < sizeof path && stat(path, &info) == 0;
}

/* For people. */
static sonde_status print_table(const sonde_store *store, const char *folder)
{
    cli_table *table = cli_table_new("ll", NULL);

    cli_table_row(table, "store\t%s", folder);
    cli_table_row(table, "model\t%s", sonde_store_model(store));
    cli_table_row(table, "rows\t%s of %s, in %s", cli_count(sonde_store_n_rows(store)),
                  cli_counted(sonde_store_n_documents(store), "document"),
                  cli_counted(sonde_store_n_shards(store), "shard"));
    cli_table_row(table, "type\t%s", sonde_dtype_name(sonde_store_dtype(store)));
    /* a line for each */
    for (int64_t i = 0; i < sonde_store_n_hooks(store); i++)
        cli_table_row(table, "hook point\t%s, width %lld", sonde_store_hook(store, i),
                      (long long)sonde_store_width(store, i));
    return cli_table_print(table);
}

/* All that the store says of itself. */
static sonde_status print_json(const sonde_store *store, const char *folder)
{
    json_t *out = cli_json("sonde.info.store/1"), *hooks = json_array();

    for (int64_t i = 0; i < sonde_store_n_hooks(store); i++)
        json_array_append_new(hooks, json_pack("{s:s, s:I}", "name", sonde_store_hook(store, i), "width",
                                               (json_int_t)sonde_store_width(store, i)));
    json_object_set_new(out, "store", json_string(folder));
    json_object_set_new(out, "model", json_string(sonde_store_model(store)));
    json_object_set_new(out, "rows", json_integer(sonde_store_n_rows(store)));
    json_object_set_new(out, "documents", json_integer(sonde_store_n_documents(store)));
    json_object_set_new(out, "shards", json_integer(sonde_store_n_shards(store)));
    json_object_set_new(out, "dtype", json_string(sonde_dtype_name(sonde_store_dtype(store))));
    json_object_set_new(out, "hooks", hooks);
    return cli_json_write(out);
}

/* A store that is cut or incomplete is an error here, too: what it has cannot be said. */
sonde_status info_print_store(const char *folder)
{
    sonde_store *store;
    sonde_status status;

    CLI_TRY(sonde_store_open(&store, folder));
    status = cli.json ? print_json(store, folder) : print_table(store, folder);
    sonde_store_close(store);
    return status;
}
