"""Writes a model folder of GPT-2-small's shape with random weights (498 MB), for measurements that need files.

    gpt2_small_files.py FOLDER

Only the standard library is used. Nothing is done where the folder is there already.
"""
import array
import json
import os
import pathlib
import random
import struct
import sys

D, MLP, VOCABULARY, CONTEXT, LAYERS = 768, 3072, 50257, 1024, 12
CONFIG = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=D,
              n_layer=LAYERS, n_head=12, activation_function="gelu_new", layer_norm_epsilon=1e-5, torch_dtype="float32")


def tensors():
    """Names and shapes as transformers writes them; norm gains are told apart by their kind."""
    yield "transformer.wte.weight", [VOCABULARY, D], "matrix"
    yield "transformer.wpe.weight", [CONTEXT, D], "matrix"
    for i in range(LAYERS):
        block = f"transformer.h.{i}."
        for norm in ("ln_1", "ln_2"):
            yield f"{block}{norm}.weight", [D], "gain"
            yield f"{block}{norm}.bias", [D], "matrix"
        for name, shape in (("attn.c_attn", [D, 3 * D]), ("attn.c_proj", [D, D]), ("mlp.c_fc", [D, MLP]), ("mlp.c_proj", [MLP, D])):
            yield f"{block}{name}.weight", shape, "matrix"
            yield f"{block}{name}.bias", shape[1:], "matrix"
    yield "transformer.ln_f.weight", [D], "gain"
    yield "transformer.ln_f.bias", [D], "matrix"


def count(shape):
    n = 1
    for width in shape:
        n *= width
    return n


def write(folder):
    """The weights are one stretch of 1,000,003 normal numbers again and again, which no width divides."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    stretch = array.array("f", (draw.gauss(0.0, 0.02) for _ in range(1_000_003))).tobytes()
    header, at = {}, 0
    for name, shape, _ in tensors():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count(shape)]}
        at += 4 * count(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = folder / "model.safetensors.partial"
    with open(partial, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        phase = 0
        for _, shape, kind in tensors():
            left = 4 * count(shape)
            if kind == "gain":
                out.write(array.array("f", [1.0]).tobytes() * count(shape))
                continue
            while left > 0:
                piece = stretch[phase:phase + left]
                out.write(piece)
                left -= len(piece)
                phase = (phase + len(piece)) % len(stretch)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    os.replace(partial, folder / "model.safetensors")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    if not (target / "model.safetensors").exists():
        write(target)
