"""Texts that are drawn side by side, on real models, against transformers: the likeliest continuations of many prompts in few
slots, and the distribution of the next token.

    generate_live.py [SONDE_PROGRAM]

The models lie under SONDE_SHARED (default ../shared); without them everything is skipped (exit status 77).
"""
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
import scipy.stats
import torch
import transformers
from tokenizers import Tokenizer

import common
from sonde_cli import Score, Sonde

SHARED = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
PROMPTS = ["Once upon a time", "Lily and Ben went to the park. They saw a", "The little dog", "", "One day, a big", "Tom was sad because"]
NEW = {"stories15M": 30, "stories260K": 100}


def write_prompts(folder):
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": p}) + "\n" for p in PROMPTS))
    return path


def continued(model, ids, n):
    """What transformers appends, up to the token that ends a text."""
    out = model.generate(torch.tensor([ids]), max_new_tokens=n, do_sample=False, pad_token_id=0)[0, len(ids):].tolist()
    ends = [i for i, token in enumerate(out) if token in (1, 2)]  # BOS begins another text, EOS ends one
    return out[: ends[0] + 1] if ends else out


def greedy(score, sonde, folder, name, model):
    """Prompts of all lengths in three slots: each as transformers continues it alone."""
    tokenizer = Tokenizer.from_file(str(SHARED / "models" / name / "tokenizer.json"))
    got = sonde.json("generate", SHARED / "models" / name, "-f", write_prompts(folder), "--greedy", "--max-tokens", NEW[name],
                     "--batch", 3)["samples"]
    score.check(f"{name} greedy", len(got) == len(PROMPTS), f"{len(got)} samples")
    for prompt, sample in zip(PROMPTS, got):
        ids = tokenizer.encode(prompt).ids
        want = continued(model, ids, NEW[name])
        score.check(f"{name} greedy '{prompt}'", sample["prompt_ids"] == ids and sample["ids"] == want, f"\n{sample['ids']}\n{want}")


def corpus(score, sonde, folder, name):
    """Lines of a corpus are the samples of --json, whatever the batch."""
    directory, path = SHARED / "models" / name, folder / "corpus.jsonl"
    sonde.run("generate", directory, "-n", 40, "--max-tokens", 30, "--seed", 9, "--batch", 16, "-o", path, "-q")
    lines = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    samples = sonde.json("generate", directory, "-n", 40, "--max-tokens", 30, "--seed", 9, "--batch", 7)["samples"]
    score.check(f"{name} corpus", lines == [s["prompt"] + s["text"] for s in samples] and len(set(lines)) > 30)


def distribution(score, sonde, name, model, n=3000):
    """The next token of many samples against the softmax of transformers' logits: no filter, and two temperatures."""
    tokenizer = Tokenizer.from_file(str(SHARED / "models" / name / "tokenizer.json"))
    ids = tokenizer.encode("One day,").ids
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    for temperature in (1.0, 1.6):
        p = (logits / temperature).softmax(-1).numpy()
        got = sonde.json("generate", SHARED / "models" / name, "--ids", ",".join(map(str, ids)), "-n", n, "--max-tokens", 1,
                         "--temperature", temperature, "--seed", 3)
        counts = np.bincount([s["ids"][0] for s in got["samples"]], minlength=len(p))
        common_ids = p * n >= 8
        observed, expected = np.append(counts[common_ids], counts[~common_ids].sum()), np.append(p[common_ids], p[~common_ids].sum()) * n
        chance = scipy.stats.chisquare(observed, expected * n / expected.sum()).pvalue
        print(f"{name}: {n} tokens at temperature {temperature}, {len(observed)} classes, chi-square's probability {chance:.3f}")
        score.check(f"{name} distribution at {temperature}", chance > 1e-4, f"probability {chance:.2g}")


def main(program):
    if not (SHARED / "models/stories260K/config.json").exists():
        print(f"skipped: no models under '{SHARED}' (SONDE_SHARED)")
        return 77
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in NEW:
            model = common.load_float64(SHARED / "models" / name)
            score.attempt(f"{name} greedy", greedy, score, sonde, folder, name, model)
            score.attempt(f"{name} corpus", corpus, score, sonde, folder, name)
            score.attempt(f"{name} distribution", distribution, score, sonde, name, model)
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
