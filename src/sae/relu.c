/* relu.c - standard autoencoders: f = max(v, 0). Source: Bricken et al. 2023.    floor 7: sae */
#include "sae/sae.h"

sonde_status sondep_sae_relu(const sondep_sae_rows *r)
{
    sondep_activate(r->v, r->v, SONDEP_ACT_RELU, r->N * r->sae->config.d_sae);
    return SONDE_OK;
}
