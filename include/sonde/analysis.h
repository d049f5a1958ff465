/* sonde/analysis.h */
#ifndef SONDE_ANALYSIS_H
#define SONDE_ANALYSIS_H
#include <sonde/tensor.h>
#endif
