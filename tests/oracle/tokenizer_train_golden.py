#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_train/: texts, settings, and what the `tokenizers` library's BpeTrainer learns from them.

    tokenizer_train_golden.py

cases.json has for each case the texts, the settings, the vocabulary behind the 256 bytes and the merges; `whole` names a case whose
file is stored too, as the library writes it, to be met byte for byte.
"""
import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
import tokenizers
from tokenizer_strings import ADVERSARIAL, random_string
from tokenizer_train_live import END, reference

FOLDER = Path(__file__).parent.parent / "golden" / "tokenizer_train"
STORY = ("Once upon a time there was a small probe. It wasn't big, but it'd go where the eye can't. \"What's in there?\" they asked "
         "in 1969, and they'll ask again in 2024.\n\nThe probe sank;  the numbers rang: ring, rang, rung.\n")


def letters(seed, alphabet, n, length):
    rng = random.Random(seed)
    return ["".join(rng.choices(alphabet, k=rng.randint(1, length))) for _ in range(n)]


def scripts(seed, n):
    rng = random.Random(seed)
    return [random_string(rng)[:60] for _ in range(n)]


CASES = [
    ("story", [STORY, STORY.upper(), "", "the end"], 300, dict()),
    ("ties", ["ab cd ef gh ab cd ef gh", "hg fe dc ba hg fe dc ba", "zz yy xx zz yy xx"], 270, dict()),
    ("overlaps", ["aaaa aaaaaaa aaa aa a", "abababab babababa", "aabaabaab"], 268, dict(min_frequency=1)),
    # one token made in many ways: merges that come twice, and an id that is found again
    ("two_ways", letters(5, "ab", 12, 60), 290, dict(min_frequency=0)),
    ("frequent", [STORY] * 3 + letters(6, "abc ", 20, 40), 290, dict(min_frequency=6)),
    ("no_specials", [STORY], 280, dict(specials=())),
    ("specials", ["<s>the cat</s>", "<s>the dog</s><|endoftext|>the the the", "aaba aba aba"], 280,
     dict(specials=("<s>", "a", "\u0120the", "<s>", "aba", "\u00e9\n\"\\\x01\x7f"), min_frequency=1)),
    ("scripts", [s[:50] for s in ADVERSARIAL[22:50]] + scripts(7, 12), 320, dict()),
    ("llama3", [STORY, "12345 1234567 !!!\n\n DON'T don't\r\n\r\n  x\n\n y", *scripts(8, 8)], 300, dict(pattern="llama3")),
]


def main():
    FOLDER.mkdir(exist_ok=True)
    out = []
    for name, texts, vocab, how in CASES:
        tok = reference(texts, vocab, **how)
        model = json.loads(tok.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        specials = how.get("specials", END)
        first = 256 + len(set(specials) - set(tokenizers.pre_tokenizers.ByteLevel.alphabet()))
        assert len(tokens) == vocab, f"{name}: {len(tokens)} tokens, not {vocab}"
        out.append({"name": name, "n_vocab": vocab, "min_frequency": how.get("min_frequency", 2), "specials": list(specials),
                    "pattern": how.get("pattern", "gpt2"), "texts": texts, "bytes_end": first, "tokens": tokens[first:],
                    "merges": model["merges"]})
        if name == "specials":
            (FOLDER / "specials.json").write_text(tok.to_str(pretty=True), encoding="utf-8")
        if name == "llama3":
            (FOLDER / "llama3.json").write_text(tok.to_str(pretty=True), encoding="utf-8")
    made_by = {"tokenizers": tokenizers.__version__, "script": "tests/oracle/tokenizer_train_golden.py"}
    (FOLDER / "cases.json").write_text(json.dumps({"made_by": made_by, "cases": out}, indent=0) + "\n")


if __name__ == "__main__":
    main()
