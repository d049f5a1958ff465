/* x86/avx512.c - the building blocks with AVX-512: tiles of 14 x 32.           floor 2: kernel */
#if defined(__x86_64__)
#include "kernel/vector/avx512.h"

#include "kernel/vector/math.h"
#include "kernel/vector/product.h"
#include "kernel/vector/rows.h"

#define LEAF_NAME "avx512"
#define LEAF sondep_leaf_avx512
#define BF16_TILER F32_TILER(true)
#include "kernel/vector/leaf.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int sondep_no_avx512; /* a file needs a declaration */
#endif
