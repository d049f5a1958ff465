/* x86/avx2.c - the building blocks with AVX2: tiles of 6 x 16.               floor 2: kernel */
#if defined(__x86_64__)
#include "kernel/vector/avx2.h"

#include "kernel/vector/math.h"
#include "kernel/vector/product.h"
#include "kernel/vector/rows.h"

#include "kernel/vector/codes.h"
#include "kernel/vector/gradients.h"
#include "kernel/vector/toy.h"

#define LEAF_NAME "avx2"
#define LEAF sondep_leaf_avx2
#define BF16_TILER F32_TILER("avx2, rounded floats", true)
#include "kernel/vector/leaf.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int sondep_no_avx2; /* a file needs a declaration */
#endif
