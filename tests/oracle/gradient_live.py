"""`sonde act --grad` against torch's autograd in float64: on random tiny models made now, on TransformerLens with its backward
hooks, and on real models with transformers' own graph.

    gradient_live.py [SONDE_PROGRAM [N_MODELS [SEED]]]

Every hook point of random models comes from the hand-written graph of gradient_reference.py, which is checked node by node
against transformers' activations. Real models lie under SONDE_SHARED (default ../shared); without them that part is left out.
"""
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers

import common
import gradient_reference as reference
import model_golden
import model_live
import model_tl_live
from sonde_cli import Score, Sonde

LIMIT, LOSS_LIMIT = 2e-5, 5e-5  # a probability takes the absolute error of its logits, which is that of the largest of them
SHARED = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
TEXT_IDS = [1, 9038, 2501, 263, 931, 29892, 727, 471, 263, 2217, 7826, 4257, 365, 2354, 29889]  # Once upon a time, there was ...
HOOKS = [x for pattern in ["*", *model_live.ON_REQUEST] for x in ("--hook", pattern)]


def gradients_of(got):
    return {name.removesuffix("_grad"): x for name, x in got.items() if name.endswith("_grad")}


BEFORE_SCORES = ("hook_attn_scores", "hook_q", "hook_k", "hook_rot_q", "hook_rot_k", "hook_q_input", "hook_k_input")


def share_of(point, want):
    """Gradients of scores, and of what they are made of, are differences of those of patterns, and may all but vanish (where
    there is one key, they do): then the latter are the measure. In units of the point's own largest value."""
    if not point.endswith(BEFORE_SCORES):
        return 1.0
    own, above = (np.abs(want[p]).max() for p in (point, f"blocks.{point.split('.')[1]}.attn.hook_pattern"))
    return max(own, 1e-30) / max(own, 0.02 * above, 1e-30)


def compare(score, name, got, want, optional=()):
    """Every gradient that is wanted: shape and values; returns the largest error and where it is."""
    missing = sorted(set(want) - set(got))
    score.check(name, not missing and not set(got) - set(want) - set(optional), f"missing {missing[:5]}, extra "
                f"{sorted(set(got) - set(want) - set(optional))[:5]}")
    worst, where, limit = 0.0, "-", LOSS_LIMIT if name.endswith("loss") else LIMIT
    for point in sorted(set(want) & set(got)):
        error = common.relative_error(got[point].astype(np.float64), want[point])
        error *= share_of(point, want)
        score.check(f"{name} {point}", error <= limit, f"error {error:.3g}, {got[point].shape} for {want[point].shape}")
        if not error <= worst:
            worst, where = error, point
    return worst, where


# ---- random models ----


def random_model(score, sonde, rng, spec, seed, folder, table):
    directory = folder / spec["name"]
    model_golden.save(spec, seed, directory)
    spec["sequences"] = [min(n, 24) for n in spec["sequences"]]
    sequences = model_live.sequences_of(rng, spec)
    model = reference.Reference(directory)
    model.check(sequences[0], LIMIT)
    hooks = [h for i, h in enumerate(HOOKS) if model.H == model.K or "attn_in" not in HOOKS[i | 1]]
    a, b = (int(v) for v in rng.integers(0, spec["settings"]["vocab_size"], 2))
    objectives = {f"logit:#{a},#{b}": reference.logit_difference(a, b, -1)}
    if max(map(len, sequences)) > 1:
        objectives["loss"] = reference.mean_loss(sequences)
    for text, objective in objectives.items():
        if a == b and text != "loss":  # 0 everywhere
            continue
        value, _, want = model.gradients(sequences, objective)
        got = sonde.act(folder / "out.safetensors", directory, *model_live.ids_options(sequences), *hooks, "--grad", text)
        worst, where = compare(score, f"{spec['name']} {text}", gradients_of(got), want)
        summary = sonde.json("act", directory, *model_live.ids_options(sequences), "--hook", "embed", "--grad", text)
        score.check(f"{spec['name']} value", abs(summary["gradient"]["value"] - value) <= 1e-5 * max(1, abs(value)),
                    f"{summary['gradient']['value']} for {value}")
        if worst >= table.get(spec["kind"], (-1, ""))[0]:
            table[spec["kind"]] = (worst, f"{spec['name']} {where} of {text}")
    shutil.rmtree(directory)


# ---- TransformerLens ----


def lens_gradients(model, on_request, a, b):
    """Name -> gradient of logit a - b behind the last token, from its backward hooks.

    It norms the stream three times, for queries, keys and values: the gradient of what is one norm here is the sum of theirs
    (its own cache keeps the last of the three)."""
    if on_request:
        model.set_use_attn_result(True)
        model.set_use_split_qkv_input(True)
        model.set_use_hook_mlp_in(True)
    sums = {}

    def add(grad, hook):
        if on_request and ".ln1." in hook.name:  # of each head by itself then
            return
        sums[hook.name] = sums.get(hook.name, 0.0) + grad.detach().clone().numpy()

    with model.hooks(bwd_hooks=[(lambda name: True, add)]):
        logits = model(torch.tensor([model_tl_live.IDS]), prepend_bos=False)
        (logits[0, -1, a] - logits[0, -1, b]).backward()
    return sums


def lens(score, sonde, folder, name):
    directory, ids = model_golden.ROOT / name, ["--ids", ",".join(map(str, model_tl_live.IDS))]
    model = model_tl_live.lens_model(directory)
    got = gradients_of(sonde.act(folder / "lens.safetensors", directory, *ids, *HOOKS[:2], "--grad", "logit:#5,#7"))
    newer = ("unembed.hook_in", "unembed.hook_out")  # which not every version has
    worst, where = compare(score, f"{name} lens", got, lens_gradients(model, False, 5, 7), newer)
    requests = [x for x in model_live.ON_REQUEST if "attn_in" not in x]
    hooks = HOOKS[:2] + [x for pattern in requests for x in ("--hook", pattern)]
    every = gradients_of(sonde.act(folder / "lens.safetensors", directory, *ids, *hooks, "--grad", "logit:#5,#7"))
    split = lens_gradients(model, True, 5, 7)
    other, at = compare(score, f"{name} lens, on request", {p: x for p, x in every.items() if ".ln1." not in p}, split, newer)
    print(f"{name:16} TransformerLens: {len(got)} and {len(split)} points, largest error {max((worst, where), (other, at))}")


# ---- real models ----


def stream_gradients(model, ids, objective):
    """Gradients of the residual stream between layers, by transformers' own graph."""
    out = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    for x in out.hidden_states:
        x.retain_grad()
    out.logits.retain_grad()
    objective(out.logits[0]).backward()
    n = len(out.hidden_states) - 1
    points = {f"blocks.{i}.hook_resid_pre": x.grad for i, x in enumerate(out.hidden_states[:n])}
    points["unembed.hook_in"], points["unembed.hook_out"] = out.hidden_states[n].grad, out.logits.grad
    return {name: x.numpy() for name, x in points.items()}


def real(score, sonde, folder, name):
    directory = SHARED / "models" / name
    if not directory.exists():
        print(f"{name}: not there, left out")
        return
    model = common.load_float64(directory)
    V = model.config.vocab_size
    ids = TEXT_IDS if V > 20000 else [1, *(v % V for v in TEXT_IDS[1:])]
    objectives = {"loss": lambda logits: torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])),
                  "logit:#5,#7": lambda logits: logits[-1, 5] - logits[-1, 7]}
    for text, objective in objectives.items():
        hooks = ["--hook", "blocks.*.hook_resid_pre", "--hook", "unembed.*"]
        got = gradients_of(sonde.act(folder / "real.safetensors", directory, "--ids", ",".join(map(str, ids)), *hooks, "--grad", text))
        worst, where = compare(score, f"{name} {text}", got, stream_gradients(model, ids, objective))
        print(f"{name:16} {text:12} transformers: {len(got)} points, largest error {worst:.2e} at {where}")


def main(program, n_models=16, seed=0):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    score, sonde, table = Score(), Sonde(program), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for i in range(n_models):
            rng = np.random.default_rng((seed, i, 2))
            spec = model_live.random_spec(rng, i)
            score.attempt(f"model {spec}", random_model, score, sonde, rng, spec, 1000 * seed + i, folder, table)
        for kind, (error, where) in sorted(table.items()):
            print(f"{kind:16} random models, largest error {error:.2e} at {where}")
        for name in model_tl_live.MODELS:
            score.attempt(f"{name} lens", lens, score, sonde, folder, name)
        for name in ("stories15M", "stories260K"):
            score.attempt(name, real, score, sonde, folder, name)
    return score.done()


if __name__ == "__main__":
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")
    sys.exit(main(program, *map(int, sys.argv[2:])))
