#!/usr/bin/env python3
"""Autoencoders that `sonde sae train` leaves, of every architecture, in sae-lens's hands: it loads each folder, and every metric of
`sonde sae eval` is what sae-lens's encoder and decoder give with transformers' activations in float64. TensorBoard reads the curves.

    sae_train_live.py [SONDE_PROGRAM]

The model is models/stories, which comes with sonde.
"""
import json
import logging
import os
import pathlib
import sys
import tempfile
import warnings

import torch
from tokenizers import Tokenizer

warnings.filterwarnings("ignore")
from sae_lens import SAE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import common
import sae_eval_live
from sonde_cli import Score, Sonde

logging.disable(logging.WARNING)
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models/stories"
HOOK = f"blocks.{sae_eval_live.LAYER}.hook_resid_post"
EIGHT = ["--k", "8"]
ARCHS = {"standard-2023": ["--l1", "1"], "standard": ["--l1", "1"], "gated": ["--l1", "1"], "topk": EIGHT, "batchtopk": EIGHT,
         "abstopk": EIGHT, "matryoshka": EIGHT, "jumprelu": ["--l0", "0.3"], "panneal": ["--l1", "1"], "matching-pursuit": EIGHT,
         "kl": ["--kl", "0.1", "--rho", "0.1"]}
NORMS = ["constant-norm", "layer-norm"]
LIMIT = 5e-5


def write_texts(path):
    """Stories enough for a few hundred rows, by the model itself."""
    words = "once upon a time there was a little girl who had a big dog and they went to the park to play with a red ball".split()
    with path.open("w") as f:
        for i in range(40):
            f.write(json.dumps({"text": " ".join(words[(i * 7 + k * (1 + i % 5)) % len(words)] for k in range(40))}) + "\n")


def one(score, sonde, folder, arch, options):
    texts, directory = folder / "texts.jsonl", folder / arch
    sonde.run("sae", "train", MODEL, "--data", f"{texts}:4", "--hook", HOOK, "--arch", "topk" if arch in NORMS else arch, "--width", "96", "--batch",
              "128", "--steps", "30", "--lr", "3e-3", "--warmup", "5", "-o", directory, "-q", *options)
    sae = SAE.load_from_disk(directory, dtype="float64")
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    lines = texts.read_text().splitlines()[:5]
    (folder / "some.jsonl").write_text("\n".join(lines) + "\n")
    bos = json.loads((MODEL / "config.json").read_text())["bos_token_id"]
    ids = [torch.tensor([bos] + [i for i in tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids]) for line in lines]
    want, fired = sae_eval_live.expected(common.load_float64(MODEL), sae, ids, False)
    got = sonde.json("sae", "eval", MODEL, directory, "-f", folder / "some.jsonl", "--bos", "always")
    worst = 0.0
    for key, value in want.items():
        error = abs(got["metrics"][key]["value"] - value) / max(1.0, abs(value))
        score.check(f"{arch} {key}", error <= LIMIT, f"{got['metrics'][key]['value']}, want {value}")
        worst = max(worst, error)
    score.check(f"{arch} explains something", want["explained_variance"] > 0.1, str(want["explained_variance"]))
    print(f"{arch}: L0 {want['l0']:.1f}, explained variance {want['explained_variance']:.3f}, largest difference {worst:.1e}")


def curves(score, sonde, folder):
    """Numbers of curve.csv as TensorBoard reads them from the events beside it."""
    directory = folder / "curves"
    sonde.run("sae", "train", MODEL, "--data", folder / "texts.jsonl", "--hook", HOOK, "--width", "96", "--k", "8", "--batch", "128", "--steps", "7",
              "--held-out", folder / "texts.jsonl", "--eval-every", "3", "--eval-documents", "2", "--tensorboard", "-o", directory, "-q")
    names, *rows = [line.split(",") for line in (directory / "training/curve.csv").read_text().splitlines()]
    events = EventAccumulator(str(directory / "training"))
    events.Reload()
    score.check("curves are there", sorted(events.Tags()["scalars"]) == sorted(names[2:]), str(events.Tags()))
    for name in names[2:]:
        want = [(int(row[0]), float(row[names.index(name)])) for row in rows if row[names.index(name)] != ""]
        got = [(event.step, event.value) for event in events.Scalars(name)]
        near = len(got) == len(want) and all(a[0] == b[0] and abs(a[1] - b[1]) <= 1e-6 * max(1.0, abs(b[1])) for a, b in zip(got, want))
        score.check(f"curve of {name}", near, f"{got}, want {want}")


def main(program):
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_texts(folder / "texts.jsonl")
        for arch, options in ARCHS.items():
            score.attempt(arch, one, score, sonde, folder, arch, options)
        score.attempt("curves", curves, score, sonde, folder)
        for norm in NORMS:
            score.attempt(norm, one, score, sonde, folder, norm, [*EIGHT, "--scaling", norm])
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
