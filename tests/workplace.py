"""A folder in which examples and command-line cases run: a model, stories, and the program on the PATH.

    stories15M         the real model where SONDE_SHARED has it, else the tiny one
    models             those that come with sonde
    sae                an autoencoder with random weights for blocks.3.hook_resid_post of models/stories: 64 features
    tiny               a model with random weights, always the same: 6 layers, d_model 48, 4 heads, vocabulary 32000
    stories.jsonl      20 short texts in the field `text`; stories.jsonl.zst the same; story.txt the first of them

Python's standard library only; every number comes from Python's Mersenne twister, which is the same everywhere.
"""
import array
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("SONDE_SHARED") or ROOT.parent / "shared")
if not SHARED.is_absolute():
    SHARED = (ROOT / SHARED).resolve()

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "a", "and", "was", "once", "upon", "time", "big", "small", "ran", "to", "her"]
LAYERS, WIDTH, HEADS, MLP, VOCABULARY, CONTEXT = 6, 48, 4, 64, 32000, 256


def byte_letters():
    """GPT-2's letters for the 256 bytes, by byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, extra = {}, 0
    for byte in range(256):
        if byte in plain:
            letters[byte] = chr(byte)
        else:
            letters[byte] = chr(256 + extra)
            extra += 1
    return letters


def write_tokenizer(path):
    """Byte-level BPE: <s> and </s>, the bytes, and a few words with a space before them; the rest are never produced."""
    letters = byte_letters()
    tokens, merges = ["<unk>", "<s>", "</s>", *letters.values()], []
    for word in WORDS:
        piece = letters[0x20]
        for letter in word:
            if piece + letter not in tokens:
                merges.append(f"{piece} {letter}")
                tokens.append(piece + letter)
            piece += letter
    tokens += [f"unused{i}" for i in range(len(tokens), VOCABULARY)]
    special = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i in range(3)]
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    path.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True},
        "post_processor": {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}}))


def write_safetensors(path, tensors):
    """tensors: name -> (shape, array of floats)."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + 4 * len(values)]}
        offset += 4 * len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            if sys.byteorder == "big":
                values.byteswap()
            f.write(values.tobytes())


def drawer(seed):
    """A function that draws a tensor of a shape; the next one goes on where it ended."""
    draw = random.Random(seed).random
    return lambda *shape: (list(shape), array.array("f", (draw() * 0.4 - 0.2 for _ in range(math.prod(shape)))))


def write_model(folder):
    folder.mkdir()
    weights = drawer(1)

    def ones(n):
        return [n], array.array("f", [1.0] * n)

    tensors = {"model.embed_tokens.weight": weights(VOCABULARY, WIDTH), "model.norm.weight": ones(WIDTH)}
    for i in range(LAYERS):
        block = f"model.layers.{i}."
        tensors[block + "input_layernorm.weight"] = ones(WIDTH)
        tensors[block + "post_attention_layernorm.weight"] = ones(WIDTH)
        for name in "qkvo":
            tensors[block + f"self_attn.{name}_proj.weight"] = weights(WIDTH, WIDTH)
        tensors[block + "mlp.gate_proj.weight"] = weights(MLP, WIDTH)
        tensors[block + "mlp.up_proj.weight"] = weights(MLP, WIDTH)
        tensors[block + "mlp.down_proj.weight"] = weights(WIDTH, MLP)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": WIDTH,
        "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": VOCABULARY,
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}, indent=2))
    write_tokenizer(folder / "tokenizer.json")


def write_sae(folder):
    folder.mkdir()
    weights, width, n = drawer(3), 192, 64
    write_safetensors(folder / "sae_weights.safetensors", {"W_enc": weights(width, n), "b_enc": weights(n), "W_dec": weights(n, width),
                                                           "b_dec": weights(width)})
    (folder / "cfg.json").write_text(json.dumps({
        "architecture": "standard", "d_in": width, "d_sae": n, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "model_name": "models/stories", "hook_name": "blocks.3.hook_resid_post"}}))


def zstd_stored(data):
    """A zstd frame of stored blocks (RFC 8878, 3.1.1): Python has no zstd, and a reader need not know."""
    frame = struct.pack("<IBI", 0xFD2FB528, 0xA0, len(data))
    for first in range(0, len(data), 1 << 16):
        block = data[first : first + (1 << 16)]
        is_last = first + len(block) == len(data)
        frame += struct.pack("<I", is_last | len(block) << 3)[:3] + block
    return frame


def write_stories(folder):
    pick = random.Random(2)
    stories = ["Once upon a time the big dog and the cat sat on a mat. " + " ".join(pick.choices(WORDS, k=20)) + "." for _ in range(20)]
    data = "".join(json.dumps({"text": story}) + "\n" for story in stories).encode()
    (folder / "stories.jsonl").write_bytes(data)
    (folder / "stories.jsonl.zst").write_bytes(zstd_stored(data))
    (folder / "story.txt").write_text(stories[0])


def has_shared():
    return (SHARED / "models" / "stories15M").is_dir()


def make(folder, model=None):
    """Fills an empty folder with all of the above; `model` is a folder that write_model() made before."""
    folder = Path(folder)
    if model is None:
        write_model(folder / "tiny")
    else:
        (folder / "tiny").symlink_to(model)
    write_stories(folder)
    write_sae(folder / "sae")
    (folder / "models").symlink_to(ROOT / "models")
    (folder / "stories15M").symlink_to(SHARED / "models" / "stories15M" if has_shared() else "tiny")


# 1,119,973 is one number, 12,768,166.85 may be columns of a CSV file
NUMBER = re.compile(rb"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d.,])|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def differs(got, want, tolerance):
    """Whether two outputs differ; numbers within the tolerance do not, a NaN is text."""
    if got == want:
        return False
    if tolerance is None or NUMBER.sub(b"#", got) != NUMBER.sub(b"#", want):
        return True
    pairs = zip(*([float(x.replace(b",", b"")) for x in NUMBER.findall(text)] for text in (got, want)))
    return any(not abs(a - b) <= tolerance * max(1.0, abs(b)) for a, b in pairs)


def run(command, folder, build, timeout_s=600):
    """(stdout, stderr, status) of a command; one that takes too long is ended with all that it started, status -1."""
    process = subprocess.Popen(command, cwd=folder, env=environment(build), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout_s)
        return out, err, process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return out, err + f"ended after {timeout_s} s\n".encode(), -1


def environment(build):
    """Environment of a command: the program of `build` comes first, and nothing of the caller's terminal shows."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("SONDE_", "LC_", "NO_COLOR", "COLUMNS"))}
    variables.update(PATH=f"{Path(build).resolve()}:{os.environ['PATH']}", LC_ALL="C.UTF-8", TERM="dumb", SONDE_SHARED=str(SHARED),
                     ROOT=str(ROOT), GOLDEN=str(ROOT / "tests/golden/models"), MODEL="models/stories", OMP_WAIT_POLICY="passive")
    return variables


if __name__ == "__main__":
    make(sys.argv[1])
