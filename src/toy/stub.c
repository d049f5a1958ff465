#include "toy/experiment.h"
sonde_status sondep_toy_privileged(sondep_toy_run *r)
{
    (void)r;
    return SONDE_OK;
}
sonde_status sondep_toy_absolute(sondep_toy_run *r)
{
    (void)r;
    return SONDE_OK;
}
sonde_status sondep_toy_motif(sondep_toy_run *r)
{
    (void)r;
    return SONDE_OK;
}
sonde_status sondep_toy_dictionary(sondep_toy_run *r)
{
    (void)r;
    return SONDE_OK;
}
