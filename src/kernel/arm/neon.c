/* arm/neon.c - the building blocks with Advanced SIMD: tiles of 8 x 12.        floor 2: kernel */
#if defined(__aarch64__)
#include "kernel/vector/neon.h"

#include "kernel/vector/math.h"
#include "kernel/vector/product.h"
#include "kernel/vector/rows.h"

#include "kernel/vector/codes.h"
#include "kernel/vector/gradients.h"
#include "kernel/vector/toy.h"

#define LEAF_NAME "neon"
#define LEAF sondep_leaf_neon
#define BF16_TILER F32_TILER("neon, rounded floats", true)
#include "kernel/vector/leaf.h"
#else
typedef int sondep_no_neon; /* a file needs a declaration */
#endif
