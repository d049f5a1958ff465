/* vector/leaf.h - fills the leaf and the set of one instruction set.           floor 2: kernel
 *
 * Included last by x86/avx512.c, x86/avx2.c and arm/neon.c, which define LEAF_NAME ("avx512"), LEAF (the name of the
 * leaf), SET (that of the set) and BF16_TILER (how bf16 products are made).
 */
#ifndef SONDEP_KERNEL_VECTOR_LEAF_H
#define SONDEP_KERNEL_VECTOR_LEAF_H

/* clang-format off */
#define F32_TILER(rounding)                                                                                   \
    { .name = LEAF_NAME, .rows = TILE_ROWS, .columns = TILE_COLUMNS, .element_bytes = 4, .k_step = 1,         \
      .rounds = (rounding), .tile = tile_f32, .pack_a = pack_a_f32, .pack_b = pack_b_f32 }
/* clang-format on */

const sondep_leaf LEAF = {
    .f32 = F32_TILER(false),
    .bf16 = BF16_TILER,
    .finish = finish,
    .few_along_rows = few_along_rows,
    .few_along_columns = few_along_columns,
    .tile_of_scores = tile_of_scores,
    .soften = soften,
    .dot = dot,
    .add_scaled = add_scaled,
    .scale = scale,
    .softmax = softmax,
    .activate = activate,
    .add = add,
    .multiply = multiply,
    .norm_row = norm_row,
    .gain_row = gain_row,
    .rotate_head = rotate_head,
    .convert_row = convert_row,
    .log_sum_exp = log_sum_exp,
    .find_nonfinite = find_nonfinite,
    .fma_flops = fma_flops,
};

#endif
