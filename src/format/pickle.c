/* pickle.c - reading pickles of tensors and plain data.                        floor 2: format
 *
 * A stack of values, marks on it, and a memo of values that come again. A value is made once and never moves: lists are filled after
 * they were noted in the memo. Each operation makes one value at most, so that a pickle of n bytes has n of them at most.
 *
 * Source: CPython's pickletools.py; torch/serialization.py and torch/_utils.py of PyTorch 2.13.
 */
#include "format/pickle.h"

/* What is done with a name. */
typedef enum name_use {
    USE_DICT,      /* called without arguments: an empty dictionary */
    USE_TENSOR,    /* called with a storage, an offset, sizes, strides, ... */
    USE_PARAMETER, /* called with a tensor, ...: that tensor */
    USE_FIRST,     /* called with one argument, which stands for the result */
    USE_STORAGE,   /* stands in a storage's identity */
    USE_NONE       /* a type of elements, by itself */
} name_use;

/* The names that files of tensors have, and no other. */
static const struct {
    const char *module, *name;
    name_use use;
    sonde_dtype dtype;
} known[] = {
    {"collections", "OrderedDict", USE_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", USE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", USE_PARAMETER, 0},
    {"torch", "Size", USE_FIRST, 0},
    {"torch", "device", USE_FIRST, 0},
    {"torch", "FloatStorage", USE_STORAGE, SONDE_F32},
    {"torch", "DoubleStorage", USE_STORAGE, SONDE_F64},
    {"torch", "HalfStorage", USE_STORAGE, SONDE_F16},
    {"torch", "BFloat16Storage", USE_STORAGE, SONDE_BF16},
    {"torch", "LongStorage", USE_STORAGE, SONDE_I64},
    {"torch", "IntStorage", USE_STORAGE, SONDE_I32},
    {"torch", "ShortStorage", USE_STORAGE, SONDE_I16},
    {"torch", "CharStorage", USE_STORAGE, SONDE_I8},
    {"torch", "ByteStorage", USE_STORAGE, SONDE_U8},
    {"torch", "BoolStorage", USE_STORAGE, SONDE_BOOL},
    {"torch", "float32", USE_NONE, 0},
    {"torch", "float64", USE_NONE, 0},
    {"torch", "float16", USE_NONE, 0},
    {"torch", "bfloat16", USE_NONE, 0},
    {"torch", "int64", USE_NONE, 0},
    {"torch", "int32", USE_NONE, 0},
};
enum { N_KNOWN = sizeof known / sizeof *known };

enum { MARK = -1, LARGEST_MEMO = 1 << 24 };

/* A growing list of numbers of values. */
typedef struct numbers {
    int32_t *at;
    int64_t n, capacity;
} numbers;

typedef struct machine {
    const unsigned char *bytes;
    size_t n, at, op; /* op: where the operation began */
    const char *path;
    sondep_pickle *out;
    numbers stack, memo; /* memo: -1 where nothing was noted */
} machine;

/* ---- values ------------------------------------------------------------------------------------------------------- */

/* The file is not what it should be, at the operation that is being done. */
static sonde_status damaged(const machine *m, const char *what)
{
    return SONDE_FAIL(SONDE_E_FORMAT, "'%s' is damaged: %s at byte %zu of its pickle", m->path, what, m->op);
}

/* On the stack, in the memo, or in a list. */
static sonde_status push_number(numbers *list, int32_t value)
{
    SONDE_TRY(sondep_grow(&list->at, &list->capacity, list->n + 1, sizeof *list->at));
    list->at[list->n++] = value;
    return SONDE_OK;
}

/* A new value on the stack; *out is good until the next one is made. */
static sonde_status make(sondep_pickle_node **out, machine *m, sondep_pickle_kind kind)
{
    sondep_pickle *p = m->out;

    SONDE_TRY(sondep_grow(&p->nodes, &p->capacity, p->n + 1, sizeof *p->nodes));
    if (p->n == INT32_MAX)
        return damaged(m, "too many values");
    SONDE_TRY(push_number(&m->stack, (int32_t)p->n));
    *out = &p->nodes[p->n++];
    **out = (sondep_pickle_node){.kind = kind};
    return SONDE_OK;
}

/* A value that is one whole number: also a truth value, or a name by its place among those that are known. */
static sonde_status make_whole(machine *m, sondep_pickle_kind kind, int64_t value)
{
    sondep_pickle_node *node;

    SONDE_TRY(make(&node, m, kind));
    node->whole = value;
    return SONDE_OK;
}

/* The value `below` places under the top, which must not be a mark. */
static sonde_status look(int32_t *out, const machine *m, int64_t below)
{
    if (m->stack.n <= below || m->stack.at[m->stack.n - 1 - below] == MARK)
        return damaged(m, "a missing value");
    *out = m->stack.at[m->stack.n - 1 - below];
    return SONDE_OK;
}

/* Where the values above the topmost mark begin. */
static sonde_status find_mark(int64_t *first, const machine *m)
{
    for (int64_t i = m->stack.n - 1; i >= 0; i--)
        if (m->stack.at[i] == MARK) {
            *first = i + 1;
            return SONDE_OK;
        }
    return damaged(m, "a missing mark");
}

/* Gives the values from `first` of the stack on to a list or dictionary, and takes them from the stack. */
static sonde_status give(machine *m, int32_t to, int64_t first)
{
    sondep_pickle_node *node = &m->out->nodes[to];
    numbers items = {node->items, node->n_items, node->capacity};
    sonde_status status = SONDE_OK;

    for (int64_t i = first; i < m->stack.n && status == SONDE_OK; i++)
        status = push_number(&items, m->stack.at[i]);
    node->items = items.at;
    node->n_items = items.n;
    node->capacity = items.capacity;
    m->stack.n = first;
    return status;
}

/* ---- bytes -------------------------------------------------------------------------------------------------------- */

/* The next n bytes. */
static sonde_status take(const unsigned char **out, machine *m, size_t n)
{
    if (n > m->n - m->at)
        return damaged(m, "its end");
    *out = m->bytes + m->at;
    m->at += n;
    return SONDE_OK;
}

/* An unsigned number of n bytes, the lowest first. */
static sonde_status take_unsigned(uint64_t *out, machine *m, size_t n)
{
    const unsigned char *bytes;

    SONDE_TRY(take(&bytes, m, n));
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)bytes[i] << 8 * i;
    return SONDE_OK;
}

/* A text whose length stands before it in n bytes. */
static sonde_status make_text(machine *m, size_t n)
{
    const unsigned char *bytes;
    sondep_pickle_node *node;
    uint64_t length;

    SONDE_TRY(take_unsigned(&length, m, n));
    if (length > m->n)
        return damaged(m, "the length of a text");
    SONDE_TRY(take(&bytes, m, (size_t)length));
    SONDE_TRY(make(&node, m, SONDEP_PICKLE_TEXT));
    node->text = (const char *)bytes;
    node->n = (size_t)length;
    return SONDE_OK;
}

/* The rest of a line, without its end. */
static sonde_status take_line(const char **out, size_t *n, machine *m)
{
    const unsigned char *end = memchr(m->bytes + m->at, '\n', m->n - m->at);

    if (end == NULL)
        return damaged(m, "its end");
    *out = (const char *)m->bytes + m->at;
    *n = (size_t)(end - (m->bytes + m->at));
    m->at += *n + 1;
    return SONDE_OK;
}

/* A whole number of n bytes with a sign; more than 8 are too large for anything that is read here. */
static sonde_status make_long(machine *m, size_t n)
{
    uint64_t value;

    if (n > 8)
        return damaged(m, "a whole number of more than 64 bits");
    SONDE_TRY(take_unsigned(&value, m, n));
    if (n > 0 && n < 8 && value >> (8 * n - 1) != 0)
        value |= UINT64_MAX << 8 * n;
    return make_whole(m, SONDEP_PICKLE_WHOLE, (int64_t)value);
}

/* A number of 8 bytes, the highest first. */
static sonde_status make_real(machine *m)
{
    const unsigned char *bytes = NULL;
    sondep_pickle_node *node;
    uint64_t bits = 0;

    SONDE_TRY(take(&bytes, m, 8));
    SONDE_TRY(make(&node, m, SONDEP_PICKLE_REAL));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes[i];
    memcpy(&node->real, &bits, sizeof bits);
    return SONDE_OK;
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

/* Whether n bytes are this text. */
static bool is_text(const char *bytes, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

/* A name that is known, or an error that says which one it is. */
static sonde_status make_name(machine *m, const char *module, size_t n_module, const char *name, size_t n_name)
{
    for (int i = 0; i < N_KNOWN; i++)
        if (is_text(module, n_module, known[i].module) && is_text(name, n_name, known[i].name))
            return make_whole(m, SONDEP_PICKLE_NAME, i);
    return sondep_hint(SONDE_FAIL(SONDE_E_UNSUPPORTED, "'%s' wants to use '%.*s.%.*s' (byte %zu of its pickle)", m->path,
                                  (int)(n_module < 100 ? n_module : 100), module, (int)(n_name < 100 ? n_name : 100), name,
                                  m->op),
                       "sonde reads tensors and plain data, and runs nothing that a file brings");
}

/* Two lines. */
static sonde_status read_name(machine *m)
{
    const char *module = NULL, *name = NULL;
    size_t n_module = 0, n_name = 0;

    SONDE_TRY(take_line(&module, &n_module, m));
    SONDE_TRY(take_line(&name, &n_name, m));
    return make_name(m, module, n_module, name, n_name);
}

/* Two texts of the stack. */
static sonde_status stack_name(machine *m)
{
    const sondep_pickle_node *nodes = m->out->nodes;
    int32_t module, name;

    SONDE_TRY(look(&name, m, 0));
    SONDE_TRY(look(&module, m, 1));
    if (nodes[module].kind != SONDEP_PICKLE_TEXT || nodes[name].kind != SONDEP_PICKLE_TEXT)
        return damaged(m, "a name that is no text");
    m->stack.n -= 2;
    return make_name(m, nodes[module].text, nodes[module].n, nodes[name].text, nodes[name].n);
}

/* ---- what is built ------------------------------------------------------------------------------------------------ */

/* Whether a value is a list of `n` items at least, of which the first ones have these kinds. */
static bool has_items(const machine *m, int32_t list, const sondep_pickle_kind *kinds, int64_t n)
{
    const sondep_pickle_node *nodes = m->out->nodes, *node = &nodes[list];

    if (node->kind != SONDEP_PICKLE_LIST || node->n_items < n)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (nodes[node->items[i]].kind != kinds[i])
            return false;
    return true;
}

/* The arguments of a tensor become its items. */
static sonde_status make_tensor(machine *m, int32_t arguments)
{
    static const sondep_pickle_kind kinds[] = {SONDEP_PICKLE_STORAGE, SONDEP_PICKLE_WHOLE, SONDEP_PICKLE_LIST,
                                               SONDEP_PICKLE_LIST};
    sondep_pickle_node *node;
    int32_t self;

    if (!has_items(m, arguments, kinds, 4))
        return damaged(m, "a tensor that is none");
    SONDE_TRY(make(&node, m, SONDEP_PICKLE_TENSOR));
    self = m->stack.at[--m->stack.n];
    for (int i = 0; i < 4; i++)
        SONDE_TRY(push_number(&m->stack, m->out->nodes[arguments].items[i]));
    SONDE_TRY(give(m, self, m->stack.n - 4));
    return push_number(&m->stack, self);
}

/* name(arguments): nothing is called; the result that it would have is put in their place. */
static sonde_status reduce(machine *m)
{
    const sondep_pickle_node *nodes = m->out->nodes;
    static const sondep_pickle_kind tensor[] = {SONDEP_PICKLE_TENSOR};
    int32_t name, arguments;
    sondep_pickle_node *made;

    SONDE_TRY(look(&arguments, m, 0));
    SONDE_TRY(look(&name, m, 1));
    if (nodes[name].kind != SONDEP_PICKLE_NAME || nodes[arguments].kind != SONDEP_PICKLE_LIST)
        return damaged(m, "a call of what is no name");
    m->stack.n -= 2;
    switch (known[nodes[name].whole].use) {
    case USE_DICT:
        if (nodes[arguments].n_items > 0)
            return damaged(m, "a dictionary with arguments");
        return make(&made, m, SONDEP_PICKLE_DICT);
    case USE_TENSOR: return make_tensor(m, arguments);
    case USE_PARAMETER:
        if (!has_items(m, arguments, tensor, 1))
            return damaged(m, "a parameter that is no tensor");
        return push_number(&m->stack, nodes[arguments].items[0]);
    case USE_FIRST:
        if (nodes[arguments].n_items < 1)
            return damaged(m, "a call without arguments");
        return push_number(&m->stack, nodes[arguments].items[0]);
    default: return damaged(m, "a call of what cannot be called");
    }
}

/* ('storage', type, file, device, elements): a storage. */
static sonde_status make_storage(machine *m)
{
    static const sondep_pickle_kind kinds[] = {SONDEP_PICKLE_TEXT, SONDEP_PICKLE_NAME, SONDEP_PICKLE_TEXT,
                                               SONDEP_PICKLE_TEXT, SONDEP_PICKLE_WHOLE};
    sondep_pickle_node *made;
    const sondep_pickle_node *nodes;
    const int32_t *items;
    int32_t identity;

    SONDE_TRY(look(&identity, m, 0));
    if (!has_items(m, identity, kinds, 5))
        return damaged(m, "a storage that is none");
    items = m->out->nodes[identity].items;
    if (known[m->out->nodes[items[1]].whole].use != USE_STORAGE)
        return damaged(m, "a storage without a type");
    m->stack.n--;
    SONDE_TRY(make(&made, m, SONDEP_PICKLE_STORAGE));
    nodes = m->out->nodes;
    made->dtype = known[nodes[items[1]].whole].dtype;
    made->text = nodes[items[2]].text;
    made->n = nodes[items[2]].n;
    made->whole = nodes[items[4]].whole;
    return SONDE_OK;
}

/* What torch hangs on a dictionary besides its items (versions of modules) says nothing of tensors. */
static sonde_status build(machine *m)
{
    int32_t state, object;

    SONDE_TRY(look(&state, m, 0));
    SONDE_TRY(look(&object, m, 1));
    if (m->out->nodes[object].kind != SONDEP_PICKLE_DICT || m->out->nodes[state].kind != SONDEP_PICKLE_DICT)
        return damaged(m, "an object that is neither a tensor nor plain data");
    m->stack.n--;
    return SONDE_OK;
}

/* The values above the mark as a new list or dictionary. */
static sonde_status collect(machine *m, sondep_pickle_kind kind)
{
    sondep_pickle_node *made;
    int64_t first;
    int32_t self;

    SONDE_TRY(find_mark(&first, m));
    if (kind == SONDEP_PICKLE_DICT && (m->stack.n - first) % 2 != 0)
        return damaged(m, "a key without a value");
    SONDE_TRY(make(&made, m, kind));
    self = m->stack.at[--m->stack.n];
    SONDE_TRY(give(m, self, first));
    m->stack.n--; /* the mark */
    return push_number(&m->stack, self);
}

/* The n topmost values as a list. */
static sonde_status collect_few(machine *m, int64_t n)
{
    sondep_pickle_node *made;
    int32_t self, value;

    for (int64_t i = 0; i < n; i++)
        SONDE_TRY(look(&value, m, i));
    SONDE_TRY(make(&made, m, SONDEP_PICKLE_LIST));
    self = m->stack.at[--m->stack.n];
    SONDE_TRY(give(m, self, m->stack.n - n));
    return push_number(&m->stack, self);
}

/* The values from `first` of the stack on go into what lies below them. */
static sonde_status extend(machine *m, sondep_pickle_kind kind, int64_t first, bool has_mark)
{
    int64_t below = first - (has_mark ? 2 : 1);

    if (below < 0 || m->stack.at[below] == MARK || m->out->nodes[m->stack.at[below]].kind != kind)
        return damaged(m, "items of what has none");
    if (kind == SONDEP_PICKLE_DICT && (m->stack.n - first) % 2 != 0)
        return damaged(m, "a key without a value");
    for (int64_t i = first; i < m->stack.n; i++)
        if (m->stack.at[i] == MARK)
            return damaged(m, "a mark among items");
    SONDE_TRY(give(m, m->stack.at[below], first));
    m->stack.n = below + 1;
    return SONDE_OK;
}

/* The same, above the topmost mark. */
static sonde_status extend_marked(machine *m, sondep_pickle_kind kind)
{
    int64_t first;

    SONDE_TRY(find_mark(&first, m));
    return extend(m, kind, first, true);
}

/* ---- the memo ----------------------------------------------------------------------------------------------------- */

static sonde_status note(machine *m, uint64_t place)
{
    int32_t value;

    SONDE_TRY(look(&value, m, 0));
    if (place >= LARGEST_MEMO || place > m->n)
        return damaged(m, "a place of the memo that is too large");
    while (m->memo.n <= (int64_t)place)
        SONDE_TRY(push_number(&m->memo, -1));
    m->memo.at[place] = value;
    return SONDE_OK;
}

/* The same value again, not a copy of it: a list that is filled later is filled in both places. */
static sonde_status recall(machine *m, uint64_t place)
{
    if (place >= (uint64_t)m->memo.n || m->memo.at[place] < 0)
        return damaged(m, "a value that was not noted");
    return push_number(&m->stack, m->memo.at[place]);
}

/* ---- operations --------------------------------------------------------------------------------------------------- */

/* A mark and all above it are dropped. */
static sonde_status drop_marked(machine *m)
{
    int64_t first;

    SONDE_TRY(find_mark(&first, m));
    m->stack.n = first - 1;
    return SONDE_OK;
}

/* Operations with a number behind them: its bytes. */
static size_t argument_bytes(unsigned char op)
{
    switch (op) {
    case 'K':
    case 'h':
    case 'q':
    case 0x80:
    case 0x8a: return 1;
    case 'M': return 2;
    case 'J':
    case 'j':
    case 'r':
    case 0x8b: return 4;
    case 0x95: return 8;
    default: return 0;
    }
}

/* One operation that has its number, if it has one. */
static sonde_status operate(machine *m, unsigned char op, uint64_t x)
{
    sondep_pickle_node *made;

    switch (op) {
    case 0x80: /* PROTO */
    case 0x95: /* FRAME: nothing is buffered here */ return x > 5 && op == 0x80 ? damaged(m, "a newer protocol") : SONDE_OK;
    case '(': /* MARK */ return push_number(&m->stack, MARK);
    case '1': /* POP_MARK */ return drop_marked(m);
    case '0': /* POP */ return m->stack.n > 0 ? (m->stack.n--, SONDE_OK) : damaged(m, "a missing value");
    case 'N': /* NONE */ return make(&made, m, SONDEP_PICKLE_NONE);
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */ return make_whole(m, SONDEP_PICKLE_BOOL, op == 0x88);
    case 'K': /* BININT1 */
    case 'M': /* BININT2 */ return make_whole(m, SONDEP_PICKLE_WHOLE, (int64_t)x);
    case 'J': /* BININT */ return make_whole(m, SONDEP_PICKLE_WHOLE, (int32_t)(uint32_t)x);
    case 0x8a: /* LONG1 */
    case 0x8b: /* LONG4 */ return make_long(m, (size_t)x);
    case 'G': /* BINFLOAT */ return make_real(m);
    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING */
    case 'B': /* BINBYTES */ return make_text(m, 4);
    case 0x8c: /* SHORT_BINUNICODE */
    case 'U':  /* SHORT_BINSTRING */
    case 'C': /* SHORT_BINBYTES */ return make_text(m, 1);
    case 0x8d: /* BINUNICODE8 */
    case 0x8e: /* BINBYTES8 */ return make_text(m, 8);
    case ')': /* EMPTY_TUPLE */
    case ']': /* EMPTY_LIST */ return make(&made, m, SONDEP_PICKLE_LIST);
    case '}': /* EMPTY_DICT */ return make(&made, m, SONDEP_PICKLE_DICT);
    case 't': /* TUPLE */
    case 'l': /* LIST */ return collect(m, SONDEP_PICKLE_LIST);
    case 'd': /* DICT */ return collect(m, SONDEP_PICKLE_DICT);
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */ return collect_few(m, op - 0x84);
    case 'a': /* APPEND */ return extend(m, SONDEP_PICKLE_LIST, m->stack.n - 1, false);
    case 's': /* SETITEM */ return extend(m, SONDEP_PICKLE_DICT, m->stack.n - 2, false);
    case 'e': /* APPENDS */ return extend_marked(m, SONDEP_PICKLE_LIST);
    case 'u': /* SETITEMS */ return extend_marked(m, SONDEP_PICKLE_DICT);
    case 'c': /* GLOBAL */ return read_name(m);
    case 0x93: /* STACK_GLOBAL */ return stack_name(m);
    case 'R': /* REDUCE */ return reduce(m);
    case 'b': /* BUILD */ return build(m);
    case 'Q': /* BINPERSID */ return make_storage(m);
    case 'q': /* BINPUT */
    case 'r': /* LONG_BINPUT */ return note(m, x);
    case 0x94: /* MEMOIZE */ return note(m, (uint64_t)m->memo.n);
    case 'h': /* BINGET */
    case 'j': /* LONG_BINGET */ return recall(m, x);
    default: return damaged(m, "an operation that files of tensors do not have");
    }
}

/* All operations up to the one that ends it. */
static sonde_status run(machine *m)
{
    const unsigned char *op;
    uint64_t x;

    for (;;) {
        m->op = m->at;
        SONDE_TRY(take(&op, m, 1));
        if (*op == '.')
            break;
        SONDE_TRY(take_unsigned(&x, m, argument_bytes(*op)));
        SONDE_TRY(operate(m, *op, x));
    }
    return look(&m->out->root, m, 0);
}

/* Stack and memo are of no use behind the last operation; what was made is the caller's. */
sonde_status sondep_pickle_read(sondep_pickle *out, const char *bytes, size_t n, const char *path)
{
    machine m = {.bytes = (const unsigned char *)bytes, .n = n, .path = path, .out = out};
    sonde_status status;

    *out = (sondep_pickle){0};
    status = run(&m);
    sondep_free(m.stack.at);
    sondep_free(m.memo.at);
    return status;
}

/* Items are lists of numbers: nothing in them is to be followed, so that a value within itself is no trouble. */
void sondep_pickle_release(sondep_pickle *pickle)
{
    for (int64_t i = 0; i < pickle->n; i++)
        sondep_free(pickle->nodes[i].items);
    sondep_free(pickle->nodes);
    *pickle = (sondep_pickle){0};
}

/* The one list of types serves reading and writing. */
const char *sondep_pickle_storage(sonde_dtype dtype)
{
    for (int i = 0; i < N_KNOWN; i++)
        if (known[i].use == USE_STORAGE && known[i].dtype == dtype)
            return known[i].name;
    return NULL;
}
