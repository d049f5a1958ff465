/* vector/leaf.h - fills the leaf and the set of one instruction set.           floor 2: kernel
 *
 * Included last by x86/avx512.c, x86/avx2.c and arm/neon.c, which define LEAF_NAME ("avx512"), LEAF (the name of the
 * leaf) and BF16_TILER (how bf16 products are made). No guard: it may be included once for each leaf.
 */
const sondep_leaf LEAF = {
    .f32 = F32_TILER(LEAF_NAME, false),
    .bf16 = BF16_TILER,
    .finish = finish,
    .few_along_rows = few_along_rows,
    .few_along_columns = few_along_columns,
    .score_few = score_few,
    .mix_few = mix_few,
    .tile_of_scores = tile_of_scores,
    .tile_of_turned_scores = tile_of_turned_scores,
    .soften = soften,
    .unsoften = unsoften,
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
    .activate_backward = activate_backward,
    .norm_backward_row = norm_backward_row,
    .cross_entropy = cross_entropy,
    .sum_squares = sum_squares,
    .adamw = adamw,

    .sum_blocks = sum_blocks,
    .weigh = weigh,
    .add_listed = add_listed,
    .dot_listed = dot_listed,
    .subtract_and_find = subtract_and_find,
    .select_tile = select_tile,
    .cut_kept = cut_kept,
    .toy_rows = toy_rows,
    .toy_draw = toy_draw,
    .fma_flops = fma_flops,
};

#undef LEAF
#undef BF16_TILER
