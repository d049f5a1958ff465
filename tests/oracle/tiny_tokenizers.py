"""Writes tests/golden/tokenizers: two tiny tokenizer.json files of the kinds that sonde reads, trained on a few words.

    python tests/oracle/tiny_tokenizers.py"""
import json
import os

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(__file__), "..", "golden", "tokenizers")
WORDS = ["the cat sat on the mat", "a cat and a dog", "the dogs sat", "one two three 123 456", "it's theirs, isn't it?", "größer 猫"]


def byte_level():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    return t


def byte_fallback():
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.train_from_iterator([w.replace("größer 猫", "") for w in WORDS],
                          trainers.BpeTrainer(vocab_size=300, special_tokens=specials, show_progress=False))
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    raw = json.loads(t.to_str())
    raw["added_tokens"] = raw["added_tokens"][:3]  # the bytes are plain tokens, as in Llama 2
    return Tokenizer.from_str(json.dumps(raw))


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for name, make in (("byte_level", byte_level), ("byte_fallback", byte_fallback)):
        t = make()
        with open(f"{OUT}/{name}.json", "w", encoding="utf-8") as f:
            json.dump(json.loads(t.to_str()), f, ensure_ascii=False, separators=(",", ":"))
        print(name, t.get_vocab_size(), t.encode("the cats 猫, sat").tokens, tokenizers.__version__)
