/* x86/avx512.c - the building blocks with AVX-512: tiles of 14 x 32.           floor 2: kernel */
#if defined(__x86_64__)
#include "kernel/vector/avx512.h"

#include "kernel/vector/math.h"
#include "kernel/vector/product.h"
#include "kernel/vector/rows.h"

#include "kernel/vector/codes.h"
#include "kernel/vector/gradients.h"
#include "kernel/vector/toy.h"

#define LEAF_NAME "avx512"
#define LEAF sondep_leaf_avx512
#define BF16_TILER F32_TILER("avx512, rounded floats", true)
#include "kernel/vector/leaf.h"

/* The same for processors that multiply bf16 pairs. */
#include "kernel/x86/avx512bf16.h"
/* clang-format off */
#define BF16_TILER                                                                                            \
    { .name = "avx512-bf16", .rows = TILE_ROWS, .columns = TILE_COLUMNS, .element_bytes = 2, .k_step = 2,     \
      .rounds = true, .tile = sondep_tile_bf16, .pack_a = sondep_pack_a_bf16, .pack_b = sondep_pack_b_bf16 }
/* clang-format on */
#define LEAF sondep_leaf_avx512bf16
#include "kernel/vector/leaf.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int sondep_no_avx512; /* a file needs a declaration */
#endif
