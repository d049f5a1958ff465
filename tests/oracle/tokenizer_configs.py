"""Random tokenizer.json contents: any normalizers, pre-tokenizers, post-processors, decoders and added tokens around small
BPE models, whose merges are drawn at random and then kept valid."""

from tokenizer_strings import ALPHABETS

REGEXES = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}{1,3}", r"\p{N}", r"[\r\n]", r"\s+$", r"\s", r" ", r"\d+|\D+", r"\w+|[^\w\s]+",
    r"[A-Za-z]+(?:'[a-z]+)?", r"(?<=\d)(?=\D)|(?<=\D)(?=\d)", r"\b", r"^.", r".$", r"(?i)[a-f]+", r"(?i:é|ß|s)|x", r"[^\p{L}\p{M}]", r"\p{M}+",
    r"\p{^L}+", r"\P{L}", r"[[:alpha:]]+|[[:punct:]]", r"[[:^space:]]", r"[a-z&&[^aeiou]]+", r"[\p{L}&&\p{^Lu}]", r"\h{2}", r"a{2}?", r"a{1,2}+",
    r"(?x: a  b ) # c", r"(?m:.)+", r"\p{Han}|\p{Hiragana}+|[\p{Katakana}ー]+", r"(ab|a)(c|bcd)?", r"(?>a+)b", r"a*", r"x?", r"(?i)\p{Lu}+", r"(?i:[ſk])",
    r"[^\s\S]|q", r"\R|\s", r"\x{41}|\x42|\u0043|\t|\n", r"[\-\]\\a]", r"[a\-z]", r"\.\.\.|--", r"[ -/:-@]", r"a(?i)b|c", r"(?<!\d)\d", r"\Aa|b\z|c\Z",
    r"[+\-]?\d+(\.\d+)?", r"(?:\p{L}\p{M}*)+", r"\p{Sc}|\p{Sm}|\p{So}|\p{Sk}", r"[\p{P}$+<=>^~|`]", r"(?=[A-Z])", r"\s*\S+",
]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


# These match the empty text. Where a Replace puts something in at the very beginning, out of nothing, the library later repeats it.
EMPTY = {r"\b", r"(?<=\d)(?=\D)|(?<=\D)(?=\d)", r"a{2}?", r"a*", r"x?", r"(?=[A-Z])"}


def pattern(rng, may_be_empty=True):
    if not may_be_empty:
        return rng.choice([p for p in (pattern(rng) for _ in range(9)) if p.get("Regex") not in EMPTY])
    if rng.random() < 0.3:
        return {"String": rng.choice([" ", "a", "\u2581", "  ", "--", ".", "\n", "e\u0301", "'", "aa"])}
    return {"Regex": rng.choice(REGEXES)}


def byte_level(rng):
    return {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.4, "trim_offsets": rng.random() < 0.5, "use_regex": rng.random() < 0.6}


def metaspace(rng):
    scheme = rng.choice(["always", "first", "never"])
    return {"type": "Metaspace", "replacement": rng.choice("\u2581\u2581_"), "prepend_scheme": scheme, "split": rng.random() < 0.6}


def sequence(rng, key, make, depth):
    return {"type": "Sequence", key: [make(rng, depth + 1) for _ in range(rng.randint(0, 4))]}


def normalizer(rng, depth=0):
    simple = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]
    kind = rng.random()
    if kind < 0.45:
        return {"type": rng.choice(simple)}
    if kind < 0.6:
        return {"type": "Prepend", "prepend": rng.choice(["\u2581", "_", "ab", " "])}
    if kind < 0.75:
        return {"type": "Replace", "pattern": pattern(rng, False), "content": rng.choice(["\u2581", "", " ", "xy", "\u00e9"])}
    if kind < 0.82:
        return {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5}
    if kind < 0.86:
        return {"type": "ByteLevel"}
    return sequence(rng, "normalizers", normalizer, depth) if depth < 2 else {"type": "NFC"}


def pre_tokenizer(rng, depth=0):
    kind = rng.random()
    if kind < 0.25:
        return byte_level(rng)
    if kind < 0.5:
        return {"type": "Split", "pattern": pattern(rng), "behavior": rng.choice(BEHAVIORS), "invert": rng.random() < 0.3}
    if kind < 0.62:
        return metaspace(rng)
    if kind < 0.7:
        return {"type": "Digits", "individual_digits": rng.random() < 0.5}
    if kind < 0.8:
        return {"type": rng.choice(["Whitespace", "WhitespaceSplit", "BertPreTokenizer"])}
    if kind < 0.85:
        return {"type": "Punctuation", "behavior": rng.choice(BEHAVIORS)}
    if kind < 0.88:
        return {"type": "FixedLength", "length": rng.randint(1, 6)}
    return sequence(rng, "pretokenizers", pre_tokenizer, depth) if depth < 2 else {"type": "Whitespace"}


def decoder(rng, depth=0):
    kind = rng.random()
    if kind < 0.3:
        return byte_level(rng)
    if kind < 0.42:
        return metaspace(rng)
    if kind < 0.55:
        return {"type": rng.choice(["ByteFallback", "Fuse"])}
    if kind < 0.65:
        return {"type": "Replace", "pattern": pattern(rng), "content": rng.choice([" ", "", "_"])}
    if kind < 0.72:
        return {"type": "Strip", "content": rng.choice(" a\u2581"), "start": rng.randint(0, 2), "stop": rng.randint(0, 1)}
    if kind < 0.76:
        return {"type": "BPEDecoder", "suffix": "</w>"}
    if kind < 0.8:
        return {"type": "WordPiece", "prefix": "##", "cleanup": rng.random() < 0.5}
    return sequence(rng, "decoders", decoder, depth) if depth < 2 else {"type": "Fuse"}


def processor(rng, tokens, depth=0):
    kind = rng.random()
    if kind < 0.2:
        return byte_level(rng)
    if kind < 0.75:
        names = [rng.choice(tokens) for _ in range(3)]
        pieces = [{"SpecialToken": {"id": n, "type_id": 0}} for n in names[:rng.randint(0, 2)]] + [{"Sequence": {"id": "A", "type_id": 0}}]
        pieces += [{"SpecialToken": {"id": names[2], "type_id": 0}}] if rng.random() < 0.5 else []
        specials = {n: {"id": n, "ids": [tokens.index(n)], "tokens": [n]} for n in names}
        pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
        return {"type": "TemplateProcessing", "single": pieces, "pair": pair, "special_tokens": specials}
    if kind < 0.9 or depth > 1:
        fields = {"sep": [tokens[0], 0], "cls": [tokens[1], 1]}
        return rng.choice([{"type": "BertProcessing", **fields}, {"type": "RobertaProcessing", **fields, "trim_offsets": True, "add_prefix_space": True}])
    return {"type": "Sequence", "processors": [processor(rng, tokens, depth + 1) for _ in range(rng.randint(0, 3))]}


def byte_chars():
    """GPT-2's printable character for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(rest)) for b in range(256)]


def model(rng):
    alphabet = []
    if rng.random() < 0.55:
        chars = byte_chars()
        alphabet += chars if rng.random() < 0.8 else rng.sample(chars, 150)
    if rng.random() < 0.6 or not alphabet:
        alphabet += sorted(set("".join(rng.sample(ALPHABETS, rng.randint(3, 12)))) | set("abcdehlo rtw\u2581"))
    fallback = rng.random() < 0.4
    specials = ["<unk>", "<s>", "</s>", "<pad>"]
    prefix = rng.choice(["##", "\u2581"]) if rng.random() < 0.12 else None
    suffix = rng.choice(["</w>", "</w>", "~"]) if rng.random() < 0.12 else None
    tokens = list(dict.fromkeys(specials + alphabet))
    pieces = [t for t in tokens if t not in specials]
    if fallback:
        missing = rng.sample(range(256), 3) if rng.random() < 0.2 else []
        tokens += [t for t in ("<0x%02X>" % b for b in range(256) if b not in missing) if t not in tokens]
    if prefix:
        pieces += [prefix + p for p in pieces]
    if suffix:
        pieces += [p + suffix for p in rng.sample(pieces, len(pieces) // 2)]
    tokens = list(dict.fromkeys(tokens + pieces))
    known, merges, common = set(tokens), [], [p for p in pieces if p[:1] in "abcdehlortw \u2581\u0120"] or pieces
    if rng.random() < 0.1:
        common = common + [t for t in tokens if t.startswith("<")]
    for _ in range(rng.randint(0, 400)):
        a, b = rng.choice(common), rng.choice(common)
        if prefix and not b.startswith(prefix):
            continue
        joined = a + (b[len(prefix):] if prefix else b)
        if len(joined) > 30 or not b:
            continue
        merges.append([a, b])
        if joined not in known:
            known.add(joined)
            tokens.append(joined)
            common.append(joined)
    if rng.random() < 0.5:
        rng.shuffle(merges)
    if rng.random() < 0.3:
        tokens += [w for w in ("hello", "\u2581the", "ab cd", "\u0120world") if w not in known]
    if rng.random() < 0.4 and all(" " not in x for pair in merges for x in pair):
        merges = [" ".join(pair) for pair in merges]
    out = {"type": "BPE", "dropout": None, "unk_token": rng.choice([None, "<unk>", "<unk>"]), "continuing_subword_prefix": prefix,
           "end_of_word_suffix": suffix, "fuse_unk": rng.random() < 0.5, "byte_fallback": fallback, "ignore_merges": rng.random() < 0.3}
    out.update(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    return out, specials


def added_tokens(rng, vocab, specials):
    contents = specials[:rng.randint(0, 4)] + rng.sample(["[X]", "hello", "  ", "    ", "ab", "abc", "\u00e9", "E", "wor", "\u2581a", "<|x|>", "\n\n", "d "], rng.randint(0, 6))
    out = []
    for content in contents:
        special = rng.random() < (0.9 if content in specials else 0.3)
        flags = {k: rng.random() < 0.25 for k in ("single_word", "lstrip", "rstrip")}
        out.append({"id": vocab.get(content, len(vocab) + len([t for t in out if t["content"] not in vocab])), "content": content, **flags,
                    "normalized": rng.random() < 0.5, "special": special})
    return out


def random_config(rng):
    bpe, specials = model(rng)
    maybe = lambda chance, make, *more: make(rng, *more) if rng.random() < chance else None
    tokens = list(bpe["vocab"])
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens(rng, bpe["vocab"], specials),
            "normalizer": maybe(0.6, normalizer), "pre_tokenizer": maybe(0.8, pre_tokenizer), "post_processor": maybe(0.5, processor, tokens),
            "decoder": maybe(0.8, decoder), "model": bpe}
