"""Model folders as they are found in the wild: fields missing, doubled, in old places; tensors under other names or types. What
transformers makes of each decides; what it cannot know (a missing tensor) must be refused.

    model_config_live.py [SONDE_PROGRAM]
"""
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

import common
import model_golden
from sonde_cli import Score, Sonde

LIMIT = 2e-5
IDS = list(range(1, 12))
EMBEDDINGS = ("transformer.wte.weight", "model.embed_tokens.weight")


def update(**fields):
    return lambda config: config.update(fields)


def drop(*names):
    return lambda config: [config.pop(name) for name in names]


def rename(**pairs):
    return lambda config: [config.__setitem__(new, config.pop(old)) for old, new in pairs.items()]


def old_rope(theta, scaling):
    """rope_theta and rope_scaling in place of rope_parameters."""

    def change(config):
        config.pop("rope_parameters")
        config.update(rope_theta=theta, **({} if scaling is None else {"rope_scaling": scaling}))

    return change


def original_at_top(config):
    config["original_max_position_embeddings"] = config["rope_parameters"].pop("original_max_position_embeddings")


def other_head(tensors):
    embedding = next(tensors[name] for name in EMBEDDINGS if name in tensors)
    tensors["lm_head.weight"] = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(1))


def same_head(tensors):
    tensors["lm_head.weight"] = next(tensors[name] for name in EMBEDDINGS if name in tensors).clone()


def base_names(tensors):
    for name in list(tensors):
        tensors[name.removeprefix("model.").removeprefix("transformer.")] = tensors.pop(name)


def mixed_types(tensors):
    for name in tensors:
        half = torch.float16 if "norm" in name or "ln_" in name else torch.bfloat16 if "mlp" in name else torch.float32
        tensors[name] = tensors[name].to(half)


def extra(tensors):
    tensors["model.something_else"] = torch.ones(3)


# name of the case, golden model that it starts from, what is done to the config, what is done to the tensors
SAME_AS_TRANSFORMERS = [
    ("tied, and an output matrix of its own", "gpt2-plain", None, other_head),
    ("tied, and the same matrix again", "gpt2-plain", None, same_head),
    ("tied, and an output matrix of its own", "llama-tied-gelu", None, other_head),
    ("names without a prefix", "llama-tied-gelu", None, base_names),
    ("names without a prefix", "gpt2-plain", None, base_names),
    ("fields of other families", "gpt2-plain", rename(n_embd="hidden_size", n_layer="num_hidden_layers",
                                                      n_head="num_attention_heads", n_positions="max_position_embeddings"), None),
    ("n_ctx", "gpt2-plain", update(n_ctx=8), None),
    ("mixed types", "gpt2-plain", None, mixed_types),
    ("mixed types", "llama-plain", None, mixed_types),
    ("an extra tensor", "llama-plain", None, extra),
    ("head_dim null", "llama-plain", update(head_dim=None), None),
    ("num_key_value_heads null", "llama-plain", update(num_key_value_heads=None), None),
    ("biases that the config does not name", "llama-biases", update(attention_bias=False), None),
    ("rope_parameters without theta", "llama-plain", update(rope_parameters={"rope_type": "default"}), None),
    ("rope_parameters null", "llama-plain", update(rope_parameters=None), None),
    ("rope_parameters and rope_theta", "llama-plain", update(rope_theta=99.0), None),
    ("rope_parameters and rope_scaling", "llama-plain", update(rope_scaling={"rope_type": "linear", "factor": 2.0}), None),
    ("rope_theta alone", "llama-plain", old_rope(77.0, None), None),
    ("rope_scaling null", "llama-plain", old_rope(77.0, None), None),
    ("rope_scaling of type default", "llama-plain", old_rope(77.0, {"type": "default"}), None),
    ("rope_scaling in whole numbers", "llama-plain", old_rope(10000, {"type": "linear", "factor": 2}), None),
    ("rope_scaling with both names of the type", "llama-plain",
     old_rope(1e4, {"type": "llama3", "rope_type": "linear", "factor": 2.0}), None),
    ("llama3 without the original context", "llama-llama3-rope",
     lambda c: c["rope_parameters"].pop("original_max_position_embeddings"), None),
    ("the original context outside", "llama-llama3-rope", original_at_top, None),
    ("sliding_window missing", "mistral-plain", drop("sliding_window"), None),
    ("a window as wide as the context", "mistral-plain", update(sliding_window=32), None),
]


def without(word):
    return lambda tensors: [tensors.pop(name) for name in list(tensors) if word in name]


def as_integers(tensors):
    for name in tensors:
        tensors[name] = tensors[name].to(torch.int8)


REFUSED = [
    ("no output matrix", "llama-plain", None, without("lm_head"), "lm_head.weight"),
    ("a missing tensor", "llama-plain", None, without("layers.1.mlp.up_proj"), "layers.1.mlp.up_proj.weight"),
    ("a missing bias", "llama-biases", None, without("k_proj.bias"), "k_proj.bias"),
    ("integers", "gpt2-plain", None, as_integers, "I8"),
    ("a narrow window", "mistral-plain", update(sliding_window=4), None, "sliding_window"),
    ("no vocab_size that fits", "gpt2-plain", drop("vocab_size"), None, "wte"),
    ("too short a context", "gpt2-plain", update(n_positions=8), None, "wpe"),
]


def prepare(folder, base, change, edit):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model_golden.ROOT / base, folder)
    (folder / "golden.safetensors").unlink()
    if change:
        model_golden.edit_config(folder, change)
    if edit:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def same(score, sonde, folder, base, change, edit, name):
    prepare(folder, base, change, edit)
    want = common.activations(common.load_float64(folder), [IDS])
    got = sonde.act(folder / "out.safetensors", folder, "--ids", ",".join(map(str, IDS)), "--hook", "*", "--logits")
    errors = {p: common.relative_error(x.astype(np.float64), want["unembed.hook_out" if p == "logits" else p])
              for p, x in got.items() if p != "tokens"}
    worst = max(errors, key=errors.get)
    score.check(name, errors[worst] <= LIMIT, f"error {errors[worst]:.3g} at {worst}")


def refused(score, sonde, folder, base, change, edit, name, named):
    prepare(folder, base, change, edit)
    message = sonde.run("act", folder, "--ids", "1,2,3", "--hook", "*", "-q", "-o", folder / "x.npz", status=3).stderr.decode()
    score.check(name, named in message, message)


def main(program):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "model"
        for name, base, change, edit in SAME_AS_TRANSFORMERS:
            score.attempt(f"{base}: {name}", same, score, sonde, folder, base, change, edit, f"{base}: {name}")
        for name, base, change, edit, named in REFUSED:
            score.attempt(f"{base}: {name}", refused, score, sonde, folder, base, change, edit, f"{base}: {name}", named)
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
