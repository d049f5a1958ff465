/* pickle_write.c - the pickle of a dictionary of tensors.                       floor 2: format
 *
 * Protocol 2, without a memo: names are written again each time.
 */
#include "format/pickle.h"

#include <stdio.h>

/* A text with its length before it. */
static sonde_status put_text(sondep_string *out, const char *text)
{
    size_t n = strlen(text);
    char head[5] = {'X', (char)(n & 255), (char)(n >> 8 & 255), (char)(n >> 16 & 255), (char)(n >> 24 & 255)};

    SONDE_TRY(sondep_string_append(out, head, sizeof head));
    return sondep_string_append(out, text, n);
}

/* A whole number, in eight bytes. */
static sonde_status put_whole(sondep_string *out, int64_t value)
{
    char bytes[10] = {(char)0x8a, 8};

    for (int i = 0; i < 8; i++)
        bytes[2 + i] = (char)((uint64_t)value >> 8 * i & 255);
    return sondep_string_append(out, bytes, sizeof bytes);
}

/* Operations that have no zero byte in them. */
static sonde_status put(sondep_string *out, const char *bytes)
{
    return sondep_string_append(out, bytes, strlen(bytes));
}

/* The identity of storage i: ('storage', type, file, 'cpu', elements), and what it stands for. */
static sonde_status put_storage(sondep_string *out, const sonde_tensor *t, int64_t i)
{
    char file[24];

    snprintf(file, sizeof file, "%lld", (long long)i);
    SONDE_TRY(put(out, "("));
    SONDE_TRY(put_text(out, "storage"));
    SONDE_TRY(sondep_string_printf(out, "ctorch\n%s\n", sondep_pickle_storage(t->dtype)));
    SONDE_TRY(put_text(out, file));
    SONDE_TRY(put_text(out, "cpu"));
    SONDE_TRY(put_whole(out, sonde_tensor_n_elements(t)));
    return put(out, "tQ");
}

/* _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()). */
static sonde_status put_tensor(sondep_string *out, const sonde_tensor *t, int64_t i)
{
    SONDE_TRY(put(out, "ctorch._utils\n_rebuild_tensor_v2\n("));
    SONDE_TRY(put_storage(out, t, i));
    SONDE_TRY(put(out, "K"));
    SONDE_TRY(sondep_string_append(out, "\0(", 2));
    for (int axis = 0; axis < t->rank; axis++)
        SONDE_TRY(put_whole(out, t->shape[axis]));
    SONDE_TRY(put(out, "t("));
    for (int axis = 0; axis < t->rank; axis++) {
        int64_t stride = 1;
        for (int k = axis + 1; k < t->rank; k++)
            stride *= t->shape[k];
        SONDE_TRY(put_whole(out, stride));
    }
    return put(out, "t\x89"
                    "ccollections\nOrderedDict\n)RtR");
}

/* An empty dictionary, a mark, keys and values, and one operation that takes all of them. */
sonde_status sondep_pickle_write(sondep_string *out, char *const *names, const sonde_tensor *tensors, int64_t n)
{
    SONDE_TRY(put(out, "\x80\x02"
                       "ccollections\nOrderedDict\n)R("));
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(put_text(out, names[i]));
        SONDE_TRY(put_tensor(out, &tensors[i], i));
    }
    return put(out, "u.");
}
