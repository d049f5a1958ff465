/* bench/bench_kernel.c - speed of the kernels, as a share of the machine's measured peak.
 *
 *   bench_kernel [KERNEL] [--cpu] [--only PART]
 *
 * KERNEL as in SONDE_KERNEL; --cpu: one thread, by its processor time, for a machine that others use as well; PART is one
 * of attention, backward (of attention), activations, rows (of the gradients, with the loss and AdamW), training (the
 * products of it), products.
 *
 * Shapes are those of GPT-2-small, and of small models in training. Every row is checked against the reference before its
 * speed is printed; a row that is wrong stops the program. `best` is the fastest repeat; `blas` the ratio to BLAS on the same
 * tiles.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernel/ref.h"

enum { MOST_REPEATS = 200, LEAST_REPEATS = 7 };
static const double seconds_each = 0.5;
static bool by_cpu;
static const char *kernel = "auto", *only;
static double peak;

static double now(void)
{
    struct timespec t;
    clock_gettime(by_cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_kernel: %s\n", what);
    exit(1);
}

static void choose(const char *name)
{
    if (sondep_kernel_choose(name) != SONDE_OK)
        fail(sonde_last_error()->message);
}

static void *block(size_t bytes)
{
    void *p;
    if (sondep_map_block(&p, bytes + 64) != SONDE_OK)
        fail("out of memory");
    return p;
}

static float *numbers(int64_t n, uint32_t seed)
{
    float *x = block((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    return x;
}

/* ---- timing ---------------------------------------------------------------------------------------------------------- */

typedef struct timing {
    double median, best;
} timing;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static timing measure(void (*run)(void *ctx), void *ctx)
{
    double t[MOST_REPEATS], total = 0.0;
    int n = 0;

    run(ctx);
    while (n < LEAST_REPEATS || (total < seconds_each && n < MOST_REPEATS)) {
        double start = now();
        run(ctx);
        t[n] = now() - start;
        total += t[n++];
    }
    qsort(t, (size_t)n, sizeof *t, ascending);
    return (timing){t[n / 2], t[0]};
}

static double measure_peak(void)
{
    double best = 0.0;
    for (int i = 0; i < 10; i++)
        best = fmax(best, sondep_measure_peak_gflops());
    return best;
}

/* ---- products -------------------------------------------------------------------------------------------------------- */

typedef struct product_case {
    int64_t M, N, K;
    float *c;
    sondep_matrix a, b;
    sondep_epilogue epilogue;
    void *scratch;
} product_case;

static void run_product(void *ctx)
{
    product_case *p = ctx;
    sondep_product(p->c, p->N, &p->a, &p->b, p->M, p->N, p->K, &p->epilogue, SONDEP_F32, p->scratch);
}

/* A corner, the middle and the last columns of a few rows against the reference. */
static void check_product(const product_case *p)
{
    enum { WIDTH = 24 };
    const int64_t rows[] = {0, p->M / 2, p->M - 1}, columns[] = {0, p->N / 2, p->N - WIDTH};

    for (int r = 0; r < 3; r++) {
        for (int k = 0; k < 3; k++) {
            int64_t size = p->b.dtype == SONDE_F32 ? 4 : 2;
            sondep_matrix a = p->a, b = p->b;
            float want[WIDTH];
            a.data = (const float *)a.data + rows[r] * a.row_stride;
            b.data = (const char *)b.data + columns[k] * b.col_stride * size;
            sondep_product_ref(want, WIDTH, &a, &b, 1, WIDTH, p->K, &p->epilogue, SONDEP_F32, NULL);
            for (int j = 0; j < WIDTH; j++)
                if (!(fabsf(want[j] - p->c[rows[r] * p->N + columns[k] + j]) <= 4e-6f * sqrtf((float)p->K)))
                    fail("the product is wrong: no speed is printed");
        }
    }
}

/* How the factors lie: B (K, N) by rows or by columns; or, for the gradient of weights, A (M, K) by columns and B by rows. */
typedef enum layout { ROWS, COLUMNS, WEIGHTS } layout;

static void bench_product(int64_t M, int64_t N, int64_t K, layout how, sonde_dtype dtype, sondep_act act)
{
    static const char *const names[] = {"[K,N]", "[N,K]", "A [K,M]"};
    product_case p = {.M = M, .N = N, .K = K, .epilogue.act = act};
    float *a = numbers(M * K, 1), *b = numbers(N * K, 2);
    double flops = 2.0 * (double)M * (double)N * (double)K, bytes = (double)sonde_dtype_bytes(dtype) * (double)(N * K);
    timing ours, blas = {0.0, 0.0};
    size_t scratch_bytes;

    for (int64_t i = 0; i < N * K && dtype != SONDE_F32; i++) { /* in place, front to back */
        float x = b[i];
        sonde_convert_from_f32((char *)b + i * 2, dtype, &x, 1);
    }
    p.a = (sondep_matrix){a, SONDE_F32, how == WEIGHTS ? 1 : K, how == WEIGHTS ? M : 1};
    p.b = (sondep_matrix){b, dtype, how == COLUMNS ? 1 : N, how == COLUMNS ? K : 1};
    p.c = block((size_t)(M * N) * sizeof *p.c);
    scratch_bytes = sondep_product_scratch_bytes(M, N, K);
    choose("blas");
    scratch_bytes += sondep_product_scratch_bytes(M, N, K);
    p.scratch = block(scratch_bytes);
    if (M >= 64)
        blas = measure(run_product, &p);
    choose(kernel);
    run_product(&p);
    check_product(&p);
    ours = measure(run_product, &p);
    printf("product %5lld x %5lld x %4lld %-7s %-4s act %d  %6.1f GFLOP/s %5.1f %% (best %5.1f %%)  %5.1f GB/s of B",
           (long long)M, (long long)N, (long long)K, names[how], sonde_dtype_name(dtype), (int)act,
           flops / ours.median * 1e-9, flops / ours.median * 1e-7 / peak, flops / ours.best * 1e-7 / peak,
           bytes / ours.median * 1e-9);
    printf(M >= 64 ? "  blas %.2f\n" : "\n", blas.median / ours.median);
    fflush(stdout);
    sondep_unmap_block(a, (size_t)(M * K) * 4 + 64), sondep_unmap_block(b, (size_t)(N * K) * 4 + 64);
    sondep_unmap_block(p.c, (size_t)(M * N) * 4 + 64), sondep_unmap_block(p.scratch, scratch_bytes + 64);
}

/* The products of training small models on 4096 tokens: forward, gradients of inputs, gradients of weights. */
static void bench_training(void)
{
    static const int64_t shapes[][2] = {{192, 576}, {192, 512}, {512, 192}, {256, 768}, {256, 1024}, {1024, 256}};

    for (int s = 0; s < 6; s++) {
        bench_product(4096, shapes[s][1], shapes[s][0], ROWS, SONDE_F32, SONDEP_ACT_LINEAR);
        bench_product(4096, shapes[s][0], shapes[s][1], COLUMNS, SONDE_F32, SONDEP_ACT_LINEAR);
        bench_product(shapes[s][0], shapes[s][1], 4096, WEIGHTS, SONDE_F32, SONDEP_ACT_LINEAR);
    }
    bench_product(256, 8192, 4096, WEIGHTS, SONDE_F32, SONDEP_ACT_LINEAR);
    /* A block of logits: forward, gradients of its input and of the unembedding. */
    for (int s = 0; s < 2; s++) {
        int64_t d = s ? 256 : 128, vocabulary = s ? 8192 : 50304;
        bench_product(256, vocabulary, d, COLUMNS, SONDE_F32, SONDEP_ACT_LINEAR);
        bench_product(256, d, vocabulary, ROWS, SONDE_F32, SONDEP_ACT_LINEAR);
        bench_product(vocabulary, d, 256, WEIGHTS, SONDE_F32, SONDEP_ACT_LINEAR);
    }
    bench_product(512, 1536, 16384, WEIGHTS, SONDE_F32, SONDEP_ACT_LINEAR);
}

static void bench_products(void)
{
    static const int64_t shapes[][2] = {{2304, 768}, {768, 768}, {3072, 768}, {768, 3072}, {50257, 768}};
    static const int64_t rows[] = {1, 4, 8, 16, 64, 128, 256, 512, 1024};

    for (int s = 0; s < 5; s++)
        for (int m = 0; m < 9; m++)
            for (int turned = 0; turned < 2; turned++)
                bench_product(rows[m], shapes[s][0], shapes[s][1], (layout)turned, SONDE_F32, SONDEP_ACT_LINEAR);
    bench_product(1, 3072, 768, COLUMNS, SONDE_BF16, SONDEP_ACT_LINEAR);
    bench_product(1024, 3072, 768, COLUMNS, SONDE_BF16, SONDEP_ACT_LINEAR);
    bench_product(1024, 3072, 768, ROWS, SONDE_F16, SONDEP_ACT_LINEAR);
    bench_product(1024, 3072, 768, ROWS, SONDE_F32, SONDEP_ACT_GELU_TANH);
    bench_product(1024, 3072, 768, ROWS, SONDE_F32, SONDEP_ACT_GELU);
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

typedef struct attention_case {
    sondep_attention sequences[8];
    int64_t n;
    void *scratch;
} attention_case;

static void run_attention(void *ctx)
{
    attention_case *p = ctx;
    sondep_attend(p->sequences, p->n, p->scratch);
}

static void bench_attention(int64_t n, int64_t n_query, int64_t n_key, int64_t n_heads, int64_t n_kv_heads, int64_t d)
{
    attention_case p = {.n = n};
    int64_t width = n_heads * d, kv_width = n_kv_heads * d;
    float *q = numbers(n * n_query * width, 1), *k = numbers(n * n_key * kv_width, 2), *v = numbers(n * n_key * kv_width, 3);
    float *z = numbers(n * n_query * width, 4), *want = numbers(n_query * width, 5);
    double pairs = (double)n_query * ((double)n_key - 0.5 * (double)(n_query - 1)), flops;
    sondep_attention first;
    timing t;

    for (int64_t i = 0; i < n; i++)
        p.sequences[i] = (sondep_attention){q + i * n_query * width,
                                            k + i * n_key * kv_width,
                                            v + i * n_key * kv_width,
                                            z + i * n_query * width,
                                            width,
                                            kv_width,
                                            kv_width,
                                            width,
                                            n_query,
                                            n_key,
                                            n_heads,
                                            n_kv_heads,
                                            d,
                                            1.0f / sqrtf((float)d)};
    p.scratch = block(sondep_attention_scratch_bytes(d));
    first = p.sequences[0];
    first.z = want;
    sondep_attend_ref(&first, 1, NULL);
    run_attention(&p);
    for (int64_t i = 0; i < n_query * width; i++)
        if (!(fabsf(want[i] - z[i]) <= 1e-5f))
            fail("attention is wrong: no speed is printed");
    t = measure(run_attention, &p);
    flops = 4.0 * pairs * (double)(n * n_heads * d);
    printf(
        "attention %lld x %lld queries, %lld keys, %lld/%lld heads of %lld: %7.3f ms (best %7.3f)  %5.1f GFLOP/s %5.1f %%\n",
        (long long)n, (long long)n_query, (long long)n_key, (long long)n_heads, (long long)n_kv_heads, (long long)d,
        t.median * 1e3, t.best * 1e3, flops / t.median * 1e-9, flops / t.median * 1e-7 / peak);
    fflush(stdout);
}

/* The gradients, for sequences of the given lengths; the first one is checked. */
typedef struct backward_case {
    sondep_attention_backward sequences[512];
    int64_t n;
    void *scratch;
} backward_case;

static void run_backward(void *ctx)
{
    backward_case *p = ctx;
    sondep_attend_backward(p->sequences, p->n, p->scratch);
}

static sondep_attention_backward make_backward(int64_t T, int64_t n_heads, int64_t n_kv_heads, int64_t d)
{
    int64_t width = n_heads * d, kv_width = n_kv_heads * d;
    sondep_attention_backward b = {{numbers(T * width, 1), numbers(T * kv_width, 2), numbers(T * kv_width, 3),
                                    numbers(T * width, 4), width, kv_width, kv_width, width, T, T, n_heads, n_kv_heads, d,
                                    1.0f / sqrtf((float)d)},
                                   numbers(T * width, 5),
                                   numbers(T * width, 6),
                                   numbers(T * kv_width, 7),
                                   numbers(T * kv_width, 8),
                                   width,
                                   width,
                                   kv_width,
                                   kv_width};
    sondep_attend(&b.forward, 1, block(sondep_attention_scratch_bytes(d)));
    return b;
}

static void check_backward(const sondep_attention_backward *b)
{
    const sondep_attention *s = &b->forward;
    sondep_attention_backward want = make_backward(s->n_query, s->n_heads, s->n_kv_heads, s->d_head);

    sondep_attend_backward_ref(&want, 1, block(sondep_attend_backward_scratch_bytes_ref(s->d_head, s->n_key)));
    for (int64_t i = 0; i < s->n_query * b->ld_dq; i++)
        if (!(fabsf(want.dq[i] - b->dq[i]) <= 1e-5f))
            fail("dq is wrong: no speed is printed");
    for (int64_t i = 0; i < s->n_key * b->ld_dk; i++)
        if (!(fabsf(want.dk[i] - b->dk[i]) <= 1e-5f && fabsf(want.dv[i] - b->dv[i]) <= 1e-5f))
            fail("dk or dv is wrong: no speed is printed");
}

/* n sequences of `shortest` to `longest` tokens; flops are those of five products over the pairs that are seen. */
static void bench_backward(int64_t n, int64_t shortest, int64_t longest, int64_t n_heads, int64_t n_kv_heads, int64_t d)
{
    static backward_case p;
    double flops = 0.0;
    timing t;

    p.n = n;
    for (int64_t i = 0; i < n; i++) {
        int64_t T = n == 1 ? longest : shortest + i * 7919 % n * (longest - shortest) / (n - 1);
        p.sequences[i] = make_backward(T, n_heads, n_kv_heads, d);
        flops += 10.0 * 0.5 * (double)T * (double)(T + 1) * (double)(n_heads * d);
    }
    p.scratch = block(sondep_attend_backward_scratch_bytes(d, longest));
    run_backward(&p);
    check_backward(&p.sequences[0]);
    t = measure(run_backward, &p);
    printf(
        "attention back %3lld x %4lld..%4lld, %lld/%lld heads of %3lld: %7.3f ms (best %7.3f)  %5.1f GFLOP/s %5.1f %% (best "
        "%5.1f %%)\n",
        (long long)n, (long long)shortest, (long long)longest, (long long)n_heads, (long long)n_kv_heads, (long long)d,
        t.median * 1e3, t.best * 1e3, flops / t.median * 1e-9, flops / t.median * 1e-7 / peak, flops / t.best * 1e-7 / peak);
    fflush(stdout);
}

static void bench_backwards(void)
{
    bench_backward(8, 256, 256, 8, 8, 32);
    bench_backward(8, 256, 256, 8, 8, 64);
    bench_backward(16, 128, 128, 8, 8, 32);
    bench_backward(4, 512, 512, 8, 8, 32);
    bench_backward(1, 1024, 1024, 12, 12, 64);
    bench_backward(1, 1024, 1024, 32, 8, 64);
    bench_backward(1, 2048, 2048, 8, 8, 128);
    bench_backward(30, 50, 250, 8, 8, 32);
    bench_backward(300, 1, 20, 8, 8, 32);
    bench_backward(128, 16, 48, 6, 6, 16);
}

/* ---- activation functions ---------------------------------------------------------------------------------------------- */

typedef struct act_case {
    float *in, *out;
    int64_t n;
    sondep_act act;
} act_case;

static void run_act(void *ctx)
{
    act_case *p = ctx;
    sondep_activate(p->out, p->in, p->act, p->n);
}

static void bench_activations(void)
{
    act_case p = {.n = 1 << 18};
    p.in = numbers(p.n, 1);
    p.out = numbers(p.n, 2);
    for (int act = 0; act < SONDEP_N_ACTS; act++) {
        p.act = (sondep_act)act;
        run_act(&p);
        for (int64_t i = 0; i < p.n; i++)
            if (!(fabs(p.out[i] - sondep_act_ref(p.act, p.in[i])) <= 1e-6))
                fail("an activation function is wrong: no speed is printed");
        printf("activation %2d: %.3f ns each\n", act, measure(run_act, &p).median / (double)p.n * 1e9);
    }
}

/* ---- gradients of rows, the loss, AdamW ------------------------------------------------------------------------------------ */

typedef struct row_case {
    float *x, *y, *out, *w, *more;
    double *loss;
    int64_t *ids, N, D;
    void *scratch;
} row_case;

static void run_cross_entropy(void *ctx)
{
    row_case *p = ctx;
    sondep_cross_entropy(p->loss, p->x, p->D, p->ids, 1.0f, true, p->N, p->D);
}

static void run_norm_backward(void *ctx)
{
    row_case *p = ctx;
    sondep_norm_backward(p->out, p->w, p->w + p->D, p->y, p->x, p->w + 2 * p->D, false, 1e-5, p->N, p->D, false, p->scratch);
}

static void run_gelu_backward(void *ctx)
{
    row_case *p = ctx;
    sondep_activate_backward(p->out, NULL, p->more, p->y, p->x, NULL, SONDEP_ACT_GELU_TANH, p->N * p->D);
}

static void run_silu_backward(void *ctx)
{
    row_case *p = ctx;
    sondep_activate_backward(p->out, p->more, NULL, p->y, p->x, p->more, SONDEP_ACT_SILU, p->N * p->D);
}

static void run_column_sums(void *ctx)
{
    row_case *p = ctx;
    sondep_add_column_sums(p->w, p->x, p->D, p->N, p->D, p->scratch);
}

static void run_scatter(void *ctx)
{
    row_case *p = ctx;
    sondep_scatter_add_rows(p->out, p->x, p->ids, p->N, p->D);
}

static void run_squares(void *ctx)
{
    row_case *p = ctx;
    *p->loss = sondep_sum_squares(p->x, p->N * p->D);
}

static void run_adamw(void *ctx)
{
    static const sondep_adamw a = {1e-6, 0.9, 0.999, 1e-8, 0.1, 1.0, 0.1, 0.001};
    row_case *p = ctx;
    sondep_adamw_step(p->out, p->more, p->y, p->x, &a, p->N * p->D);
}

/* One operation on N rows of D, `bytes` for each number; its outcome on the first rows is compared with that of `ref`. */
static void bench_row(const char *name, void (*run)(void *ctx), int64_t N, int64_t D, double bytes)
{
    row_case p = {.N = N, .D = D};
    size_t n = (size_t)(N * D);
    float *first[2];
    timing t;

    for (int pass = 0; pass < 2; pass++) {
        p.x = numbers(N * D, 1), p.y = numbers(N * D, 2), p.out = numbers(N * D, 3), p.more = numbers(N * D, 4);
        p.w = numbers(3 * D, 5), p.loss = block((size_t)N * 8), p.ids = block((size_t)N * 8);
        for (int64_t i = 0; i < N * D; i++)
            p.y[i] = fabsf(p.y[i]); /* a second moment, among others */
        for (int64_t i = 0; i < N; i++)
            p.ids[i] = i * 7919 % (D < N ? D : N);
        choose(pass ? kernel : "ref");
        p.scratch = block(sondep_norm_backward_scratch_bytes(N, D) + 64);
        p.N = N < 40 ? N : 40;
        run(&p);
        first[pass] = run == run_column_sums || run == run_cross_entropy ? p.x : p.out;
    }
    for (int64_t i = 0; i < p.N * D; i++)
        if (!(fabsf(first[0][i] - first[1][i]) <= 1e-5f))
            fail("a gradient is wrong: no speed is printed");
    p.N = N;
    t = measure(run, &p);
    printf("%-16s %5lld x %5lld: %8.3f ms (best %8.3f)  %.3f ns each, %5.1f GB/s\n", name, (long long)N, (long long)D,
           t.median * 1e3, t.best * 1e3, t.median / (double)n * 1e9, bytes * (double)n / t.median * 1e-9);
    fflush(stdout);
}

static void bench_rows(void)
{
    bench_row("cross-entropy", run_cross_entropy, 512, 4096, 8);
    bench_row("cross-entropy", run_cross_entropy, 256, 8192, 8);
    bench_row("cross-entropy", run_cross_entropy, 128, 50304, 8);
    bench_row("norm backward", run_norm_backward, 4096, 192, 12);
    bench_row("norm backward", run_norm_backward, 4096, 768, 12);
    bench_row("gelu_new back", run_gelu_backward, 4096, 1024, 16);
    bench_row("silu gated back", run_silu_backward, 4096, 1024, 24);
    bench_row("column sums", run_column_sums, 4096, 768, 4);
    bench_row("scatter add", run_scatter, 4096, 256, 12);
    bench_row("sum of squares", run_squares, 8192, 1024, 4);
    bench_row("adamw", run_adamw, 8192, 1024, 28);
}

/* Whether a part is asked for. */
static bool is_wanted(const char *part)
{
    return only == NULL || strcmp(only, part) == 0;
}

static void bench_attentions(void)
{
    bench_attention(1, 1024, 1024, 12, 12, 64);
    bench_attention(8, 128, 128, 12, 12, 64);
    bench_attention(1, 1, 1024, 12, 12, 64);
    bench_attention(1, 1, 1024, 32, 8, 128);
    bench_attention(1, 512, 512, 32, 8, 128);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cpu") == 0)
            by_cpu = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else
            kernel = argv[i];
    }
    if (by_cpu && sonde_set_threads(1) != SONDE_OK)
        fail("one thread");
    choose(kernel);
    peak = measure_peak();
    for (int64_t i = 0; sondep_kernel_describe(i); i++)
        printf("%s\n", sondep_kernel_describe(i));
    printf("peak %.1f GFLOP/s on %d threads%s\n", peak, sonde_threads(), by_cpu ? ", by processor time" : "");
    if (is_wanted("attention"))
        bench_attentions();
    if (is_wanted("backward"))
        bench_backwards();
    if (is_wanted("activations"))
        bench_activations();
    if (is_wanted("rows"))
        bench_rows();
    if (is_wanted("training"))
        bench_training();
    if (is_wanted("products"))
        bench_products();
    return 0;
}
