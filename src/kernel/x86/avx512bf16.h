/* x86/avx512bf16.h - the parts of a tiler for bf16 pairs; see leaf.h.          floor 2: kernel */
#ifndef SONDEP_KERNEL_AVX512BF16_H
#define SONDEP_KERNEL_AVX512BF16_H

#include "kernel/kernel.h"

void sondep_tile_bf16(float *tile, int64_t ld, const void *a, const void *b, int64_t K, int rows, bool add);
void sondep_pack_a_bf16(void *to, const sondep_matrix *a, int64_t row, int64_t k, int64_t K, int rows, bool rounds);
void sondep_pack_b_bf16(void *to, const sondep_matrix *b, int64_t k, int64_t K, int64_t column, int64_t columns,
                        bool rounds);

#endif
