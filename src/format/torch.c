/* torch.c - reading PyTorch's .pt: a zip of a pickle and of storages.          floor 2: format
 *
 *   NAME/data.pkl    the pickle: a tree of plain data and tensors, which name storages
 *   NAME/data/KEY    the elements of a storage
 *   NAME/byteorder   "little", if it is there
 *
 * Sizes and strides are held against the bytes of the storage before an element is read.
 *
 * Source: torch/serialization.py of PyTorch 2.13.
 */
#include "format/pickle.h"
#include "format/zip.h"

enum { DEEPEST = 64, LARGEST_PICKLE = 1 << 28 };

/* A value under its whole name. */
typedef struct entry {
    char *name, *text;
    sonde_torch_kind kind;
    int32_t node;
} entry;

struct sonde_torch {
    sondep_zip zip;
    char *folder; /* NAME/ */
    sondep_string bytes;
    sondep_pickle pickle;
    entry *entries;
    int64_t n, capacity;
    int64_t n_visited;
};

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* The member of this name, or -1. */
static int64_t find_member(const sonde_torch *file, const char *name)
{
    for (int64_t i = 0; i < sondep_zip_n(&file->zip); i++)
        if (strcmp(sondep_zip_name(&file->zip, i), name) == 0)
            return i;
    return -1;
}

/* NAME/data.pkl, whatever the name is. */
static sonde_status find_pickle(int64_t *out, sonde_torch *file)
{
    static const char ending[] = "/data.pkl";
    size_t n = sizeof ending - 1;

    for (int64_t i = 0; i < sondep_zip_n(&file->zip); i++) {
        const char *name = sondep_zip_name(&file->zip, i);
        size_t length = strlen(name);
        if (length <= n || strcmp(name + length - n, ending) != 0 || strchr(name, '/') != name + length - n)
            continue;
        *out = i;
        return sondep_copy_bytes(&file->folder, name, length - n + 1);
    }
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is a zip, but no file of torch.save: it has no '*/data.pkl'", file->zip.path);
}

/* The elements are in this machine's order, or the file is refused. */
static sonde_status check_order(const sonde_torch *file)
{
    sondep_string name = {0}, order = {0};
    sonde_status status;
    int64_t member;

    SONDE_TRY_DONE(sondep_string_printf(&name, "%sbyteorder", file->folder));
    member = find_member(file, name.text);
    if (member < 0)
        goto done;
    SONDE_TRY_DONE(sondep_zip_read(&order, &file->zip, member, 16));
    if (order.n != 6 || memcmp(order.text, "little", 6) != 0)
        status = SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has the byte order '%s'; sonde reads little", file->zip.path,
                            order.text ? order.text : "");
done:
    sondep_string_release(&name);
    sondep_string_release(&order);
    return status;
}

/* A value that holds no others, under its name. */
static sonde_status add_entry(sonde_torch *file, const char *name, int32_t node)
{
    static const sonde_torch_kind kinds[] = {
        [SONDEP_PICKLE_NONE] = SONDE_TORCH_NONE,   [SONDEP_PICKLE_BOOL] = SONDE_TORCH_BOOL,
        [SONDEP_PICKLE_WHOLE] = SONDE_TORCH_WHOLE, [SONDEP_PICKLE_REAL] = SONDE_TORCH_REAL,
        [SONDEP_PICKLE_TEXT] = SONDE_TORCH_TEXT,   [SONDEP_PICKLE_TENSOR] = SONDE_TORCH_TENSOR,
    };
    const sondep_pickle_node *value = &file->pickle.nodes[node];
    entry *made;

    SONDE_TRY(sondep_grow(&file->entries, &file->capacity, file->n + 1, sizeof *file->entries));
    made = &file->entries[file->n++];
    /* types of elements and storages by themselves are nothing that could be read */
    *made = (entry){.kind = value->kind < SONDEP_PICKLE_NAME || value->kind == SONDEP_PICKLE_TENSOR ? kinds[value->kind]
                                                                                                    : SONDE_TORCH_NONE,
                    .node = node};
    SONDE_TRY(sondep_copy_string(&made->name, name));
    return value->kind == SONDEP_PICKLE_TEXT ? sondep_copy_bytes(&made->text, value->text, value->n) : SONDE_OK;
}

/* The name of item i of a value: its key, or its place. `name` has the value's own name in it. */
static sonde_status append_key(sondep_string *name, const sonde_torch *file, const sondep_pickle_node *value, int64_t i)
{
    const sondep_pickle_node *key;

    if (name->n > 0)
        SONDE_TRY(sondep_string_append(name, ".", 1));
    if (value->kind == SONDEP_PICKLE_LIST)
        return sondep_string_printf(name, "%lld", (long long)i);
    key = &file->pickle.nodes[value->items[2 * i]];
    if (key->kind == SONDEP_PICKLE_TEXT)
        return sondep_string_append(name, key->text, key->n);
    if (key->kind == SONDEP_PICKLE_WHOLE)
        return sondep_string_printf(name, "%lld", (long long)key->whole);
    return SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' has a dictionary with a key that is neither a text nor a whole number",
                      file->zip.path);
}

/* A value and all that it holds. It may hold itself, or one value many times over: depth and number are bounded by what is there. */
static sonde_status flatten(sonde_torch *file, sondep_string *name, int32_t node, int depth)
{
    const sondep_pickle_node *value = &file->pickle.nodes[node];
    int64_t n = value->kind == SONDEP_PICKLE_DICT ? value->n_items / 2 : value->n_items, each = value->n_items > n ? 2 : 1;
    size_t length = name->n;

    if (depth > DEEPEST || ++file->n_visited > (int64_t)file->bytes.n || name->n > file->bytes.n)
        return SONDE_FAIL(SONDE_E_FORMAT, "'%s' has values within each other that have no end", file->zip.path);
    if (value->kind != SONDEP_PICKLE_LIST && value->kind != SONDEP_PICKLE_DICT)
        return add_entry(file, name->text ? name->text : "", node);
    for (int64_t i = 0; i < n; i++) {
        SONDE_TRY(append_key(name, file, value, i));
        SONDE_TRY(flatten(file, name, value->items[each * i + each - 1], depth + 1));
        name->n = length;
        name->text[length] = '\0';
    }
    return SONDE_OK;
}

/* Whether the file begins as torch.save wrote before version 1.6: a pickle without a zip. */
static sonde_status hint_at_old(sonde_status status, const sonde_torch *file)
{
    const unsigned char *bytes = (const unsigned char *)file->zip.file.data;

    if (status != SONDE_E_FORMAT || file->zip.zip != NULL || file->zip.file.bytes < 2 || bytes[0] != 0x80 || bytes[1] > 5)
        return status;
    return sondep_hint(
        SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' is a pickle without a zip around it: PyTorch before 1.6", file->zip.path),
        "load it with PyTorch and save it again");
}

/* The pickle is read at once and whole; storages are read when their tensors are. */
sonde_status sonde_torch_open(sonde_torch **out, const char *path)
{
    sonde_torch *file;
    sondep_string name = {0};
    int64_t member;
    sonde_status status;

    *out = NULL;
    SONDE_TRY(SONDE_NEW(file, 1));
    SONDE_TRY_DONE(hint_at_old(sondep_zip_open(&file->zip, path, "a file of torch.save"), file));
    SONDE_TRY_DONE(find_pickle(&member, file));
    SONDE_TRY_DONE(check_order(file));
    SONDE_TRY_DONE(sondep_zip_read(&file->bytes, &file->zip, member, LARGEST_PICKLE));
    SONDE_TRY_DONE(sondep_pickle_read(&file->pickle, file->bytes.text ? file->bytes.text : "", file->bytes.n, path));
    SONDE_TRY_DONE(flatten(file, &name, file->pickle.root, 0));
    *out = file;
done:
    sondep_string_release(&name);
    if (status != SONDE_OK)
        sonde_torch_close(file);
    return status;
}

/* Takes a half-made file, too. */
void sonde_torch_close(sonde_torch *file)
{
    if (file == NULL)
        return;
    for (int64_t i = 0; i < file->n; i++) {
        sondep_free(file->entries[i].name);
        sondep_free(file->entries[i].text);
    }
    sondep_free(file->entries);
    sondep_pickle_release(&file->pickle);
    sondep_string_release(&file->bytes);
    sondep_free(file->folder);
    sondep_zip_close(&file->zip);
    sondep_free(file);
}

/* ---- what is in it ------------------------------------------------------------------------------------------------ */

int64_t sonde_torch_n(const sonde_torch *file)
{
    return file->n;
}

/* The i-th value. */
static const entry *entry_at(const sonde_torch *file, int64_t i)
{
    SONDE_ASSERT(i >= 0 && i < file->n);
    return &file->entries[i];
}

/* Dots between the keys that lead to it. */
const char *sonde_torch_name(const sonde_torch *file, int64_t i)
{
    return entry_at(file, i)->name;
}

/* Of the tree only its leaves are left. */
sonde_torch_kind sonde_torch_kind_of(const sonde_torch *file, int64_t i)
{
    return entry_at(file, i)->kind;
}

/* Files have few values: a plain search. */
int64_t sonde_torch_find(const sonde_torch *file, const char *name)
{
    for (int64_t i = 0; i < file->n; i++)
        if (strcmp(file->entries[i].name, name) == 0)
            return i;
    return -1;
}

/* Whole numbers of more than 53 bits are rounded. */
double sonde_torch_number(const sonde_torch *file, int64_t i)
{
    const entry *e = entry_at(file, i);
    const sondep_pickle_node *value = &file->pickle.nodes[e->node];

    if (e->kind == SONDE_TORCH_REAL)
        return value->real;
    return e->kind == SONDE_TORCH_WHOLE || e->kind == SONDE_TORCH_BOOL ? (double)value->whole : 0.0;
}

/* A copy was made when it was opened: in the pickle it has no NUL behind it. */
const char *sonde_torch_text(const sonde_torch *file, int64_t i)
{
    const char *text = entry_at(file, i)->text;

    return text ? text : "";
}

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

/* How a tensor lies in its storage. */
typedef struct layout {
    sonde_tensor tensor; /* without data */
    int64_t offset, strides[SONDE_MAX_RANK];
    int64_t last;                      /* element of the storage that is its last one; -1: it has none */
    const sondep_pickle_node *storage; /* its file and type */
} layout;

/* Sizes and strides of a node; everything fits into 64 bits. */
static sonde_status read_layout(layout *out, const sonde_torch *file, const entry *e)
{
    const sondep_pickle_node *nodes = file->pickle.nodes, *node = &nodes[e->node];
    const sondep_pickle_node *sizes = &nodes[node->items[2]], *strides = &nodes[node->items[3]];
    int64_t shape[SONDE_MAX_RANK] = {0}, step;

    if (sizes->n_items > SONDE_MAX_RANK)
        return SONDE_FAIL(SONDE_E_UNSUPPORTED, "tensor '%s' in '%s' has %lld axes, more than %d", e->name, file->zip.path,
                          (long long)sizes->n_items, SONDE_MAX_RANK);
    *out = (layout){.offset = nodes[node->items[1]].whole, .storage = &nodes[node->items[0]]};
    for (int64_t i = 0; i < sizes->n_items; i++) {
        bool is_whole = i < strides->n_items && nodes[sizes->items[i]].kind == SONDEP_PICKLE_WHOLE &&
                        nodes[strides->items[i]].kind == SONDEP_PICKLE_WHOLE;
        shape[i] = is_whole ? nodes[sizes->items[i]].whole : -1;
        out->strides[i] = shape[i] == 1 ? 0 : is_whole ? nodes[strides->items[i]].whole : -1; /* one step is never made */
        if (shape[i] < 0 || out->strides[i] < 0 || out->offset < 0)
            return SONDE_FAIL(SONDE_E_FORMAT, "tensor '%s' in '%s' has a size or a stride that is none", e->name,
                              file->zip.path);
    }
    SONDE_TRY(sonde_tensor_view(&out->tensor, NULL, out->storage->dtype, shape, (int)sizes->n_items));
    out->last = out->offset;
    for (int i = 0; i < out->tensor.rank && sonde_tensor_n_elements(&out->tensor) > 0; i++) {
        SONDE_TRY(sondep_mul_i64(&step, shape[i] - 1, out->strides[i], e->name));
        if (step > INT64_MAX - out->last)
            return SONDE_FAIL(SONDE_E_FORMAT, "tensor '%s' in '%s' lies outside its storage", e->name, file->zip.path);
        out->last += step;
    }
    return SONDE_OK;
}

/* The bytes of the storage, as many as its tensor needs at least. */
static sonde_status read_storage(sondep_string *out, const sonde_torch *file, const layout *x, const char *name)
{
    size_t size = sonde_dtype_bytes(x->tensor.dtype);
    sondep_string member = {0};
    sonde_status status;
    int64_t i;

    SONDE_TRY_DONE(sondep_string_printf(&member, "%sdata/", file->folder));
    SONDE_TRY_DONE(sondep_string_append(&member, x->storage->text, x->storage->n));
    i = find_member(file, member.text);
    if (i < 0)
        status = SONDE_FAIL(SONDE_E_FORMAT, "'%s' is damaged: it has no '%s', which tensor '%s' lies in", file->zip.path,
                            member.text, name);
    else
        status = sondep_zip_read(out, &file->zip, i, SIZE_MAX - 1);
    /* a view that repeats elements could be larger than any file */
    if (status == SONDE_OK &&
        ((uint64_t)x->last >= out->n / size || (uint64_t)sonde_tensor_n_elements(&x->tensor) > out->n / size))
        status = SONDE_FAIL(SONDE_E_FORMAT, "tensor '%s' in '%s' lies outside its storage, which has %zu bytes", name,
                            file->zip.path, out->n);
done:
    sondep_string_release(&member);
    return status;
}

/* Elements in order of rows. */
static void gather(char *to, const layout *x, const char *from)
{
    int64_t n = sonde_tensor_n_elements(&x->tensor), at[SONDE_MAX_RANK] = {0}, place = x->offset;
    size_t size = sonde_dtype_bytes(x->tensor.dtype);

    for (int64_t i = 0; i < n; i++) {
        memcpy(to + (size_t)i * size, from + (size_t)place * size, size);
        for (int axis = x->tensor.rank - 1; axis >= 0; axis--) {
            place += x->strides[axis];
            if (++at[axis] < x->tensor.shape[axis])
                break;
            place -= at[axis] * x->strides[axis];
            at[axis] = 0;
        }
    }
}

/* Without elements there is no storage to look for: PyTorch gives such tensors one of no bytes, or none. */
sonde_status sonde_torch_read(sonde_tensor *out, const sonde_torch *file, int64_t i)
{
    const entry *e = entry_at(file, i);
    sondep_string bytes = {0};
    layout x;
    char *data = NULL;
    sonde_status status;

    *out = (sonde_tensor){0};
    if (e->kind != SONDE_TORCH_TENSOR)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' in '%s' is no tensor", e->name, file->zip.path);
    SONDE_TRY(read_layout(&x, file, e));
    SONDE_TRY_DONE(SONDE_NEW(data, 1));
    if (sonde_tensor_n_elements(&x.tensor) > 0) {
        SONDE_TRY_DONE(read_storage(&bytes, file, &x, e->name));
        sondep_free(data);
        SONDE_TRY_DONE(SONDE_NEW(data, (int64_t)sonde_tensor_bytes(&x.tensor)));
        gather(data, &x, bytes.text);
    }
    *out = x.tensor;
    out->data = data;
    data = NULL;
done:
    sondep_free(data);
    sondep_string_release(&bytes);
    return status;
}
