#!/usr/bin/env python3
"""`sonde sae eval` on a real model against transformers and sae-lens in float64: every metric that needs no judgement.

    sae_eval_live.py [SONDE_PROGRAM]

The model and the autoencoders lie under SONDE_SHARED (default ../shared); without them everything is skipped (exit status 77).
"""
import json
import logging
import os
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import torch
from tokenizers import Tokenizer

warnings.filterwarnings("ignore")
from sae_lens import SAE

import common
from sonde_cli import Score, Sonde, bare_package

logging.disable(logging.WARNING)
SHARED = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
LAYER, N_TEXTS, LIMIT = 3, 6, 2e-5


def losses(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")


def divergence(clean, changed):
    p, q = clean[:-1].log_softmax(-1), changed[:-1].log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


class Patched:
    """The model with the output of a layer replaced by what a function makes of it."""

    def __init__(self, model):
        self.model, self.change, self.seen = model, None, None
        model.model.layers[LAYER].register_forward_hook(self.hook)

    def hook(self, module, inputs, output):
        x = output[0] if isinstance(output, tuple) else output
        self.seen = x.reshape(-1, x.shape[-1]).clone()
        if self.change is None:
            return output
        y = self.change(self.seen).reshape(x.shape)
        return (y,) + output[1:] if isinstance(output, tuple) else y

    def logits(self, ids, change=None):
        self.change = change
        with torch.no_grad():
            return self.model(ids[None]).logits[0]


def behind_bos(change):
    """A change of all positions but the first."""
    return lambda x: torch.cat([x[:1], change(x[1:])])


def expected(model, sae, texts, takes_all):
    """All metrics; takes_all: ablations change the first position, too, and its loss does not count (sae-lens's protocol)."""
    patched = Patched(model)
    rows = [(patched.logits(ids), patched.seen[1:])[1] for ids in texts]
    x = torch.cat(rows)
    mean = x.mean(0)
    with torch.no_grad():
        f, y = sae.encode(x), sae(x)
    error, squares, variance = ((x - y) ** 2).sum(1), (x ** 2).sum(1), ((x - mean) ** 2).sum(1)
    out = dict(l0=(f != 0).double().sum(1).mean(), l1=f.abs().sum(1).mean(), mse=error.mean(), nmse=(error / squares).mean(),
               fvu=error.sum() / variance.sum(), explained_variance=1 - error.sum() / variance.sum(),
               cosine=torch.cosine_similarity(x, y).mean(), l2_ratio=(y.norm(dim=1) / x.norm(dim=1)).mean(),
               l2_norm_in=x.norm(dim=1).mean(), l2_norm_out=y.norm(dim=1).mean(),
               relative_bias=(y ** 2).sum() / (x * y).sum(), ev_legacy=(1 - error / variance).mean(),
               ev_saebench_060=1 - error.mean() / (squares.mean() - (squares.mean() / x.shape[1]) ** 2))
    everywhere = (lambda change: change) if takes_all else behind_bos
    changes = dict(spliced=behind_bos(lambda v: sae(v)), zero=everywhere(torch.zeros_like),
                   mean=everywhere(lambda v: mean.expand_as(v)))
    first = 1 if takes_all else 0
    clean = [patched.logits(ids) for ids in texts]
    out["ce_clean"] = torch.cat([losses(c, ids)[first:] for c, ids in zip(clean, texts)]).mean()
    for name, change in changes.items():
        changed = [patched.logits(ids, change) for ids in texts]
        out[f"ce_{name}"] = torch.cat([losses(c, ids)[first:] for c, ids in zip(changed, texts)]).mean()
        out[f"kl_{name}"] = torch.cat([divergence(a, b)[first:] for a, b in zip(clean, changed)]).mean()
    out["ce_recovered"] = (out["ce_zero"] - out["ce_spliced"]) / (out["ce_zero"] - out["ce_clean"])
    out["ce_recovered_mean"] = (out["ce_mean"] - out["ce_spliced"]) / (out["ce_mean"] - out["ce_clean"])
    out["kl_score"] = 1 - out["kl_spliced"] / out["kl_zero"]
    out["kl_score_mean"] = 1 - out["kl_spliced"] / out["kl_mean"]
    return {k: float(v) for k, v in out.items()}, (f != 0).sum(0).numpy()


def one(score, sonde, folder, name, protocol):
    directory = SHARED / "models/stories15M"
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    lines = (SHARED / "text/tinystories-1000.jsonl").read_text().splitlines()[:N_TEXTS]
    texts = [torch.tensor(tokenizer.encode(json.loads(line)["text"]).ids[:256]) for line in lines]
    sae = SAE.load_from_disk(SHARED / "saes" / name, dtype="float64")
    want, fired = expected(common.load_float64(directory), sae, texts, protocol == "saelens")
    path = folder / "texts.jsonl"
    path.write_text("\n".join(lines) + "\n")
    got = sonde.json("sae", "eval", directory, SHARED / "saes" / name, "-f", path, "--hook", f"blocks.{LAYER}.hook_resid_post",
                     "--protocol", protocol)
    worst = 0.0
    for key, value in want.items():
        error = abs(got["metrics"][key]["value"] - value) / max(1.0, abs(value))
        score.check(f"{name} {protocol} {key}", error <= LIMIT, f"{got['metrics'][key]['value']}, want {value}")
        worst = max(worst, error)
    score.check(f"{name} {protocol} all metrics", set(got["metrics"]) == set(want), str(set(got["metrics"]) ^ set(want)))
    score.check(f"{name} {protocol} dead", got["density"]["dead"] == int((fired == 0).sum()))
    intervals = [m["low"] <= m["value"] <= m["high"] for k, m in got["metrics"].items() if k != "l0" or "topk" not in name]
    score.check(f"{name} {protocol} intervals", sum(intervals) >= len(intervals) - 1)
    print(f"{name}, {protocol}: {len(want)} metrics over {got['positions']} positions, largest difference {worst:.1e}")


def saebench(score, sonde):
    """SAEBench's own class takes what --saebench prints; without the shared models, too."""
    for name in ("sae_bench", "sae_bench.evals", "sae_bench.evals.core"):
        bare_package(name)
    from pydantic import TypeAdapter
    from sae_bench.evals.core.eval_output import CoreEvalOutput
    printed = sonde.run("sae", "eval", "models/stories", "models/stories-sae", "Once upon a time, there was a little girl named Lily.", "--saebench").stdout
    result = TypeAdapter(CoreEvalOutput).validate_python(json.loads(printed))
    score.check("SAEBench's class reads the results", len(result.eval_result_details) == 1536)
    metrics = result.eval_result_metrics
    score.check("its numbers", metrics.sparsity.l0 == 16 and 0 < metrics.model_performance_preservation.ce_loss_score < 1
                and 0 < metrics.misc_metrics.frac_alive < 1 and metrics.shrinkage.l2_norm_out > 0)


def main(program):
    score, sonde = Score(), Sonde(program)
    score.attempt("SAEBench", saebench, score, sonde)
    if not (SHARED / "saes").is_dir() or not (SHARED / "models/stories15M").is_dir():
        print(f"skipped: no model and autoencoders under '{SHARED}' (SONDE_SHARED)")
        return 1 if score.wrong else 77
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("topk-k32", "batchtopk-k32", "gated"):
            score.attempt(name, one, score, sonde, pathlib.Path(temporary), name, "sonde")
        score.attempt("protocol", one, score, sonde, pathlib.Path(temporary), "topk-k32", "saelens")
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
