#!/usr/bin/env python3
"""Toy models and planted dictionaries in other people's hands: losses of the introduction beside the same models trained by torch, the matching of
directions beside scipy's, and every score of an autoencoder on planted rows beside sae-lens's calculators.

    toy_live.py [SONDE_PROGRAM]
"""
import ctypes
import json
import os
import pathlib
import sys
import tempfile
import warnings

import numpy as np
import torch

warnings.filterwarnings("ignore")
from sae_lens import SAE
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
from sae_lens.synthetic import evals

from sonde_cli import Score, Sonde

F, I64 = np.float32, ctypes.c_int64


class ToyOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("kind", I64), ("n_features", I64), ("n_hidden", I64), ("n_instances", I64),
                ("probability", ctypes.c_void_p), ("importance", ctypes.c_void_p), ("sets", ctypes.c_void_p), ("n_sets", I64),
                ("batch", I64), ("steps", I64), ("lr", ctypes.c_double), ("decay", ctypes.c_double), ("schedule", I64),
                ("seed", ctypes.c_uint64)]


class PlantedOpts(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("n_features", I64), ("width", I64), ("probability", ctypes.c_void_p),
                ("mean", ctypes.c_void_p), ("deviation", ctypes.c_void_p), ("sets", ctypes.c_void_p), ("n_sets", I64),
                ("parent", ctypes.c_void_p), ("noise", ctypes.c_double), ("seed", ctypes.c_uint64)]


class PlantedScore(ctypes.Structure):
    _fields_ = [(n, ctypes.c_double) for n in ("mcc mean_max_cosine uniqueness precision recall f1 accuracy shrinkage true_l0 l0 "
                                               "explained_variance").split()] + [("n_dead", I64)]


def pointer(x):
    return x.ctypes.data_as(ctypes.c_void_p)


def call(function, *arguments):
    status = function(*arguments)
    if status != 0:
        raise RuntimeError(f"{function.__name__}: status {status}")


def torch_models(density, steps, seed):
    """The paper's notebook: one batched problem, AdamW with torch's defaults. Returns losses over fresh rows."""
    torch.manual_seed(seed)
    i, n, m, batch = len(density), 5, 2, 1024
    w = torch.nn.Parameter(torch.nn.init.xavier_normal_(torch.empty(i, n, m)))
    b = torch.nn.Parameter(torch.zeros(i, n))
    importance, p = 0.9 ** torch.arange(n), torch.tensor(density, dtype=torch.float32)

    def loss(rows):
        x = torch.where(torch.rand(rows, i, n) <= p[:, None], torch.rand(rows, i, n), torch.zeros(()))
        out = torch.relu(torch.einsum("...ih,ifh->...if", torch.einsum("...if,ifh->...ih", x, w), w) + b)
        return (importance * (x - out) ** 2).mean((0, 2))
    optimizer = torch.optim.AdamW([w, b], lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(batch).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return loss(200000).numpy()


def sonde_models(library, density, restarts, steps):
    """The same here: `restarts` models of each density. Returns losses (densities, restarts)."""
    p = np.repeat(np.array(density), restarts)[:, None] * np.ones((1, 5))
    importance = np.tile(0.9 ** np.arange(5), (len(p), 1))
    o, toy, losses = ToyOpts(), ctypes.c_void_p(), np.empty(len(p))
    library.sonde_toy_opts_init(ctypes.byref(o))
    o.n_instances, o.steps, o.probability, o.importance = len(p), steps, pointer(p), pointer(importance)
    call(library.sonde_toy_new, ctypes.byref(toy), ctypes.byref(o))
    call(library.sonde_toy_train, toy, None, I64(steps))
    call(library.sonde_toy_losses, pointer(losses), toy, I64(200000))
    library.sonde_toy_free(toy)
    return losses.reshape(len(density), restarts)


def check_training(score, library):
    density = [1.0, 0.3, 0.1, 0.05]
    want = np.stack([torch_models(density * 1, 1500, seed) for seed in range(3)], 1)
    got = sonde_models(library, density, 24, 1500)
    for i, p in enumerate(density):
        # seeds end in different minima: the medians are alike, and torch's lie among ours
        low, high = got[i].min() * 0.97, got[i].max() * 1.03
        score.check(f"density {p}: torch's losses among ours", bool(((want[i] >= low) & (want[i] <= high)).all()), f"{want[i]} in {low} .. {high}")
        print(f"density {p}: torch {np.sort(want[i])}, here {np.median(got[i]):.6f} ({got[i].min():.6f} .. {got[i].max():.6f})")


def check_matching(score, library):
    rng = np.random.default_rng(0)
    for na, nb, d in [(5, 5, 3), (20, 33, 8), (40, 17, 6), (120, 120, 16), (1, 9, 4)]:
        a, b = rng.normal(size=(na, d)).astype(F), rng.normal(size=(nb, d)).astype(F)
        mcc, match = ctypes.c_double(), np.empty(na, np.int64)
        call(library.sonde_match_directions, ctypes.byref(mcc), pointer(match), pointer(a), I64(na), pointer(b), I64(nb), I64(d))
        want = evals.mean_correlation_coefficient(torch.from_numpy(a), torch.from_numpy(b))
        score.check(f"matching {na} x {nb}", abs(mcc.value - want) <= 2e-6, f"{mcc.value}, want {want}")


def check_scores(score, library, folder):
    """An autoencoder near the planted directions, saved by sae-lens; its features and decoder rows in float64 are theirs."""
    n, d, s, rows = 40, 24, 56, 4000
    o, planted = PlantedOpts(), ctypes.c_void_p()
    library.sonde_planted_opts_init(ctypes.byref(o))
    o.n_features, o.width, o.noise, o.seed = n, d, 0.05, 3
    call(library.sonde_planted_new, ctypes.byref(planted), ctypes.byref(o))
    library.sonde_planted_directions.restype = ctypes.POINTER(ctypes.c_float)
    truth = np.ctypeslib.as_array(library.sonde_planted_directions(planted), (n, d)).copy()
    rng = np.random.default_rng(1)
    decoder = np.concatenate([truth + 0.1 * rng.normal(size=(n, d)), rng.normal(size=(s - n, d))])
    decoder = (decoder / np.linalg.norm(decoder, axis=1, keepdims=True)).astype(F)
    sae = StandardSAE(StandardSAEConfig(d_in=d, d_sae=s, dtype="float32", apply_b_dec_to_input=False, normalize_activations="none"))
    sae.W_dec.data, sae.W_enc.data = torch.from_numpy(decoder), torch.from_numpy(decoder.T.copy()) * 0.9
    sae.b_enc.data, sae.b_dec.data = torch.full((s,), -0.35), torch.zeros(d)
    sae.save_model(str(folder / "sae"))
    ours, got = ctypes.c_void_p(), PlantedScore()
    call(library.sonde_sae_load, ctypes.byref(ours), str(folder / "sae").encode())
    call(library.sonde_planted_evaluate, ctypes.byref(got), planted, ours, I64(0), I64(rows))
    x, features = np.empty((rows, d), F), np.empty((rows, n), F)
    call(library.sonde_planted_rows, pointer(x), pointer(features), planted, I64(0), I64(rows))
    theirs = SAE.load_from_disk(str(folder / "sae"), dtype="float64")
    with torch.no_grad():
        xs, fs = torch.from_numpy(x).double(), torch.from_numpy(features).double()
        latents = theirs.encode(xs)
        out = theirs.decode(latents)
        shrinkage, l0, true_l0, dead = evals.ShrinkageCalculator(), evals.L0Calculator(), evals.L0Calculator(), evals.DeadLatentsCalculator(s)
        shrinkage.add_batch(out, xs), l0.add_batch(latents), true_l0.add_batch(fs), dead.add_batch(latents)
        c = evals.compute_classification_metrics(latents, fs, theirs.W_dec, torch.from_numpy(truth).double())
        want = {"mcc": evals.mean_correlation_coefficient(theirs.W_dec, torch.from_numpy(truth).double()),
                "uniqueness": evals.feature_uniqueness(theirs.W_dec, torch.from_numpy(truth).double()), "precision": c.precision, "recall": c.recall,
                "f1": c.f1_score, "accuracy": c.accuracy, "shrinkage": shrinkage.compute(), "true_l0": true_l0.compute(), "l0": l0.compute(),
                "explained_variance": 1 - float(((out - xs) ** 2).sum() / ((xs - xs.mean(0)) ** 2).sum()), "n_dead": dead.compute()}
    for key, value in want.items():
        # one feature at its threshold may be on here and off there
        score.check(f"score {key}", abs(getattr(got, key) - value) <= 2e-5 * max(1.0, abs(value)), f"{getattr(got, key)}, want {value}")
    print(", ".join(f"{k} {v:.4f}" for k, v in want.items()))


def main(program):
    score, sonde = Score(), Sonde(program)
    library = ctypes.CDLL(str(pathlib.Path(sonde.program).parent / "libsonde.so"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        score.attempt("matching", check_matching, score, library)
        score.attempt("scores", check_scores, score, library, folder)
        score.attempt("training", check_training, score, library)
        run = json.loads(sonde.run("toy", "basic", "--steps", "3000", "--json", "-q", "-o", folder / "toy").stdout)
        score.check("basic", [f["verdict"] for f in run["experiments"][0]["findings"]] == ["pass"] * 4, str(run))
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
