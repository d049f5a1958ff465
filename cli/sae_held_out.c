/* sae_held_out.c - what texts that are not trained on say of a training.        floor 10: cli
 *
 * Autoencoders of the same hook points are measured together: the clean pass and the ablations are the same for all of them.
 */
#include "sae_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Autoencoders that are measured together. */
typedef struct group {
    sae_unit **units;
    sonde_sae **saes;
    sonde_sae_report *reports;
    int64_t n;
} group;

/* Room for all units; empty. */
static sonde_status group_make(group *g, int64_t n)
{
    CLI_TRY(CLI_NEW(g->units, n));
    CLI_TRY(CLI_NEW(g->saes, n));
    return CLI_NEW(g->reports, n);
}

/* Empties it. */
static void group_clear(group *g)
{
    while (g->n > 0)
        sonde_sae_free(g->saes[--g->n]);
}

/* Those from unit i on that read and write as it does, and have taken this step. */
static sonde_status group_fill(group *g, const sae_training *t, int64_t i, int64_t step)
{
    const sae_unit *first = &t->units[i];

    for (; i < t->n_units; i++) {
        sae_unit *u = &t->units[i];
        if (u->point.step != step || u->in != first->in || u->out != first->out)
            continue;
        CLI_TRY(sae_export(&g->saes[g->n], t, u));
        g->units[g->n++] = u;
    }
    return SONDE_OK;
}

/* Into the points, and for whoever follows the training. */
static void note(const sae_training *t, sae_unit *u, const sonde_sae_report *r)
{
    sae_point *p = &u->point;

    p->held_out_l0 = r->metrics[SONDE_SAE_L0].value;
    p->held_out_variance = r->metrics[SONDE_SAE_EV].value;
    p->held_out_recovered = r->metrics[SONDE_SAE_RECOVERED].value;
    cli_note("%s%sstep %lld: held-out L0 %.1f, explained variance %.4f, CE recovered %.4f", t->n_units > 1 ? u->name : "",
             t->n_units > 1 ? ", " : "", (long long)p->step, p->held_out_l0, p->held_out_variance, p->held_out_recovered);
}

/* A unit that has been measured has an L0. */
sonde_status sae_measure_held_out(const sae_training *t, int64_t step)
{
    sonde_sae_eval_opts how;
    group g = {0};
    sonde_status status = SONDE_OK;

    sonde_sae_eval_opts_init(&how);
    how.n_resamples = 0;
    CLI_TRY_DONE(group_make(&g, t->n_units));
    for (int64_t i = 0; i < t->n_units; i++) {
        if (t->units[i].point.step != step || !isnan(t->units[i].point.held_out_l0))
            continue;
        CLI_TRY_DONE(group_fill(&g, t, i, step));
        CLI_TRY_DONE(sonde_sae_evaluate(g.reports, NULL, t->m.model, (const sonde_sae *const *)g.saes, g.n, &t->held_out,
                                        &how, NULL, NULL));
        for (int64_t k = 0; k < g.n; k++)
            note(t, g.units[k], &g.reports[k]);
        group_clear(&g);
    }
done:
    group_clear(&g);
    free(g.units);
    free(g.saes);
    free(g.reports);
    return status;
}
