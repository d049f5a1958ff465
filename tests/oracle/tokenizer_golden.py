#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: tiny tokenizers trained on a text of our own, and what the `tokenizers` library makes of strings.

    tokenizer_golden.py [SHARED]       SHARED adds shared.json: counts and hashes of the ids of SHARED's texts

Each cases file holds, for each string, ids with and without special tokens, the library's offsets as bytes, and both decodings.
"""
import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(__file__))
import tokenizers
from tokenizer_common import borders
from tokenizer_strings import ADVERSARIAL, random_string
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FOLDER = Path(__file__).parent.parent / "golden" / "tokenizer"
TEXT = """A probe goes where the eye cannot. It is small, it is patient, and it reads what it touches: pressure, heat, the
colour of the light. The sonde's readings are numbers; the numbers become a curve, the curve becomes a question. "What's in
there?" we ask, and we'll ask again in 1969, 1970 and 2024. Don't trust a single reading (they've been wrong before), and
don't trust 1,000 of them either unless they agree. Caf\u00e9s, na\u00efve r\u00e9sum\u00e9s, \u00fcber-stra\u00dfe, \u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440, \u4f60\u597d\u4e16\u754c.
    def read(probe):
        return probe.value   # the value, or None
The end of the end of the beginning: begin, began, begun; ring, rang, rung; the thing, the things, something.
"""
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tok, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())
    return tok


def regex_and_nfc():
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    train(tok, ["<|begin_of_text|>", "<|end|>"], pre_tokenizers.ByteLevel.alphabet())
    tok.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])
    tok.add_tokens([AddedToken("   ", normalized=True), AddedToken("probe", single_word=True), AddedToken("[MASK]", lstrip=True, rstrip=True)])
    return tok


def with_fallback(scheme):
    """As Llama-2's: the prefix and the spaces are the normalizer's ("normalizer") or Metaspace's business."""
    bytes_ = ["<0x%02X>" % b for b in range(256)]
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if scheme == "normalizer":
        tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme, split=False)])
    keep = tok.normalizer, tok.pre_tokenizer
    tok.normalizer, tok.pre_tokenizer = None, pre_tokenizers.Metaspace()
    train(tok, ["<unk>", "<s>", "</s>"] + bytes_, [])
    data = json.loads(tok.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    tok = Tokenizer.from_str(json.dumps(data))
    tok.normalizer, tok.pre_tokenizer = keep
    if scheme == "normalizer":
        tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tok


def train(tok, specials, alphabet):
    vocab = 90 + len(specials) + len(alphabet) + (140 if not alphabet else 0)
    tok.train_from_iterator(TEXT.split("\n"), trainers.BpeTrainer(vocab_size=vocab, special_tokens=specials, initial_alphabet=alphabet, show_progress=False))


def case(tok, text):
    full, bare, starts = tok.encode(text), tok.encode(text, add_special_tokens=False), borders(text)
    return {"text": text, "ids": full.ids, "bare": bare.ids, "start": [starts[a] for a, _ in full.offsets], "end": [starts[b] for _, b in full.offsets],
            "decoded": tok.decode(full.ids, skip_special_tokens=False), "skipped": tok.decode(full.ids, skip_special_tokens=True)}


def write_tiny():
    makers = {"byte_level": byte_level, "regex_nfc": regex_and_nfc, "fallback": lambda: with_fallback("normalizer"),
              "metaspace": lambda: with_fallback("first")}
    for name, make in makers.items():
        tok = make()
        (FOLDER / (name + ".json")).write_text(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
        rng = random.Random(7)
        added = [t.content for t in tok.get_added_tokens_decoder().values()]
        texts = [t for t in ADVERSARIAL[len(name) % 2::2] if len(t) < 60] + [TEXT[:120]] + [random_string(rng, added)[:30] for _ in range(15)]
        cases = [case(tok, t) for t in texts]
        lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        (FOLDER / (name + ".cases.json")).write_text('{"tokenizers":"%s","cases":[\n%s\n]}\n' % (tokenizers.__version__, lines))


def hash_ids(ids, h=0xCBF29CE484222325):
    for i in ids:
        for byte in i.to_bytes(4, "little"):
            h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def write_shared(shared):
    rows = []
    for name in ("tokenizers/gpt2", "tokenizers/gpt-neox", "tokenizers/llama2", "tokenizers/llama3", "models/stories260K"):
        tok = Tokenizer.from_file(str(shared / name / "tokenizer.json"))
        for file in ("text/gutenberg/carroll-alice.txt", "text/wikitext-1000.jsonl", "text/tinystories-1000.jsonl"):
            path = shared / file
            texts = [path.read_text()] if path.suffix == ".txt" else [json.loads(line)["text"] for line in path.open()]
            n, h = 0, 0xCBF29CE484222325
            for encoding in tok.encode_batch(texts):
                n, h = n + len(encoding.ids), hash_ids(encoding.ids, h)
            rows.append({"tokenizer": name, "file": file, "tokens": n, "hash": "%016x" % h})
    lines = ",\n".join(json.dumps(row) for row in rows)
    (FOLDER / "shared.json").write_text('{"tokenizers":"%s","rows":[\n%s\n]}\n' % (tokenizers.__version__, lines))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_tiny()
    if len(sys.argv) > 1:
        write_shared(Path(sys.argv[1]))
