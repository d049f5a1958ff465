/* linear.c - y = x W + b, forward and backward, as products.                   floor 4: layer
 *
 * The products take operands with any strides, so a transposed matrix is the same memory read with its strides exchanged.
 * Only what is written must lie along its rows: a weight that is stored (out, in) gets its gradient as dy^T x, the other way
 * round than one that is stored (in, out).
 */
#include "layer/layer.h"

/* The same memory, read as its transpose. */
static sondep_matrix transposed(const sondep_matrix *m)
{
    return (sondep_matrix){m->data, m->dtype, m->col_stride, m->row_stride};
}

sondep_linear sondep_linear_columns(const sondep_linear *whole, int64_t first, int64_t n)
{
    sondep_linear part = *whole;
    size_t step = sonde_dtype_bytes(whole->w.dtype) * (size_t)whole->w.col_stride;

    /* Columns are col_stride apart, in whichever layout the matrix has. */
    part.w.data = (const char *)whole->w.data + (size_t)first * step;
    part.b = whole->b ? whole->b + first : NULL;
    part.n_out = n;
    return part;
}

void sondep_linear_forward(float *out, int64_t ld_out, const float *in, int64_t ld_in, const sondep_linear *l, int64_t N,
                           sondep_epilogue epilogue, const sondep_workbench *bench)
{
    sondep_matrix a = {in, SONDE_F32, ld_in, 1};
    epilogue.bias = l->b;
    sondep_product(out, ld_out, &a, &l->w, N, l->n_out, l->n_in, &epilogue, bench->precision, bench->scratch);
}

void sondep_linear_backward_input(float *dx, int64_t ld_dx, const float *dy, int64_t ld_dy, const sondep_linear *l,
                                  int64_t N, bool adds, const sondep_workbench *bench)
{
    /* Several layers may read one input: their gradients meet in dx. */
    sondep_matrix a = {dy, SONDE_F32, ld_dy, 1}, w = transposed(&l->w);
    sondep_epilogue epilogue = {.residual = adds ? dx : NULL, .ld_residual = ld_dx};
    sondep_product(dx, ld_dx, &a, &w, N, l->n_in, l->n_out, &epilogue, bench->precision, bench->scratch);
}

void sondep_linear_backward_weights(float *dw, float *db, const float *dy, int64_t ld_dy, const float *x, int64_t ld_x,
                                    const sondep_linear *l, int64_t N, const sondep_workbench *bench)
{
    bool in_out = l->w.col_stride == 1;
    int64_t ld = in_out ? l->w.row_stride : l->w.col_stride;
    sondep_matrix inputs = {x, SONDE_F32, ld_x, 1}, outputs = {dy, SONDE_F32, ld_dy, 1};
    sondep_matrix a = transposed(in_out ? &inputs : &outputs);
    sondep_epilogue epilogue = {.residual = dw, .ld_residual = ld};

    /* The gradient is added up in place: several batches may share one step. */
    sondep_product(dw, ld, &a, in_out ? &outputs : &inputs, in_out ? l->n_in : l->n_out, in_out ? l->n_out : l->n_in, N,
                   &epilogue, bench->precision, bench->scratch);
    if (db)
        sondep_add_column_sums(db, dy, ld_dy, N, l->n_out, bench->scratch);
}

size_t sondep_linear_scratch_bytes(int64_t n_in, int64_t n_out, int64_t N)
{
    /* Forward, back to the input, to a weight of either layout, and the sums of a bias. */
    size_t sizes[] = {sondep_product_scratch_bytes(N, n_out, n_in), sondep_product_scratch_bytes(N, n_in, n_out),
                      sondep_product_scratch_bytes(n_in, n_out, N), sondep_product_scratch_bytes(n_out, n_in, N),
                      sondep_norm_backward_scratch_bytes(N, n_out)};
    size_t most = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        most = sizes[i] > most ? sizes[i] : most;
    return most;
}
