/* cli/act.h - what the parts of `sonde act` share.                              floor 10: cli
 *
 * Texts become documents (their ids, and the positions that were asked for); the forward passes go over batches of them, and
 * what the hooks see goes straight to the file and into running sums: no activation is kept in memory.
 */
#ifndef CLI_ACT_H
#define CLI_ACT_H

#include "cli.h"

/* One document: a stretch of act->ids, and one of act->positions if positions were chosen. */
typedef struct act_document {
    int64_t first_id, n;
    int64_t first_position, n_positions;
    bool has_bos;
} act_document;

/* Sums over what one hook gave, in double; -inf of masked scores is left out. */
typedef struct act_sums {
    double n, sum, squares, smallest, largest;
} act_sums;

/* The likeliest next tokens behind one position. */
typedef struct act_next {
    int64_t document, position;
    int32_t *ids;  /* (k) */
    double *logit; /* (k) */
    double log_sum_exp;
} act_next;

typedef struct act act;

enum { ACT_PREVIEW = 6, ACT_SHOWN = 24, ACT_NAME = 128 };

/* One hooked point, or its gradient, and its tensor in the file. */
typedef struct act_slot {
    act *act;
    const sonde_hook_point *point;
    char name[ACT_NAME]; /* of the tensor: the point's, with _grad behind it for its gradient */
    bool is_gradient;
    int64_t index;      /* of the tensor in the file */
    sonde_tensor shape; /* as it is stored, without data */
    float fill;         /* what stands where there is no token: 0, -inf in attention scores */
    act_sums sums;
    float *preview; /* (n_shown, ACT_PREVIEW) first values of the first positions */
    double *norm;   /* (n_shown) L2 norm there */
} act_slot;

/* What --grad asks for: whose derivative, and its value over all texts. */
typedef struct act_goal {
    bool is_on;
    sonde_objective objective;
    int64_t n_predictions; /* tokens that predict another, over all texts: the mean loss divides by them */
    double value;
} act_goal;

struct act {
    cli_model m;
    /* documents */
    int32_t *ids;
    int64_t *positions;
    act_document *documents;
    int64_t n_ids, ids_capacity, n_positions, positions_capacity, n_documents, documents_capacity;
    int64_t T, P; /* longest document, most chosen positions */
    bool has_chosen;
    uint64_t hash; /* of all ids and lengths */
    /* what is computed */
    act_slot *slots;
    int64_t n_slots;
    bool wants_logits, wants_sums;
    int64_t top;
    sonde_dtype dtype;
    act_goal goal;
    /* where it goes */
    sonde_sink *sink; /* NULL without -o */
    int64_t logits_index;
    act_sums logits_sums;
    void *converted; /* scratch of one put */
    int64_t converted_capacity;
    act_next *next;
    int64_t n_next, next_capacity;
    /* the pass under way */
    int64_t first_document, row_document, row_position; /* document and position of the next row of logits */
    int64_t batch_T;
    bool *chosen_rows; /* (documents of the pass, batch_T) rows that logits are wanted of; NULL: all */
};

/* How the command line names positions: one of them, or none (then all are taken). */
typedef struct act_choice {
    const char *token, *pos;
    const char *word; /* a number, as text: unset is NULL */
} act_choice;

/* Reads all documents and, of each, the chosen positions. Errors: SONDE_E_RANGE (a position outside a document; nothing to
 * run), those of the source. */
sonde_status act_read_documents(act *a, const cli_call *call, const act_choice *choice);

/* Positions of document d that are stored, as an array; all of them where none were chosen (then the array is NULL). */
const int64_t *act_chosen(const act *a, int64_t d, int64_t *n);

/* Reads --grad, and checks it against the documents: tokens that the vocabulary has, a position that each text has.
 * `text` NULL: no gradients. Errors: SONDE_E_ARG, SONDE_E_NOTFOUND, SONDE_E_RANGE. */
sonde_status act_read_goal(act *a, const char *text, int64_t position);

/* A pass forward and back over documents `first` .. of a batch. */
sonde_status act_run_back(act *a, sonde_run *run, const int32_t *tokens, const int64_t *lengths, int64_t first, int64_t B,
                          int64_t T);

/* "loss", or "logit |a| - |b| at position -1", without its value. Owns: *out is the caller's (free). */
sonde_status act_describe_goal(char **out, const act *a);
json_t *act_goal_json(const act *a);

/* The hook of every slot: sums, preview, file. */
sonde_status act_on_hook(const sonde_hook_event *event, sonde_tensor *x, void *ctx);

/* Rows of logits as they are computed. */
sonde_status act_on_logits(const float *logits, int64_t first_row, int64_t n_rows, int64_t n_vocab, void *ctx);

/* Remembers the likeliest tokens of one row of logits. */
sonde_status act_add_next(act *a, int64_t document, int64_t position, const float *logits, int64_t n_vocab);

/* The file: its tensors declared, ids, lengths and positions written. */
sonde_status act_open_sink(act *a, const char *path);

/* What was seen, on stdout: as tables or as JSON. */
sonde_status act_print(const act *a, const char *path);

/* Whether BOS stands in front: "true", "false", or "mixed". */
const char *act_bos(const act *a);

#endif
