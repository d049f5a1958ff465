"""Makes tests/golden/models/*: tiny random models in the Hugging Face layout, and every activation of each from transformers
in float64 on the same stored weights.

    model_golden.py            writes them all
    model_golden.py --check    makes them in a temporary folder and compares with what is stored

Each folder holds what a person would have (config.json, model.safetensors or shards with an index) and golden.safetensors:
`tokens` and `lengths` (int64), then one float32 tensor for each hook point, by name. Points that are copies of others
(hook_q_input, hook_attn_in, hook_mlp_in, ...) are left out: the test makes them. `__metadata__` holds the versions.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import common

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/models"
COPIES = ("hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")

GPT2 = dict(vocab_size=41, n_positions=16, n_embd=12, n_layer=2, n_head=3, bos_token_id=None, eos_token_id=None)
LLAMA = dict(vocab_size=41, max_position_embeddings=32, hidden_size=12, intermediate_size=19, num_hidden_layers=2,
             num_attention_heads=3, num_key_value_heads=3, bos_token_id=1, eos_token_id=2)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=8)

# ---- what is done to a folder after transformers has saved it ----


def edit_config(directory, change):
    path = pathlib.Path(directory) / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config, indent=2) + "\n")


def as_transformers_4(directory):
    """config.json as transformers 4 wrote it: rope_theta, rope_scaling, torch_dtype."""

    def change(config):
        rope = config.pop("rope_parameters", None)
        if rope is not None:
            config["rope_theta"] = rope.pop("rope_theta", 10000.0)
            config["rope_scaling"] = rope if rope.get("rope_type", "default") != "default" else None
        config["torch_dtype"] = config.pop("dtype", "float32")
        config["transformers_version"] = "4.46.0"

    edit_config(directory, change)


def as_old_linear(directory):
    """The oldest form of rope_scaling: `type` in place of `rope_type`."""
    as_transformers_4(directory)
    edit_config(directory, lambda c: c["rope_scaling"].update(type=c["rope_scaling"].pop("rope_type")))


def bare_config(directory):
    """Only what has no default: everything else must take transformers' default."""
    keep = ("architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
            "num_attention_heads", "n_positions", "n_embd", "n_layer", "n_head", "max_position_embeddings")

    def change(config):
        for key in list(config):
            if key not in keep:
                del config[key]

    edit_config(directory, change)


def foreign_ids(directory):
    """bos and eos outside the vocabulary, eos as a list, as checkpoints in the wild have them."""
    edit_config(directory, lambda c: c.update(bos_token_id=128000, eos_token_id=[128001, 128009], pad_token_id=None))


def as_hub_gpt2(directory):
    """Names without `transformer.`, and the causal masks as tensors: how the first GPT-2 files on the hub are."""
    path = pathlib.Path(directory) / "model.safetensors"
    tensors = {name.removeprefix("transformer."): x for name, x in load_file(path).items()}
    n = json.loads((pathlib.Path(directory) / "config.json").read_text())["n_positions"]
    layers = sorted({name.split(".")[1] for name in tensors if name.startswith("h.")})
    for i in layers:
        tensors[f"h.{i}.attn.bias"] = torch.ones(n, n).tril().reshape(1, 1, n, n)
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path, metadata={"format": "pt"})


def with_inv_freq(directory):
    """The rotary frequencies as a tensor in each layer, as old Llama checkpoints have them."""
    path = pathlib.Path(directory) / "model.safetensors"
    tensors = load_file(path)
    for i in range(2):
        tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, path, metadata={"format": "pt"})
    as_transformers_4(directory)


# ---- the models: name, family, settings, how it is stored ----


def gpt2(name, after=None, dtype=torch.float32, shard=None, points=None, sequences=(6, 4, 1), **settings):
    return dict(name="gpt2-" + name, kind="gpt2", settings={**GPT2, **settings}, after=after, dtype=dtype, shard=shard,
                points=points, sequences=sequences)


def llama(name, after=None, dtype=torch.float32, shard=None, points=None, sequences=(6, 4, 1), kind="llama", **settings):
    return dict(name=f"{kind}-{name}", kind=kind, settings={**LLAMA, **settings}, after=after, dtype=dtype, shard=shard,
                points=points, sequences=sequences)


LONG = ("blocks.0.attn.hook_rot_q", "blocks.0.attn.hook_rot_k", "blocks.0.hook_resid_post", "unembed.hook_out")
MODELS = [
    gpt2("plain"),
    gpt2("hub-names", after=as_hub_gpt2, n_layer=1),
    gpt2("bare-config", after=bare_config, n_layer=1),
    gpt2("relu-inner", activation_function="relu", n_inner=17, tie_word_embeddings=False),
    gpt2("odd", n_embd=20, n_head=5, n_inner=37, activation_function="gelu", layer_norm_epsilon=1e-3, n_layer=1),
    gpt2("unscaled", scale_attn_weights=False, activation_function="gelu_pytorch_tanh", n_layer=1),
    gpt2("bf16", dtype=torch.bfloat16, after=as_transformers_4),
    gpt2("f16", dtype=torch.float16, n_layer=1),
    gpt2("sharded", shard="6KB", n_layer=3, n_embd=8, n_head=2, sequences=(3,)),
    llama("plain"),
    llama("v4-config", after=as_transformers_4, num_key_value_heads=1, rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
    llama("bare-config", after=bare_config, num_hidden_layers=1),
    llama("gqa", hidden_size=16, num_attention_heads=8, num_key_value_heads=2, head_dim=4, rms_norm_eps=1e-6),
    llama("mqa-head-dim", num_key_value_heads=1, head_dim=6, num_hidden_layers=1, hidden_act="gelu"),
    llama("biases", attention_bias=True, mlp_bias=True, num_hidden_layers=1),
    llama("tied-gelu", tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", num_hidden_layers=1),
    llama("linear-rope", after=as_old_linear, num_hidden_layers=1,
          rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    llama("llama3-rope", hidden_size=16, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=1,
          rope_parameters=LLAMA3_ROPE, sequences=(11, 9)),
    llama("llama3-v4", after=as_transformers_4, dtype=torch.bfloat16, hidden_size=16, num_attention_heads=2, num_key_value_heads=1,
          num_hidden_layers=1, rope_parameters={**LLAMA3_ROPE, "rope_theta": 500000.0}, sequences=(11,)),
    llama("bf16", dtype=torch.bfloat16, after=foreign_ids),
    llama("f16", dtype=torch.float16, num_hidden_layers=1, num_key_value_heads=1),
    llama("sharded", shard="6KB", num_hidden_layers=3, hidden_size=8, num_attention_heads=2, num_key_value_heads=2, sequences=(3,)),
    llama("inv-freq", after=with_inv_freq, num_hidden_layers=2, sequences=(3,)),
    llama("long", num_hidden_layers=1, hidden_size=8, num_attention_heads=1, num_key_value_heads=1, vocab_size=11,
          max_position_embeddings=512, points=LONG, sequences=(300,)),
    llama("plain", kind="mistral", num_key_value_heads=1, sliding_window=None, num_hidden_layers=1),
    llama("plain", kind="qwen2", num_key_value_heads=1, num_hidden_layers=1),
]


def build(spec, seed):
    config = transformers.AutoConfig.for_model(spec["kind"], **spec["settings"])
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    common.randomize(model, seed)
    return model.to(spec["dtype"])


def save(spec, seed, directory):
    shard = {"max_shard_size": spec["shard"]} if spec["shard"] else {}
    build(spec, seed).save_pretrained(directory, **shard)
    (pathlib.Path(directory) / "generation_config.json").unlink(missing_ok=True)
    if spec["after"]:
        spec["after"](directory)


def golden(spec, seed, directory):
    """Writes golden.safetensors; the largest difference of transformers' own float32 run is returned for the record."""
    generator = np.random.default_rng(seed)
    V = spec["settings"]["vocab_size"]
    sequences = [generator.integers(0, V, n).tolist() for n in spec["sequences"]]
    points = common.activations(common.load_float64(directory), sequences)
    T = max(spec["sequences"])
    tensors = {"tokens": torch.tensor([s + [0] * (T - len(s)) for s in sequences]),
               "lengths": torch.tensor(spec["sequences"])}
    for name, x in points.items():
        if not name.endswith(COPIES) and (spec["points"] is None or name in spec["points"]):
            tensors[name] = torch.from_numpy(x.astype(np.float32))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "made by": "tests/oracle/model_golden.py",
                "partial": "yes" if spec["points"] else "no"}
    save_file(tensors, pathlib.Path(directory) / "golden.safetensors", metadata=versions)


def make(root):
    for seed, spec in enumerate(MODELS):
        directory = root / spec["name"]
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        save(spec, seed, directory)
        golden(spec, seed, directory)
        size = sum(f.stat().st_size for f in directory.iterdir())
        print(f"{spec['name']:24} {size / 1024:7.1f} KiB", flush=True)


def tensors_of(path):
    with safe_open(path, "pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}


def check(made, stored):
    """Same files; weights bit for bit; golden values within what another processor's float64 may differ."""
    names = sorted(p.relative_to(stored) for p in stored.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file()), "other files"
    for name in names:
        if name.suffix == ".json":
            assert (made / name).read_text() == (stored / name).read_text(), name
            continue
        a, b = tensors_of(made / name), tensors_of(stored / name)
        assert a.keys() == b.keys(), name
        for key in a:
            got, want = a[key].double().numpy(), b[key].double().numpy()
            assert common.relative_error(got, want) <= (2e-7 if name.name == "golden.safetensors" else 0), (name, key)
    print(f"{len(names)} files agree")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as temporary:
            make(pathlib.Path(temporary))
            check(pathlib.Path(temporary), ROOT)
    else:
        make(ROOT)
