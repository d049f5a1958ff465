/* sonde.h - every activation of a real language model, by name.
 *
 * One include for the whole library. Read the headers in this order, from easy to hard:
 *
 *   sonde_model *model;  sonde_run *run;  sonde_tensor x;
 *   sonde_model_load(&model, "models/my-model", NULL);
 *   sonde_run_new(&run, model);
 *   sonde_run_capture(run, "blocks.*.hook_resid_post", NULL);
 *   sonde_run_forward(run, tokens, NULL, 1, n_tokens);
 *   sonde_run_get(&x, run, "blocks.3.hook_resid_post");     // [1, T, D] float32
 */
#ifndef SONDE_H
#define SONDE_H

#include <sonde/analysis.h>
#include <sonde/base.h>
#include <sonde/feature.h>
#include <sonde/format.h>
#include <sonde/hook.h>
#include <sonde/kernel.h>
#include <sonde/model.h>
#include <sonde/plot.h>
#include <sonde/report.h>
#include <sonde/run.h>
#include <sonde/sae.h>
#include <sonde/tensor.h>
#include <sonde/text.h>
#include <sonde/toy.h>
#include <sonde/train.h>

#endif
