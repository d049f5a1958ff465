/* sonde/plot.h */
#ifndef SONDE_PLOT_H
#define SONDE_PLOT_H
#include <sonde/tensor.h>
#endif
