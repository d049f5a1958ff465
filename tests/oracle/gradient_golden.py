"""Makes tests/golden/gradients/*.safetensors: gradients of golden models, by torch's autograd in float64.

    gradient_golden.py            writes them all
    gradient_golden.py --check    makes them anew and compares with what is stored

The tokens are those of the model's golden.safetensors. Names say of what and by what:

    loss/value, loss/parameter/NAME, loss/point/NAME          mean cross-entropy of the next token
    difference/value, difference/point/NAME                   logit 5 minus logit 7 behind the last token of each sequence
"""
import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

import common
import gradient_reference as reference
import model_golden

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/gradients"
A, B, POSITION = 5, 7, -1

# name: what is stored. Inputs of heads are large: only where `split` says so.
MODELS = {
    "gpt2-plain": "parameters points split difference",
    "gpt2-relu-inner": "parameters points",
    "gpt2-odd": "parameters points",
    "gpt2-unscaled": "parameters points",
    "gpt2-bf16": "points",
    "gpt2-sharded": "parameters points split",
    "llama-plain": "parameters points split",
    "llama-gqa": "parameters points split difference",
    "llama-mqa-head-dim": "parameters points split",
    "llama-biases": "parameters points",
    "llama-tied-gelu": "parameters points",
    "llama-linear-rope": "parameters",
    "llama-llama3-rope": "parameters points",
    "llama-f16": "points",
    "llama-sharded": "parameters",
    "llama-long": "parameters some",  # more rows than a block of logits has
    "mistral-plain": "parameters",
    "qwen2-plain": "parameters points",
}
SOME = ("hook_embed", "blocks.0.attn.hook_q", "blocks.0.hook_resid_post", "unembed.hook_in")


def is_stored(name, what):
    if name.endswith(reference.SPLIT):
        return "split" in what
    return "points" in what or ("some" in what and name in SOME)


def gradients(name, what):
    stored = load_file(model_golden.ROOT / name / "golden.safetensors")
    sequences = [[int(v) for v in row[:n]] for row, n in zip(stored["tokens"], stored["lengths"])]
    model = reference.Reference(model_golden.ROOT / name)
    for ids in sequences:
        model.check(ids)
    objectives = {"loss": reference.mean_loss(sequences)}
    if "difference" in what:
        objectives["difference"] = reference.logit_difference(A, B, POSITION)
    out = {}
    for of, objective in objectives.items():
        value, parameters, points = model.gradients(sequences, objective)
        out[f"{of}/value"] = np.array([value])
        for point, x in points.items():
            if is_stored(point, what):
                out[f"{of}/point/{point}"] = x.astype(np.float32)
        for parameter, x in parameters.items():
            if of == "loss" and "parameters" in what:
                out[f"{of}/parameter/{parameter}"] = x.astype(np.float32)
    return {key: np.ascontiguousarray(x) for key, x in out.items()}


def main(is_check):
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "made by": "tests/oracle/gradient_golden.py",
                "a": str(A), "b": str(B), "position": str(POSITION)}
    ROOT.mkdir(exist_ok=True)
    for name, what in MODELS.items():
        made, path = gradients(name, what.split()), ROOT / f"{name}.safetensors"
        if not is_check:
            save_file(made, path, metadata=versions)
            print(f"{name:24} {path.stat().st_size / 1024:7.1f} KiB", flush=True)
            continue
        stored = load_file(path)
        assert made.keys() == stored.keys(), name
        for key in made:
            assert common.relative_error(made[key].astype(float), stored[key].astype(float)) <= 2e-7, (name, key)
    print(f"{len(MODELS)} files")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    main(sys.argv[1:] == ["--check"])
