/* point.c - what follows from a hook point's axes.                              floor 4: hook */
#include <sonde/hook.h>

#include <string.h>

/* Axes 0 and 1 are batch and position; what follows belongs to the token. */
int64_t sonde_hook_n_neurons(const sonde_hook_point *point)
{
    int64_t n = 1;

    if (strcmp(point->axes, "BHTT") == 0)
        return point->width[1];
    for (int axis = 2; axis < point->rank; axis++)
        n *= point->width[axis];
    return n;
}
