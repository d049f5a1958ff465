/* point.c - the one hook point that a name means.                               floor 6: run */
#include "run/run.h"

sonde_status sondep_find_one_point(const sonde_hook_point **out, const sonde_model *model, const char *name)
{
    int64_t n, n_found = 0, at = 0;
    const sonde_hook_point *points = sonde_model_hook_points(model, &n);
    bool *found;
    sonde_status status;

    SONDE_TRY(SONDE_NEW(found, n));
    status = sonde_hook_match(found, name, points, n);
    for (int64_t i = 0; i < n; i++)
        if (found[i]) {
            at = i;
            n_found++;
        }
    sondep_free(found);
    SONDE_TRY(status);
    if (n_found > 1)
        return SONDE_FAIL(SONDE_E_HOOK, "'%s' names %lld hook points; one is wanted", name, (long long)n_found);
    if (strcmp(points[at].axes, "BHTT") == 0)
        return SONDE_FAIL(SONDE_E_SHAPE, "'%s' has a row of keys for each position, not a vector", points[at].name);
    *out = &points[at];
    return SONDE_OK;
}
