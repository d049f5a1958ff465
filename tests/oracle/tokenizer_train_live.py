#!/usr/bin/env python3
"""Compares `sonde tokenizer train` with the trainer of the `tokenizers` library: the files that both write must be equal.

    tokenizer_train_live.py [texts] [random] [speed] [--cases N] [--seed N]

The program is SONDE_PROGRAM (build/sonde), the shared folder SONDE_SHARED (../shared): without it only random runs. Without names
of parts, texts and random do:
  texts     books, Shakespeare and stories in several vocabularies; what was trained encodes the held-out text alike in both
  random    random texts in many scripts and of few letters, with special tokens that are also made by merges
  speed     both on 100 MB of stories, vocabularies of 4096 and 8192, and prints the times
Exits 1 if anything differs. Prints a line for each part.
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
import tokenizer_common
from tokenizer_strings import random_string
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PROGRAM = Path(os.environ.get("SONDE_PROGRAM", "build/sonde")).resolve()
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
END = ("<|endoftext|>",)
FAILURES = []


def reference(texts, vocab, min_frequency=2, specials=END, pattern="gpt2", prepends=False):
    """The library's own tokenizer of the texts, one sequence each."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "gpt2")
    split = [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = byte_level if pattern == "gpt2" else pre_tokenizers.Sequence(split)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    tok.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=min_frequency, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if prepends:
        bos = {"SpecialToken": {"id": specials[0], "type_id": 0}}
        template = {"type": "TemplateProcessing", "single": [bos, sequence("A", 0)],
                    "pair": [bos, sequence("A", 0), {"SpecialToken": {"id": specials[0], "type_id": 1}}, sequence("B", 1)],
                    "special_tokens": {specials[0]: {"id": specials[0], "ids": [0], "tokens": [specials[0]]}}}
        tok = Tokenizer.from_str(json.dumps({**json.loads(tok.to_str()), "post_processor": template}))
    return tok


def sequence(name, type_id):
    return {"Sequence": {"id": name, "type_id": type_id}}


def train(out, files, vocab, min_frequency=2, specials=END, pattern="gpt2", limit=0, threads=0, prepends=False):
    """sonde's; an error is its message."""
    line = [str(PROGRAM), "tokenizer", "train", *map(str, files), "-o", str(out), "--vocab", str(vocab), "-q", "--min-frequency",
            str(min_frequency), "--pattern", pattern, "--limit", str(limit), "--threads", str(threads)]
    line += [word for special in specials for word in ("--special", special)] or ["--no-special"]
    line += ["--prepend-bos"] if prepends else []
    done = subprocess.run(line, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip()


def fail(part, what):
    FAILURES.append(what)
    if len(FAILURES) < 40:
        print(f"  DIFFERENT {part}: {what}", flush=True)


def same_file(part, what, path, tok):
    """Whether sonde's file is what the library writes."""
    got, want = path.read_text(encoding="utf-8"), tok.to_str(pretty=True)
    if got == want:
        return True
    ours, theirs = json.loads(got)["model"], json.loads(want)["model"]
    at = next((i for i, (a, b) in enumerate(zip(ours["merges"], theirs["merges"])) if a != b), None)
    fail(part, f"{what}: merges differ at {at}" if at is not None else f"{what}: vocabulary or settings differ")
    return False


def documents(path, limit=0):
    """Texts of a file, as sonde reads them."""
    if path.suffix == ".txt":
        yield path.read_bytes().decode()
        return
    packed = path.suffix == ".zst"
    run = subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE) if packed else None
    for i, line in enumerate(run.stdout if packed else path.open("rb")):
        if limit and i == limit:
            break
        yield json.loads(line)["text"]
    if packed:
        run.kill()


def is_utf8(path):
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def check_texts(shared, folder):
    text = shared / "text"
    books = [p for p in sorted((text / "gutenberg").glob("*.txt")) if is_utf8(p)]
    stories, play = text / "stories-sampled-0.jsonl.zst", text / "tinyshakespeare.txt"
    cases = [([play], 0, "gpt2", (257, 1000, 8192)), (books[:1], 0, "gpt2", (2000,)), (books[:8], 0, "gpt2", (16384,)),
             ([stories], 5000, "gpt2", (500, 4096)), ([play, text / "wikitext-1000.jsonl", stories], 2500, "llama3", (3000,))]
    lib = tokenizer_common.load_libsonde(str(PROGRAM.parent / "libsonde.so"))
    start, n = time.time(), 0
    for files, limit, pattern, vocabs in cases:
        texts = [t for path in files for t in documents(path, limit)]
        texts = texts[:limit or None]
        for vocab in vocabs:
            out, what = folder / "trained" / "tokenizer.json", f"{files[-1].name}, vocabulary {vocab}, {pattern}"
            prepends = n % 2 == 1
            tok, n = reference(texts, vocab, pattern=pattern, prepends=prepends), n + 1
            error = train(out.parent, files, vocab, pattern=pattern, limit=limit, prepends=prepends)
            if error or not same_file("texts", what, out, tok):
                fail("texts", f"{what}: {error}") if error else None
                continue
            # the library loads sonde's file, and encodes what neither was trained on as sonde does
            loaded, ours = Tokenizer.from_file(str(out)), tokenizer_common.Sonde(lib, out)
            for heldout in [*documents(text / "stories-heldout.jsonl.zst", 200), play.read_text()[:100000]]:
                wrong = tokenizer_common.compare(ours, loaded, heldout, covers=True)
                if wrong or loaded.encode(heldout).ids != tok.encode(heldout).ids:
                    fail("texts", f"{what}: encodes {heldout[:40]!r} otherwise: {wrong}")
            ours.close()
    print(f"texts    {n} vocabularies, {time.time() - start:.0f} s", flush=True)


def random_texts(rng):
    """Texts of a few letters, where one token can be made in many ways, or of many scripts."""
    if rng.random() < 0.5:
        letters = rng.choice(["a", "ab", "abc", "ab ", "abcd", "aab b", "\u00e9\u00e8a", "a\n b", "ab'sll"])
        return ["".join(rng.choices(letters, k=rng.randint(1, rng.choice([5, 30, 200])))) for _ in range(rng.randint(1, 30))]
    return [random_string(rng) for _ in range(rng.randint(1, 40))]


def check_random(folder, n, seed):
    start, out, refused = time.time(), folder / "tokenizer.json", 0
    for i in range(n):
        rng = random.Random(seed * 1000003 + i)
        texts, min_frequency = random_texts(rng), rng.choice([0, 1, 2, 2, 3])
        specials = rng.choice([END, END, (), ("a",), ("ab", "\u0120a", "<s>", "<s>"), ("aa", "aba"), ("\u00e9\n\"\\\x01",)])
        how = dict(min_frequency=min_frequency, specials=specials, pattern=rng.choice(["gpt2", "gpt2", "llama3"]),
                   prepends=bool(specials) and rng.random() < 0.3)
        (folder / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        supported = reference(texts, 1 << 20, **how).get_vocab_size()
        least = 256 + len(set(specials) - {"a"})
        vocab = max(least, supported - rng.choice([0, 0, rng.randint(0, supported - 256)]))
        error = train(out, [folder / "texts.jsonl"], vocab, threads=rng.choice([1, 2, 3]), **how)
        if error and any(texts):
            fail("random", f"{i}: {error}")
        elif not error:
            same_file("random", f"{i}: {how}", out, reference(texts, vocab, **how))
        if any(texts) and i % 10 == 0:
            error, refused = train(out, [folder / "texts.jsonl"], supported + 1, **how), refused + 1
            if f"supports a vocabulary of {supported} tokens" not in str(error):
                fail("random", f"{i}: of {supported} tokens, {supported + 1} are not refused by number: {error}")
    print(f"random   {n} sets of texts, {refused} vocabularies too large, {time.time() - start:.0f} s", flush=True)


def check_speed(shared, folder):
    texts, n_bytes, path = [], 0, folder / "stories.jsonl"
    for text in (t for p in sorted((shared / "text").glob("stories-sampled-*.jsonl.zst")) for t in documents(p)):
        texts.append(text)
        n_bytes += len(text.encode())
        if n_bytes > 100_000_000:
            break
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    for vocab in (4096, 8192):
        start = time.time()
        error = train(folder / "tokenizer.json", [path], vocab)
        ours, start = time.time() - start, time.time()
        tok = reference(texts, vocab)  # the texts are in memory already
        theirs = time.time() - start
        if error:
            fail("speed", error)
        else:
            same_file("speed", f"vocabulary {vocab}", folder / "tokenizer.json", tok)
        print(f"speed    {n_bytes / 1e6:.0f} MB, vocabulary {vocab}: {ours:.1f} s, tokenizers without reading {theirs:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("SONDE_SHARED", "../shared")))
    a = parser.parse_args()
    parts = a.parts or ["texts", "random"]
    if not a.shared.is_dir():
        print(f"skip: texts: no '{a.shared}' (SONDE_SHARED)")
        parts = ["random"]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if "texts" in parts:
            check_texts(a.shared, folder)
        if "random" in parts:
            check_random(folder, a.cases, a.seed)
        if "speed" in parts:
            check_speed(a.shared, folder)
    print(f"{len(FAILURES)} differences")
    sys.exit(bool(FAILURES))


if __name__ == "__main__":
    main()
