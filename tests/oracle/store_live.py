#!/usr/bin/env python3
"""`sonde harvest` against transformers: every row of a store, read by the safetensors library, against hidden states in float64.

    store_live.py [SONDE_PROGRAM]

models/stories comes with the project; stories15M lies under SONDE_SHARED (default ../shared), and is left out where it does not.
"""
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer

from sonde_cli import Score, Sonde

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
sys.path.insert(0, str(ROOT / "tests"))
import workplace

EMBED, MIDDLE, MLP = "blocks.0.hook_resid_pre", "blocks.2.hook_resid_post", "blocks.1.hook_mlp_out"
LIMIT = 2e-6  # of a hook's largest value; the largest error seen is 1.0e-6


def write_texts(folder):
    """Short texts, and two that are longer than a context of 512."""
    workplace.write_stories(folder)
    lines = (folder / "stories.jsonl").read_text().splitlines()
    words = " ".join(json.loads(line)["text"] for line in lines)
    lines[3:3] = [json.dumps({"text": words}), json.dumps({"text": words[500:]})]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    return [json.loads(line)["text"] for line in lines]


def expected(directory, texts):
    """Rows of each hook, and token, document and position of each, for all positions but the first."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float64)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    begin = next(id for name, id in ((n, tokenizer.token_to_id(n)) for n in ("<s>", "<|endoftext|>")) if id is not None)
    rows, places, outputs = {EMBED: [], MIDDLE: [], MLP: []}, [], []
    model.model.layers[1].mlp.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for number, text in enumerate(texts):
        ids = [begin, *tokenizer.encode(text, add_special_tokens=False).ids][: model.config.max_position_embeddings]
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for name, x in ((EMBED, states[0]), (MIDDLE, states[3]), (MLP, outputs.pop())):
            rows[name].append(x[0, 1:])
        places += [(id, number, position) for position, id in enumerate(ids)][1:]
    return {name: torch.cat(x).numpy() for name, x in rows.items()}, np.array(places)


def read(folder):
    """All shards behind one another, and the metadata of each."""
    paths = sorted(folder.glob("shard-*.safetensors"))
    shards = [load_file(path) for path in paths]
    metadata = [safe_open(path, "pt").metadata() for path in paths]
    return {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}, metadata, [len(s["tokens"]) for s in shards]


def check_model(score, sonde, folder, directory, texts):
    name, hooks = directory.name, [argument for hook in (EMBED, MIDDLE, MLP) for argument in ("--hook", hook)]
    want, places = expected(directory, texts)
    for dtype in ("f32", "bf16"):
        sonde.run("harvest", directory, "-f", folder / "texts.jsonl", *hooks, "--act-dtype", dtype, "--shard-bytes", 2000000, "-q",
                  "-o", folder / f"{name}-{dtype}")
    got, metadata, lengths = read(folder / f"{name}-f32")
    rounded, _, _ = read(folder / f"{name}-bf16")
    first = np.cumsum([0, *lengths])
    score.check(f"{name} shards", len(metadata) > 1 and [m["first_row"] for m in metadata] == [str(n) for n in first[:-1]])
    have = np.stack([got["tokens"].numpy(), got["document"].numpy(), got["position"].numpy()], 1)
    score.check(f"{name} places", np.array_equal(have, places))
    worst = 0
    for hook in want:
        x = got[hook].numpy()
        error = np.abs(x - want[hook]).max() / np.abs(want[hook]).max() if x.shape == want[hook].shape else np.inf
        score.check(f"{name} {hook}", x.dtype == np.float32 and error <= LIMIT, f"{error:.2e}")
        score.check(f"{name} {hook} in bf16", torch.equal(rounded[hook], got[hook].to(torch.bfloat16)))
        worst = max(worst, error)
    print(f"{name}: {len(places)} rows of {len(want)} hook points in {len(lengths)} shards, largest error {worst:.2e} of the largest value")


def main():
    sonde, score = Sonde(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")), Score()
    directories = [ROOT / "models/stories", SHARED / "models/stories15M"]
    for directory in directories:
        if not directory.is_dir():
            print(f"skip: no model '{directory}'")
            continue
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            score.attempt(directory.name, check_model, score, sonde, folder, directory, write_texts(folder))
    return score.done()


if __name__ == "__main__":
    sys.exit(main())
