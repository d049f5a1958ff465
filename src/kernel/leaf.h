/* kernel/leaf.h - the vector building blocks that the fast sets are made of.   floor 2: kernel
 *
 * A leaf is filled by the templates in kernel/vector/, compiled once for each instruction set; the loops that cut work
 * into tiles and hand them to threads (product.c, attention.c, rows.c) are compiled once and take a leaf. Everything in
 * a leaf runs on the calling thread.
 *
 * Panels: a strip of A holds up to `rows` rows of A, column by column; a strip of B holds `columns` columns of B, row by
 * row, filled up with zeros. A tile of C is the product of two strips, each element summed in the order of k.
 */
#ifndef SONDEP_KERNEL_LEAF_H
#define SONDEP_KERNEL_LEAF_H

#include "kernel/ref.h"

/* One precision of the tile product. k is counted in elements of the operands throughout. */
typedef struct sondep_tiler {
    const char *name;
    int rows, columns; /* of a tile */
    int element_bytes; /* of a packed element */
    int k_step;        /* packed k's are filled up with zeros to a multiple of it */
    bool rounds;       /* packing rounds to bf16 and stores floats */
    /* tile (rows x columns, row stride ld) = A B, or += with add; K > 0 */
    void (*tile)(float *tile, int64_t ld, const void *a, const void *b, int64_t K, int rows, bool add);
    void (*pack_a)(void *to, const sondep_matrix *a, int64_t row, int64_t k, int64_t K, int rows, bool rounds);
    void (*pack_b)(void *to, const sondep_matrix *b, int64_t k, int64_t K, int64_t column, int64_t columns, bool rounds);
} sondep_tiler;

/* What a row of an encoder has kept of its pre-activations so far: pairs in the order of features. */
typedef struct sondep_kept {
    int32_t *index;
    float *value;
    int64_t n, found; /* pairs; keys that were above their thresholds */
    float least;      /* a key must be above it: what k keys were not below when the list was cut last, else -inf */
    bool has_nan;     /* a key or a threshold was NaN: nothing is kept any more */
} sondep_kept;

typedef struct sondep_leaf {
    sondep_tiler f32, bf16;

    /* c = epilogue(tile) for rows x columns elements at (i, j) of the whole product; c, tile and all pointers of the
     * epilogue are those of the whole product's element (0, 0), except tile. tile may be c's own elements. */
    void (*finish)(float *c, int64_t ldc, const float *tile, int64_t ld_tile, int64_t rows, int64_t columns, int64_t i,
                   int64_t j, const sondep_epilogue *epilogue);

    /* sums (M x n, row stride n) over K k's from k on of columns j .. j + n of A B, B read where it lies: along its rows
     * (col_stride 1) or along its columns (row_stride 1). Bits are those of a tile over the same k's. */
    void (*few_along_rows)(float *sums, const float *a, int64_t lda, const sondep_matrix *b, int64_t M, int64_t k, int64_t K,
                           int64_t j, int64_t n, bool rounds);
    void (*few_along_columns)(float *sums, const float *a, int64_t lda, const sondep_matrix *b, int64_t M, int64_t k,
                              int64_t K, int64_t j, int64_t n, bool rounds);

    /* Attention of M queries that share n keys and values: scores (M x n) = Q K^T, Q (M, d) without gaps; sums (M x d) += P V. */
    void (*score_few)(float *scores, int64_t ld, const float *q, int64_t M, const float *keys, int64_t ldk, int64_t d,
                      int64_t n);
    void (*mix_few)(float *sums, int64_t ld, const float *p, int64_t ldp, int64_t M, const float *v, int64_t ldv, int64_t n,
                    int64_t d);

    /* tile (rows x columns, row stride ld) (+)= P B: P (rows, K) lies row by row, SONDEP_SCORE_STRIDE apart. */
    void (*tile_of_scores)(float *tile, int64_t ld, const float *p, const void *b, int64_t K, int rows, bool add);
    /* The same with P^T: element (i, k) is row k, column i of a block of scores. */
    void (*tile_of_turned_scores)(float *tile, int64_t ld, const float *p, const void *b, int64_t K, int rows, bool add);
    /* One row of a block of scores: x = exp(x scale - most), most the larger of the old one and the row's greatest; the
     * factor that brings what was summed before to the new `most` is returned, and the sum of x added to it in *sum. */
    float (*soften)(float *x, int64_t n, float scale, float *most, double *sum);
    /* The way back: p *= factor, dp = p (dp - along) scale; rows of blocks of scores: a vector may reach behind the end. */
    void (*unsoften)(float *p, float *dp, float factor, float along, float scale, int64_t n);
    float (*dot)(const float *a, const float *b, int64_t n);
    void (*add_scaled)(float *y, const float *x, float factor, int64_t n); /* y += factor x */
    void (*scale)(float *y, const float *x, float factor, int64_t n);      /* y = factor x */
    void (*softmax)(float *x, int64_t n);

    void (*activate)(float *out, const float *in, sondep_act act, int64_t n);
    void (*add)(float *out, const float *a, const float *b, int64_t n);
    void (*multiply)(float *out, const float *a, const float *b, int64_t n);
    void (*norm_row)(float *y, float *normalized, float *scale, const float *x, const float *w, const float *b, bool is_rms,
                     double eps, int64_t D);
    void (*gain_row)(float *y, const float *normalized, const float *w, const float *b, int64_t D);
    void (*rotate_head)(float *out, const float *x, const float *cos, const float *sin, int64_t half);
    void (*convert_row)(float *out, const void *x, sonde_dtype dtype, bool add, int64_t n);
    double (*log_sum_exp)(const float *x, int64_t n);
    int64_t (*find_nonfinite)(const float *x, int64_t n, bool allow_minus_infinity);

    void (*activate_backward)(float *dpre, float *dup, float *post, const float *dpost, const float *pre, const float *up,
                              sondep_act act, int64_t n);
    /* One row; dw and db (NULL: not wanted) are added to, before dx is written. */
    void (*norm_backward_row)(float *dx, float *dw, float *db, const float *dy, const float *x, const float *w, bool is_rms,
                              double eps, int64_t D, bool adds);
    double (*cross_entropy)(float *x, int64_t target, float weight, bool is_gradient, int64_t V); /* one row's */
    double (*sum_squares)(const float *x, int64_t n);
    void (*adamw)(float *w, float *m, float *v, const float *g, const sondep_adamw *a, int64_t n);

    /* Blocks of SONDEP_DRAW_BLOCK numbers, the last one shorter: the greatest of each, and the sum of
     * exp((x - greatest) factor) where sum is not NULL. False if a number is not finite. */
    bool (*sum_blocks)(float *most, float *sum, const float *x, float factor, int64_t n);
    /* y = exp((x - most) factor) */
    void (*weigh)(float *y, const float *x, float most, float factor, int64_t n);
    /* Rows of D numbers, ld apart, that a list names: y += sum_i factor[i] rows[index[i]];   out[i] = x . rows[index[i]] */
    void (*add_listed)(float *y, const float *rows, int64_t ld, const int32_t *index, const float *factor, int64_t n,
                       int64_t D);
    void (*dot_listed)(float *out, const float *x, const float *rows, int64_t ld, const int32_t *index, int64_t n,
                       int64_t D);

    int64_t (*subtract_and_find)(float *y, const float *x, float factor,
                                 int64_t n); /* y -= factor x; the first of the largest */

    /* Sums of `rows` rows by `columns` features, from feature s on, in a whole tile: with b[s] (if b is not NULL) they are
     * pre-activations. What may be among a row's k largest goes on its list, which is cut when it has more than `most` pairs;
     * keys above their thresholds are counted or not. keys: room for as many floats as a list has. */
    void (*select_tile)(sondep_kept *kept, float *keys, const float *tile, int64_t rows, int64_t columns, int64_t s,
                        const float *b, const sondep_selection *selection, int64_t most, bool counts);
    void (*cut_kept)(sondep_kept *row, float *keys, const sondep_selection *selection); /* a list of more than k, to k */
    double (*toy_rows)(const sondep_toy *t, const float *x, float *scratch);
    void (*toy_draw)(float *x, const sondep_toy_sets *sets, uint32_t *state);
    double (*fma_flops)(int64_t n);
} sondep_leaf;

/* Row stride of a block of scores: a power of two would put all rows into the same few sets of the cache. */
enum { SONDEP_SCORE_KEYS = 256, SONDEP_SCORE_STRIDE = SONDEP_SCORE_KEYS + 16 };

/* Numbers of a row of logits whose exponentials are summed at a time: as floats, so that it must not be long. */
enum { SONDEP_DRAW_BLOCK = 128 };

extern const sondep_leaf sondep_leaf_avx512, sondep_leaf_avx512bf16, sondep_leaf_avx2, sondep_leaf_neon;

/* ---- the loops over tiles and rows: as in kernel.h, with a leaf -------------------------------------------------------- */

void sondep_tiled_product(const sondep_leaf *leaf, float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b,
                          int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, sondep_precision precision,
                          void *scratch);
size_t sondep_tiled_product_scratch_bytes(const sondep_leaf *leaf, int64_t M, int64_t N, int64_t K);

/* The same by BLAS, called for one tile at a time on each thread; leaf may be NULL, the epilogue is the reference's then. */
void sondep_blas_product(const sondep_leaf *leaf, float *c, int64_t ldc, const sondep_matrix *a, const sondep_matrix *b,
                         int64_t M, int64_t N, int64_t K, const sondep_epilogue *epilogue, sondep_precision precision,
                         void *scratch);
size_t sondep_blas_scratch_bytes(int64_t M, int64_t N, int64_t K);
const char *sondep_blas_core(void); /* what BLAS says that it runs on ("Haswell"), or "" */

void sondep_tiled_attend(const sondep_leaf *leaf, const sondep_attention *sequences, int64_t n, void *scratch);
size_t sondep_tiled_attention_scratch_bytes(const sondep_leaf *leaf, int64_t d_head);
void sondep_tiled_attend_backward(const sondep_leaf *leaf, const sondep_attention_backward *sequences, int64_t n,
                                  void *scratch);
size_t sondep_tiled_attend_backward_scratch_bytes(const sondep_leaf *leaf, int64_t d_head, int64_t n_key);
void sondep_tiled_scores(const sondep_leaf *leaf, float *scores, const sondep_attention *sequence, void *scratch);
void sondep_tiled_mix(const sondep_leaf *leaf, const float *pattern, const sondep_attention *sequence, void *scratch);

void sondep_rows_softmax(const sondep_leaf *leaf, float *x, int64_t n_rows, int64_t n_columns);
void sondep_rows_norm(const sondep_leaf *leaf, float *y, float *normalized, float *scale, const float *x, const float *w,
                      const float *b, bool is_rms, double eps, int64_t N, int64_t D);
void sondep_rows_gain(const sondep_leaf *leaf, float *y, const float *normalized, const float *w, const float *b, int64_t N,
                      int64_t D);
void sondep_rows_activate(const sondep_leaf *leaf, float *out, const float *in, sondep_act act, int64_t n);
void sondep_rows_add(const sondep_leaf *leaf, float *out, const float *a, const float *b, int64_t n);
void sondep_rows_multiply(const sondep_leaf *leaf, float *out, const float *a, const float *b, int64_t n);
void sondep_rows_rotate(const sondep_leaf *leaf, float *out, const float *x, const int64_t *position, const float *cos,
                        const float *sin, int64_t N, int64_t n_heads, int64_t d, int64_t ld_out, int64_t ld_x);
void sondep_rows_gather(const sondep_leaf *leaf, float *out, const sondep_matrix *table, const int64_t *ids, bool add,
                        int64_t N, int64_t D);
void sondep_blocks_draw(const sondep_leaf *leaf, int32_t *ids, const float *logits, int64_t N, int64_t V,
                        const sondep_draw_rule *rule, const double *uniform, void *scratch);
size_t sondep_blocks_draw_scratch_bytes(int64_t V);
void sondep_tiled_encode(const sondep_leaf *leaf, const sondep_codes *out, int64_t *found, const float *x, int64_t ld_x,
                         const float *w, const float *b, const sondep_selection *selection, int64_t N, int64_t S, int64_t D,
                         sondep_precision precision, void *scratch);
size_t sondep_tiled_encode_scratch_bytes(const sondep_leaf *leaf, int64_t N, int64_t S, int64_t D, int64_t k);
void sondep_rows_decode(const sondep_leaf *leaf, float *y, const sondep_codes *codes, const float *w, const float *b,
                        const sondep_decode_backward *backward, int64_t N, int64_t D);
void sondep_rows_pursue(const sondep_leaf *leaf, const sondep_codes *out, const sondep_pursuit *p, int64_t N, int64_t S,
                        int64_t D);
void sondep_blocks_list_columns(const sondep_columns *out, const sondep_codes *codes, int64_t N, int64_t S, void *scratch);
size_t sondep_blocks_list_columns_scratch_bytes(int64_t S);
void sondep_tasks_feature_step(const sondep_leaf *leaf, const sondep_features *f, const sondep_feature_term *terms,
                               int64_t n_terms, const sondep_adamw *a, int64_t S, int64_t D, int64_t D_out, void *scratch);
double sondep_tasks_feature_squares(const sondep_leaf *leaf, const sondep_features *f, const sondep_feature_term *terms,
                                    int64_t n_terms, int64_t S, int64_t D, int64_t D_out, void *scratch);
size_t sondep_tasks_feature_scratch_bytes(int64_t D, int64_t D_out);
int64_t sondep_rows_find_nonfinite(const sondep_leaf *leaf, const float *x, int64_t n, bool allow_minus_infinity);

void sondep_rows_activate_backward(const sondep_leaf *leaf, float *dpre, float *dup, float *post, const float *dpost,
                                   const float *pre, const float *up, sondep_act act, int64_t n);
void sondep_rows_norm_backward(const sondep_leaf *leaf, float *dx, float *dw, float *db, const float *dy, const float *x,
                               const float *w, bool is_rms, double eps, int64_t N, int64_t D, bool adds, void *scratch);
size_t sondep_rows_norm_backward_scratch_bytes(int64_t N, int64_t D);
void sondep_rows_add_column_sums(const sondep_leaf *leaf, float *out, const float *x, int64_t ld, int64_t N, int64_t D,
                                 void *scratch);
void sondep_rows_cross_entropy(const sondep_leaf *leaf, double *loss, float *x, int64_t ld, const int64_t *target,
                               float weight, bool is_gradient, int64_t N, int64_t V);
void sondep_rows_scatter_add(const sondep_leaf *leaf, float *table, const float *x, const int64_t *ids, int64_t N,
                             int64_t D);
double sondep_rows_sum_squares(const sondep_leaf *leaf, const float *x, int64_t n);
void sondep_rows_adamw(const sondep_leaf *leaf, float *w, float *m, float *v, const float *g, const sondep_adamw *a,
                       int64_t n);

#endif
