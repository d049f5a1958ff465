#!/usr/bin/env python3
"""Compares sonde's tokenizer with the `tokenizers` library on real texts, adversarial strings and all code points.

    tokenizer_live.py [texts] [points] [strings] [configs] [--so FILE] [--shared FOLDER] [--documents N] ...

The library is libsonde.so beside the program that SONDE_PROGRAM names (build/sonde); the shared folder, with tokenizers/,
models/ and text/, is SONDE_SHARED (../shared): without it only configs run. Without names of parts, all do:
  texts     every file of SHARED/text: books and small sets whole, of the large ones the first N documents (default 100)
  strings   adversarial and random strings
  points    each of the 1,112,064 code points between letters, digits and spaces
  configs   random tokenizer.json files made with the library (tokenizer_configs.py), on random strings
Prints one line for each part and tokenizer; exits 1 if anything differs.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
sys.path.insert(0, os.path.dirname(__file__))
from tokenizer_common import Sonde, SondeError, Tokenizer, compare, load_libsonde
from tokenizer_strings import ADVERSARIAL, random_string

FAILURES = []


class Pair:
    def __init__(self, lib, path):
        self.path, self.sonde, self.reference = path, Sonde(lib, path), Tokenizer.from_file(str(path))
        self.name = path.parent.name

    def check(self, part, texts, **how):
        """Compares a list of texts; returns how many bytes they have."""
        for text, encoding in zip(texts, self.reference.encode_batch(texts)):
            wrong = compare(self.sonde, self.reference, text, encoding=encoding, **how)
            if wrong:
                FAILURES.append((part, self.name, text[:60], wrong))
                if len(FAILURES) < 40:
                    print("  DIFFERENT %s %s %r: %s" % (part, self.name, text[:60], wrong), flush=True)
        return sum(len(t.encode()) for t in texts)


def documents(path, limit):
    if path.name.endswith(".zst"):
        run = subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE)
        lines = run.stdout
    elif path.suffix == ".jsonl":
        lines, limit = path.open("rb"), None
    else:
        yield path.read_bytes().decode("utf-8", "replace")
        return
    for i, line in enumerate(lines):
        if limit is not None and i >= limit:
            break
        yield json.loads(line)["text"]
    if path.name.endswith(".zst"):
        run.kill()


def check_texts(pairs, shared, limit, share):
    files = sorted(p for p in (shared / "text").rglob("*") if p.suffix in (".txt", ".jsonl", ".zst"))
    for i, pair in enumerate(pairs):
        start, n_bytes, n = time.time(), 0, 0
        for path in files[i % share::share]:
            texts = list(documents(path, limit))
            n_bytes += pair.check(path.name, texts)
            n += len(texts)
        print("texts    %-12s %d files, %d documents, %.1f MB, %.0f s" % (pair.name, len(files[i % share::share]), n, n_bytes / 1e6, time.time() - start), flush=True)


def check_strings(pairs, n, seed):
    for pair in pairs:
        start, rng = time.time(), random.Random(seed)
        added = [t.content for t in pair.reference.get_added_tokens_decoder().values()][:40]
        texts = list(ADVERSARIAL) + [random_string(rng, added) for _ in range(n)]
        pair.check("strings", texts)
        print("strings  %-12s %d, %.0f s" % (pair.name, len(texts), time.time() - start), flush=True)


def check_points(pairs):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for pair in pairs:
        start = time.time()
        for base in range(0, len(points), 1 << 14):
            chunk = points[base:base + (1 << 14)]
            texts = ["".join("x%cy 7%c8 %c  %c" % (c, c, c, c) for c in chunk[i:i + 64]) for i in range(0, len(chunk), 64)]
            pair.check("points", texts, decode=False, strings=False)
        print("points   %-12s %d, %.0f s" % (pair.name, len(points), time.time() - start), flush=True)


def is_beyond(reference, config):
    """Whether two added tokens are one when they are normalized (which of them the library finds is a matter of chance), or Metaspace
    asks whether a text begins in its first character behind a Replace, whose content the library gives to the last one replaced
    (we give it to all of them, so that the answer differs)."""
    if '"Replace"' in json.dumps(config["normalizer"]) and '"first"' in json.dumps(config["pre_tokenizer"]):
        return True
    tokens = [t for t in reference.get_added_tokens_decoder().values() if t.normalized]
    if reference.normalizer is None:
        return False
    return len({reference.normalizer.normalize_str(t.content) for t in tokens}) < len(tokens)


def has_right_spans(config):
    """Where a character gives no token, or tokens of another length than its own, the library's spans are off from there on; what
    a Replace puts in, it gives to the last character before."""
    model, vocab = config["model"], config["model"]["vocab"]
    if model["byte_fallback"] and '"ByteLevel"' in json.dumps([config["normalizer"], config["pre_tokenizer"]]):
        return False  # bytes of the characters that stand for bytes
    return ('"Replace"' not in json.dumps(config["normalizer"]) and model["unk_token"] is not None and not model["continuing_subword_prefix"] and not model["end_of_word_suffix"]
            and (not model["byte_fallback"] or all("<0x%02X>" % b in vocab for b in range(256))))


def check_configs(lib, n, seed):
    from tokenizer_configs import random_config
    start, loaded, refused, compared = time.time(), 0, {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            rng = random.Random(seed * 1000003 + i)
            config = random_config(rng)
            path = Path(folder) / "tokenizer.json"
            path.write_text(json.dumps(config))
            try:
                reference = Tokenizer.from_file(str(path))
            except BaseException:  # the library panics on some
                continue
            if is_beyond(reference, config):
                continue
            try:
                pair = Pair(lib, path)
            except SondeError as error:
                what = error.args[1].split(" at byte")[0][-60:]
                refused[what] = refused.get(what, 0) + 1
                if error.args[0] != -7:
                    FAILURES.append(("configs", str(i), "", error.args[1]))
                    print("  REFUSED %d: %s" % (i, error.args[1]), flush=True)
                continue
            pair.name = "config-%d" % i
            loaded += 1
            added = [t.content for t in reference.get_added_tokens_decoder().values()]
            spans = has_right_spans(config)
            for text in [random_string(rng, added) for _ in range(25)]:
                try:
                    encoding = reference.encode(text)
                except BaseException:
                    continue
                try:
                    wrong = compare(pair.sonde, reference, text, encoding=encoding, spans=spans,
                                    strings=not any(w in json.dumps(config["normalizer"]) for w in ('"Replace"', '"Strip"')))
                except SondeError as error:
                    wrong = str(error)
                except BaseException as error:  # the library's decoders panic on some lists of tokens
                    if "panic" not in str(type(error)).lower():
                        raise
                    continue
                compared += 1
                if wrong:
                    FAILURES.append(("configs", pair.name, text, wrong))
                    if len(FAILURES) < 40:
                        small = {k: v for k, v in config.items() if k != "model"}
                        print("  DIFFERENT %s %r: %s\n    %s" % (pair.name, text, wrong, json.dumps(small)), flush=True)
            pair.sonde.close()
    print("configs  %d of %d loaded, %d strings, %d refused by name, %.0f s" % (loaded, n, compared, sum(refused.values()), time.time() - start))
    for what, count in sorted(refused.items(), key=lambda item: -item[1])[:10]:
        print("    %4d %s" % (count, what))


def main():
    parser = argparse.ArgumentParser()
    program = Path(os.environ.get("SONDE_PROGRAM", "build/sonde"))
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--so", default=str(program.parent / "libsonde.so"))
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("SONDE_SHARED", "../shared")))
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--share", type=int, default=2, help="each tokenizer takes every N-th file of texts, another one than its neighbour; 1: all of them")
    parser.add_argument("--strings", type=int, default=1000)
    parser.add_argument("--configs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="tokenizers whose name has this in it")
    a = parser.parse_args()
    lib = load_libsonde(a.so)
    parts = a.parts or ["texts", "strings", "points", "configs"]
    if not a.shared.is_dir():
        print("skip: texts, strings and code points: no '%s' (SONDE_SHARED)" % a.shared)
        parts = ["configs"]
    paths = sorted((a.shared / "tokenizers").glob("*/tokenizer.json")) + sorted((a.shared / "models").glob("*/tokenizer.json"))
    # stories15M's file is Llama-2's
    pairs = [Pair(lib, p) for p in paths if (a.only or "") in p.parent.name and (a.only or p.parent.name != "stories15M")]
    if "strings" in parts:
        check_strings(pairs, a.strings, a.seed)
    if "texts" in parts:
        check_texts(pairs, a.shared, a.documents, a.share)
    if "points" in parts:
        check_points(pairs)
    if "configs" in parts:
        check_configs(lib, a.configs, a.seed)
    print("%d differences" % len(FAILURES))
    sys.exit(bool(FAILURES))


if __name__ == "__main__":
    main()
