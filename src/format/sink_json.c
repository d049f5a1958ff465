/* sink_json.c - tensors as JSON text.                                          floor 2: format
 *
 *   {"schema": "sonde.tensors/1", "metadata": {...}, "tensors": {name: {"shape": [..], "dtype": "F32", "data": [..]}}}
 *
 * Data is flat and row-major; each number is the shortest text that reads back as the same one, and what is not finite
 * is null.
 */
#include "format/sink.h"

#include "format/json.h"

#include <sonde/tensor.h>

#include <inttypes.h>
#include <stdio.h>

enum { BLOCK_ELEMENTS = 4096 };

/* The text of element i of a block. */
static int element_text(char out[SONDEP_NUMBER_BYTES], const char *block, sonde_dtype dtype, int64_t i)
{
    size_t size = sonde_dtype_bytes(dtype);
    double real;
    float single;
    int64_t whole;
    uint64_t natural;

    switch (dtype) {
    case SONDE_F64: memcpy(&real, block + (size_t)i * size, size); return sondep_json_double(out, real);
    case SONDE_I64:
        memcpy(&whole, block + (size_t)i * size, size);
        return snprintf(out, SONDEP_NUMBER_BYTES, "%" PRId64, whole);
    case SONDE_U64:
        memcpy(&natural, block + (size_t)i * size, size);
        return snprintf(out, SONDEP_NUMBER_BYTES, "%" PRIu64, natural);
    case SONDE_BOOL: return snprintf(out, SONDEP_NUMBER_BYTES, "%s", block[i] ? "true" : "false");
    case SONDE_F32:
    case SONDE_F16:
    case SONDE_BF16:
        sonde_convert_to_f32(&single, block + (size_t)i * size, dtype, 1);
        return sondep_json_float(out, single);
    default: /* integers of up to 32 bits, exact as double */
        sonde_convert_to_f64(&real, block + (size_t)i * size, dtype, 1);
        return snprintf(out, SONDEP_NUMBER_BYTES, "%.0f", real);
    }
}

/* Hands gathered text to the writer and empties it. */
static sonde_status put_text(sonde_sink *sink, sondep_string *s)
{
    sonde_status status = sondep_writer_put(&sink->writer, s->text, s->n);
    s->n = 0;
    return status;
}

/* Elements of tensor i, comma between them. The spill file is read in order, in blocks. */
static sonde_status put_elements(sonde_sink *sink, int64_t i, char *block)
{
    const sonde_tensor *t = &sink->declared[i];
    int64_t n = sonde_tensor_n_elements(t);
    size_t size = sonde_dtype_bytes(t->dtype);
    char text[SONDEP_NUMBER_BYTES + 2];

    /* The file is read in blocks; a read may come short. */
    for (int64_t first = 0; first < n; first += BLOCK_ELEMENTS) {
        int64_t in_block = n - first < BLOCK_ELEMENTS ? n - first : BLOCK_ELEMENTS;
        size_t wanted = (size_t)in_block * size;
        for (size_t have = 0, got; have < wanted; have += got) {
            SONDE_TRY(sondep_spill_read(&got, sink, block + have, wanted - have));
            if (got == 0)
                return SONDE_FAIL(SONDE_E_IO, "cannot write '%s': its temporary file is cut short", sink->path);
        }
        /* Text and comma go to the writer in one piece, whose buffer gathers them. */
        for (int64_t k = 0; k < in_block; k++) {
            bool has_comma = first + k > 0;
            int bytes = element_text(text + has_comma, block, t->dtype, k);
            text[0] = has_comma ? ',' : text[0];
            SONDE_TRY(sondep_writer_put(&sink->writer, text, (size_t)bytes + has_comma));
        }
    }
    return SONDE_OK;
}

/* One member of "tensors". */
static sonde_status put_tensor(sonde_sink *sink, int64_t i, sondep_string *s, char *block)
{
    const sonde_tensor *t = &sink->declared[i];

    SONDE_TRY(sondep_string_append(s, ",\n", i > 0 ? 2 : 0));
    SONDE_TRY(sondep_json_quote(s, sink->names[i]));
    SONDE_TRY(sondep_string_printf(s, ": {\"shape\": ["));
    for (int a = 0; a < t->rank; a++)
        SONDE_TRY(sondep_string_printf(s, "%s%lld", a ? ", " : "", (long long)t->shape[a]));
    SONDE_TRY(sondep_string_printf(s, "], \"dtype\": \"%s\", \"data\": [", sonde_dtype_name(t->dtype)));
    SONDE_TRY(put_text(sink, s));
    SONDE_TRY(put_elements(sink, i, block));
    return sondep_string_append(s, "]}", 2);
}

/* The "metadata" member, where there is any. */
static sonde_status append_metadata(sondep_string *s, const sonde_sink *sink)
{
    SONDE_TRY(sondep_string_printf(s, "\"metadata\": {"));
    for (int64_t i = 0; i < sink->n_metadata; i++) {
        SONDE_TRY(sondep_string_append(s, ", ", i > 0 ? 2 : 0));
        SONDE_TRY(sondep_json_quote(s, sink->metadata[2 * i]));
        SONDE_TRY(sondep_string_append(s, ": ", 2));
        SONDE_TRY(sondep_json_quote(s, sink->metadata[2 * i + 1]));
    }
    return sondep_string_append(s, "},\n", 3);
}

/* Writes the whole file; memory is one block and the text of one header. */
static sonde_status finish_json(sonde_sink *sink)
{
    sondep_string s = {0};
    char *block = NULL;
    sonde_status status;

    SONDE_TRY_DONE(SONDE_NEW(block, BLOCK_ELEMENTS * (int64_t)sizeof(double)));
    SONDE_TRY_DONE(sondep_spill_seek(sink, 0));
    SONDE_TRY_DONE(sondep_string_printf(&s, "{\"schema\": \"sonde.tensors/1\",\n"));
    if (sink->n_metadata > 0)
        SONDE_TRY_DONE(append_metadata(&s, sink));
    SONDE_TRY_DONE(sondep_string_printf(&s, "\"tensors\": {"));
    for (int64_t i = 0; i < sink->n; i++)
        SONDE_TRY_DONE(put_tensor(sink, i, &s, block));
    SONDE_TRY_DONE(sondep_string_printf(&s, "}}\n"));
    status = put_text(sink, &s);
done:
    sondep_string_release(&s);
    sondep_free(block);
    return status;
}

const sondep_sink_format sondep_sink_json = {".json", "", sondep_spill_open, finish_json};
