/* optimizer.c - steps of AdamW and Muon, rates.                                floor 4: layer
 *
 * AdamW is one operation of kernel.h over each tensor. Muon is products: the iteration that makes a matrix orthogonal works on
 * it with its shorter side as rows, so that x x^T is as small as it can be.
 */
#include "layer/optimizer.h"

#include <math.h>

double sondep_gradient_norm(const float *g, int64_t n)
{
    return sqrt(sondep_sum_squares(g, n));
}

/* Below the limit nothing is scaled, so that small gradients keep their bits. */
double sondep_clip_factor(double norm, double clip)
{
    return clip > 0.0 && norm > clip ? clip / norm : 1.0;
}

/* ---- Muon --------------------------------------------------------------------------------------------------------------- */

/* Matrices that the iteration works in, (r,c) with r <= c: x and the next one; (r,r): A and b A + c A^2. */
typedef struct muon_room {
    float *x, *next, *a, *polynomial;
    void *product;
    size_t bytes;
} muon_room;

/* Bytes of one part of a matrix and of what the products need. */
static muon_room make_room(int64_t r, int64_t c, void *scratch)
{
    uintptr_t at = (uintptr_t)scratch; /* NULL to measure only */
    size_t whole = sondep_arena_floats(r * c), square = sondep_arena_floats(r * r);
    size_t squares = sondep_product_scratch_bytes(r, r, c), apply = sondep_product_scratch_bytes(r, c, r);
    size_t power = sondep_product_scratch_bytes(r, r, r), most = squares > apply ? squares : apply;

    most = power > most ? power : most;
    return (muon_room){.x = (float *)at,
                       .next = (float *)(at + whole),
                       .a = (float *)(at + 2 * whole),
                       .polynomial = (float *)(at + 2 * whole + square),
                       .product = (void *)(at + 2 * whole + 2 * square),
                       .bytes = 2 * whole + 2 * square + most};
}

/* One step of the iteration; x and next exchange their places. */
static void newton_schulz(muon_room *room, int64_t r, int64_t c)
{
    static const float a = 3.4445f, b = -4.7750f, cc = 2.0315f;
    sondep_matrix x = {room->x, SONDE_F32, c, 1}, xt = {room->x, SONDE_F32, 1, c};
    sondep_matrix square = {room->a, SONDE_F32, r, 1}, polynomial = {room->polynomial, SONDE_F32, r, 1};
    float *old = room->x;

    /* A = x x^T, then b A + c A^2 */
    /* A = x x^T; the polynomial a + b A + c A^2; then that times x. */
    sondep_product(room->a, r, &x, &xt, r, r, c, NULL, SONDEP_F32, room->product);
    sondep_product(room->polynomial, r, &square, &square, r, r, r, NULL, SONDEP_F32, room->product);
    for (int64_t i = 0; i < r * r; i++)
        room->polynomial[i] = b * room->a[i] + cc * room->polynomial[i];
    for (int64_t i = 0; i < r; i++)
        room->polynomial[i * r + i] += a; /* a x comes with it */
    sondep_product(room->next, c, &polynomial, &x, r, c, r, NULL, SONDEP_F32, room->product);
    room->x = room->next;
    room->next = old;
}

/* The momentum and the direction u of a part: columns first .. first + c of a matrix (R rows, ld apart), laid out so that its
 * shorter side are rows. */
static void direction(const sondep_optimizer *o, float *out, float *m, const float *g, double factor, int64_t rows,
                      int64_t columns, int64_t ld)
{
    bool turns = rows > columns;
    float momentum = (float)o->momentum, scale = (float)factor;

    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            float gradient = g[i * ld + j] * scale, *mean = &m[i * ld + j];
            *mean += (1.0f - momentum) * (gradient - *mean);
            out[turns ? j * rows + i : i * columns + j] = gradient + momentum * (*mean - gradient);
        }
}

/* One part of a hidden matrix. */
static void muon_part(const sondep_optimizer *o, float *w, float *m, const float *g, int64_t rows, int64_t columns,
                      int64_t ld, double rate, double factor, void *scratch)
{
    bool turns = rows > columns;
    int64_t r = turns ? columns : rows, c = turns ? rows : columns;
    muon_room room = make_room(r, c, scratch);
    float keep = (float)(1.0 - rate * o->decay), step = (float)(rate * 0.2 * sqrt((double)c)), inverse;

    /* The iteration converges for singular values in (0, sqrt(3)): dividing by the norm brings them below 1. */
    /* What goes in has a norm of 1, so that no singular value is larger. */
    direction(o, room.x, m, g, factor, rows, columns, ld);
    inverse = (float)(1.0 / fmax(sqrt(sondep_sum_squares(room.x, r * c)), 1e-7));
    for (int64_t i = 0; i < r * c; i++)
        room.x[i] *= inverse;
    for (int i = 0; i < 5; i++)
        newton_schulz(&room, r, c);
    /* Decay first, as AdamW has it; the direction is turned back if it lies turned. */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            w[i * ld + j] = w[i * ld + j] * keep - step * room.x[turns ? j * rows + i : i * columns + j];
}

/* ---- a step of everything ------------------------------------------------------------------------------------------------ */

/* Whether Muon takes a parameter. */
static bool is_muon(const sondep_optimizer *o, const sondep_parameter *p)
{
    return o->kind == SONDEP_MUON && p->is_hidden;
}

void sondep_optimizer_step(const sondep_optimizer *o, const sondep_moments *x, const sondep_parameter *parameters, int64_t n,
                           int64_t step, double rate, double factor, void *scratch)
{
    /* Bias corrections are those of this step, for all tensors alike. */
    sondep_adamw adamw = {
        rate, o->beta1, o->beta2, o->eps, 0.0, factor, 1.0 - pow(o->beta1, (double)step), 1.0 - pow(o->beta2, (double)step)};

    for (int64_t i = 0; i < n; i++) {
        const sondep_parameter *p = &parameters[i];
        int64_t width = p->columns / p->parts;

        if (is_muon(o, p)) {
            for (int64_t part = 0; part < p->parts; part++) {
                int64_t at = p->first + part * width;
                muon_part(o, x->w + at, x->m + at, x->g + at, p->rows, width, p->columns, rate, factor, scratch);
            }
            continue;
        }
        adamw.decay = p->decays ? o->decay : 0.0;
        sondep_adamw_step(x->w + p->first, x->m + p->first, x->v + p->first, x->g + p->first, &adamw, p->n);
    }
}

size_t sondep_optimizer_scratch_bytes(const sondep_optimizer *o, const sondep_parameter *parameters, int64_t n)
{
    size_t most = 64;

    for (int64_t i = 0; i < n; i++) {
        const sondep_parameter *p = &parameters[i];
        int64_t width = p->columns / p->parts;
        bool turns = p->rows > width;
        size_t bytes = is_muon(o, p) ? make_room(turns ? width : p->rows, turns ? p->rows : width, NULL).bytes : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- schedules ------------------------------------------------------------------------------------------------------------ */

/* Share of the way down, 0 to 1, of step `step`. */
static double way_down(const sondep_schedule *s, int64_t step)
{
    int64_t first = s->kind == SONDEP_SCHEDULE_WSD ? s->steps - s->decay : s->warmup, length = s->steps - first;

    if (s->kind == SONDEP_SCHEDULE_CONSTANT || step < first || length <= 0)
        return 0.0;
    return step >= s->steps ? 1.0 : (double)(step - first) / (double)length;
}

double sondep_schedule_rate(const sondep_schedule *s, int64_t step)
{
    double down = way_down(s, step), rate;

    /* Half a cosine falls slowly, fast, slowly; a line falls evenly. */
    if (s->kind == SONDEP_SCHEDULE_COSINE)
        down = 0.5 * (1.0 - cos(3.14159265358979323846 * down));
    rate = s->rate + (s->last - s->rate) * down;
    return step < s->warmup ? rate * (double)(step + 1) / (double)s->warmup : rate;
}
