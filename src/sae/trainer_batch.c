/* trainer_batch.c - BatchTopK: the largest features of all rows; and their groups, of Matryoshka.    floor 7: sae
 *
 * The encoder keeps more candidates of each row than stay on average; the bar that k N of all are above is found by the bits of their
 * keys, eleven at a time. A row whose list was full, and all of which would stay, might have had more: then the lists are made longer.
 *
 * Source: Bussmann et al. 2024, arXiv 2412.06410; 2025, arXiv 2503.17547.
 */
#include "sae/trainer.h"

#include <math.h>

enum { DIGIT = 11, N_DIGITS = 3 }; /* bits that are looked at together; 33 of them cover a float */

/* Of positive floats the order of bits is that of the numbers. */
static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Keys of all pairs: positive, so that their bits are in their order. Returns how many there are. */
static int64_t make_keys(sonde_sae_trainer *t)
{
    const sondep_codes *codes = &t->pairs.codes;
    int64_t total = 0;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t at = n * codes->capacity, i = 0; i < codes->count[n]; i++)
            t->keys[at + i] = t->pairs.h[at + i] * (t->opts.rescales ? t->norms[codes->index[at + i]] : 1.0f);
    for (int64_t n = 0; n < t->N; n++)
        total += codes->count[n];
    return total;
}

/* How many keys have each value of a digit, of those whose higher bits are `prefix`. */
static void count_digits(int64_t *count, const sonde_sae_trainer *t, uint64_t prefix, int digit)
{
    const sondep_codes *codes = &t->pairs.codes;
    int shift = DIGIT * digit;

    memset(count, 0, ((size_t)1 << DIGIT) * sizeof *count);
    for (int64_t n = 0; n < t->N; n++)
        for (int64_t at = n * codes->capacity, i = 0; i < codes->count[n]; i++) {
            uint64_t bits = bits_of(t->keys[at + i]);
            if (bits >> (shift + DIGIT) == prefix)
                count[bits >> shift & (((uint64_t)1 << DIGIT) - 1)]++;
        }
}

/* The key that is number `wanted` from the largest, and how many of those that equal it are among so many. */
static float find_bar(int64_t *ties, const sonde_sae_trainer *t, int64_t wanted)
{
    int64_t count[1 << DIGIT];
    uint64_t prefix = 0;
    uint32_t bits;
    float bar;

    for (int digit = N_DIGITS - 1; digit >= 0; digit--) {
        uint64_t value = ((uint64_t)1 << DIGIT) - 1;
        count_digits(count, t, prefix, digit);
        for (; wanted > count[value]; value--)
            wanted -= count[value];
        prefix = prefix << DIGIT | value;
    }
    *ties = wanted;
    bits = (uint32_t)prefix;
    memcpy(&bar, &bits, sizeof bar);
    return bar;
}

/* Whether row n may have pairs above the bar that its list had no room for. */
static bool may_lack(const sonde_sae_trainer *t, int64_t n, float bar)
{
    const sondep_codes *codes = &t->pairs.codes;
    float least = INFINITY;

    if (t->found[n] <= codes->capacity)
        return false;
    for (int64_t at = n * codes->capacity, i = 0; i < codes->count[n]; i++)
        least = fminf(least, t->keys[at + i]);
    return least >= bar;
}

/* Leaves the pairs of row n that are above the bar, and the first of those that equal it while there are `ties` left. */
static void cut_row(const sonde_sae_trainer *t, int64_t n, float bar, int64_t *ties)
{
    const sondep_codes *codes = &t->pairs.codes;
    int64_t at = n * codes->capacity, kept = 0;

    for (int64_t i = 0; i < codes->count[n]; i++) {
        bool stays = t->keys[at + i] > bar || (t->keys[at + i] == bar && (*ties)-- > 0);
        codes->index[at + kept] = codes->index[at + i];
        codes->value[at + kept] = codes->value[at + i];
        kept += stays;
    }
    codes->count[n] = kept;
}

/* What all rows keep together is k N, however it is shared out among them. */
bool sondep_sae_choose_batch(sonde_sae_trainer *t)
{
    int64_t total = make_keys(t), wanted = (int64_t)(t->opts.k * (double)t->N), ties;
    float bar;

    t->least = 0.0;
    wanted = wanted < total ? wanted : total;
    if (wanted == 0) {
        memset(t->pairs.codes.count, 0, (size_t)t->N * sizeof *t->pairs.codes.count);
        return true;
    }
    /* nothing is changed before it is certain that no list was too short */
    bar = find_bar(&ties, t, wanted);
    for (int64_t n = 0; n < t->N; n++)
        if (may_lack(t, n, bar))
            return false;
    for (int64_t n = 0; n < t->N; n++)
        cut_row(t, n, bar, &ties);
    t->least = (double)bar;
    return true;
}

/* ---- groups ------------------------------------------------------------------------------------------------------------------ */

/* First feature of a group. */
static int64_t first_of(const sonde_sae_trainer *t, int64_t group)
{
    return group > 0 ? t->groups[group - 1] : 0;
}

/* Pairs of row n that are before feature s: they are in order. */
static int64_t pairs_before(const sondep_codes *codes, int64_t n, int64_t s)
{
    const int32_t *index = codes->index + n * codes->capacity;
    int64_t low = 0, high = codes->count[n];

    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (index[middle] < s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The pairs of a group as codes of their own; with values of 0, to ask for gradients alone. */
static void list_group(const sonde_sae_trainer *t, int64_t group, bool has_values)
{
    const sondep_codes *all = &t->pairs.codes, *own = &t->group;

#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t n = 0; n < t->N; n++) {
        int64_t first = pairs_before(all, n, first_of(t, group)), end = pairs_before(all, n, t->groups[group]);
        int64_t from = n * all->capacity + first, to = n * own->capacity;
        memcpy(own->index + to, all->index + from, (size_t)(end - first) * sizeof *own->index);
        if (has_values)
            memcpy(own->value + to, all->value + from, (size_t)(end - first) * sizeof *own->value);
        else
            memset(own->value + to, 0, (size_t)(end - first) * sizeof *own->value);
        own->count[n] = end - first;
    }
}

/* to = factor from (+ to). */
static void set_scaled(float *to, const float *from, float factor, bool adds, int64_t n)
{
#pragma omp parallel for num_threads(sonde_threads()) schedule(static)
    for (int64_t i = 0; i < n; i++)
        to[i] = adds ? to[i] + factor * from[i] : factor * from[i];
}

/* y of a group is that of the group before and its own features' share: t - y(before) is what they are to give. */
static void decode_outward(sonde_sae_trainer *t)
{
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT), *b = sondep_sae_at(t, t->w, SONDEP_SAE_B_DEC);
    float factor = 2.0f / (float)t->N;

    t->inner = 0.0;
    for (int64_t g = 0; g < t->n_groups; g++) {
        sondep_decode_backward back = {g > 0 ? t->rest : t->target, t->O, factor, t->group_residual[g], NULL, t->error};
        list_group(t, g, true);
        sondep_decode(NULL, &t->group, w, g > 0 ? NULL : b, &back, t->N, t->O);
        if (g == t->n_groups - 1)
            continue;
        for (int64_t n = 0; n < t->N; n++)
            t->inner += t->error[n] / (double)t->N;
        set_scaled(t->rest, t->group_residual[g], -1.0f / factor, false, t->N * t->O);
    }
    t->outer_residual = t->rest_residual;
    memcpy(t->rest_residual, t->group_residual[t->n_groups - 1], (size_t)(t->N * t->O) * sizeof(float));
}

/* A feature is in its group's reconstruction and in all larger ones: it has the sum of their residuals. */
static void pull_back_inward(sonde_sae_trainer *t)
{
    const sondep_codes *all = &t->pairs.codes;
    const float *w = sondep_sae_at(t, t->w, SONDEP_SAE_OUT);

    for (int64_t g = t->n_groups - 1; g >= 0; g--) {
        sondep_decode_backward back = {t->rest, t->O, 1.0f, t->residual, t->group_dvalue, NULL};
        if (g < t->n_groups - 1)
            set_scaled(t->group_residual[g], t->group_residual[g + 1], 1.0f, true, t->N * t->O);
        /* 0 - (-R) = R: the gradients R w of pairs whose values are 0 */
        set_scaled(t->rest, t->group_residual[g], -1.0f, false, t->N * t->O);
        list_group(t, g, false);
        sondep_decode(NULL, &t->group, w, NULL, &back, t->N, t->O);
        for (int64_t n = 0; n < t->N; n++)
            memcpy(t->pairs.dvalue + n * all->capacity + pairs_before(all, n, first_of(t, g)),
                   t->group_dvalue + n * t->group.capacity, (size_t)t->group.count[n] * sizeof(float));
    }
    t->all_residual = t->group_residual[0];
}

/* Outward, group by group, then inward with the sums of residuals. */
void sondep_sae_decode_groups(sonde_sae_trainer *t, sondep_sae_terms *terms)
{
    decode_outward(t);
    pull_back_inward(t);
    terms->n_groups = t->n_groups;
    for (int64_t g = 0; g < t->n_groups; g++)
        terms->all[g][terms->n[g]++] =
            (sondep_feature_term){&t->pairs.codes, &t->pairs.columns, t->pairs.dvalue, t->x, t->D, t->group_residual[g]};
}
