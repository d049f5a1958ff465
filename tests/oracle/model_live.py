"""`sonde act` against transformers in float64, on random tiny models made now: every hook point, every element.

    model_live.py [SONDE_PROGRAM [N_MODELS [SEED]]]

Shapes, activation functions, head counts, biases, positions, storage types and forms of config.json are drawn at random.
Also here: models that must be refused by name, and the other formats of the output.
"""
import json
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers

import common
import model_golden
from sonde_cli import Score, Sonde

LIMIT = 2e-5
ACTIVATIONS = ["gelu_new", "gelu", "relu", "silu", "swish", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "tanh", "sigmoid",
               "relu6", "leaky_relu", "mish", "laplace", "gelu_10", "linear", "relu2"]
DTYPES = [torch.float32, torch.float32, torch.bfloat16, torch.float16]
ON_REQUEST = ["*.hook_result", "*.hook_attn_in", "*.hook_q_input", "*.hook_k_input", "*.hook_v_input", "*.hook_mlp_in"]


def pick(rng, values):
    return values[rng.integers(len(values))]


def random_gpt2(rng):
    heads, head = int(rng.integers(1, 7)), int(rng.integers(1, 23))
    return dict(vocab_size=int(rng.integers(2, 130)), n_positions=int(rng.integers(30, 400)), n_embd=heads * head, n_head=heads,
                n_layer=int(rng.integers(1, 4)), n_inner=pick(rng, [None, int(rng.integers(1, 150))]),
                activation_function=pick(rng, ACTIVATIONS), layer_norm_epsilon=pick(rng, [1e-5, 1e-6, 1e-3, 1e-12]),
                tie_word_embeddings=bool(rng.integers(2)), scale_attn_weights=bool(rng.integers(4)), bos_token_id=None,
                eos_token_id=None)


def random_rope(rng):
    theta = pick(rng, [10000.0, 500000.0, 1e6, 123.5])
    kind = pick(rng, ["default", "default", "linear", "llama3"])
    rope = dict(rope_type=kind, rope_theta=theta)
    if kind != "default":
        rope["factor"] = pick(rng, [2.0, 8.0, 2.5])
    if kind == "llama3":
        rope.update(low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=int(pick(rng, [16, 32, 64])))
    return rope


def random_llama(rng):
    kv, group, head = int(rng.integers(1, 4)), int(rng.integers(1, 5)), 2 * int(rng.integers(1, 13))
    heads = kv * group
    own_width = bool(rng.integers(2))
    width = heads * int(rng.integers(1, 13)) if own_width else heads * head
    return dict(vocab_size=int(rng.integers(4, 130)), max_position_embeddings=int(rng.integers(64, 400)), hidden_size=width,
                intermediate_size=int(rng.integers(1, 150)), num_hidden_layers=int(rng.integers(1, 4)), num_attention_heads=heads,
                num_key_value_heads=kv, head_dim=head, hidden_act=pick(rng, ACTIVATIONS), rope_parameters=random_rope(rng),
                rms_norm_eps=pick(rng, [1e-5, 1e-6, 1e-3]), tie_word_embeddings=bool(rng.integers(2)),
                attention_bias=bool(rng.integers(2)), mlp_bias=bool(rng.integers(2)), bos_token_id=pick(rng, [1, 128000]),
                eos_token_id=2)


def random_spec(rng, i):
    kind = pick(rng, ["gpt2", "gpt2", "llama", "llama", "llama", "mistral", "qwen2"])
    settings = random_gpt2(rng) if kind == "gpt2" else random_llama(rng)
    if kind in ("mistral", "qwen2"):
        for name in ("attention_bias", "mlp_bias"):
            del settings[name]
        if kind == "qwen2":  # no head width of its own
            settings["hidden_size"] = settings["num_attention_heads"] * settings.pop("head_dim")
        else:
            settings["sliding_window"] = None
    context = settings.get("n_positions", settings.get("max_position_embeddings"))
    lengths = [int(n) for n in rng.integers(1, min(context, pick(rng, [6, 40, 200])) + 1, pick(rng, [1, 1, 2, 4]))]
    return dict(name=f"{i}-{kind}", kind=kind, settings=settings, dtype=pick(rng, DTYPES), shard=pick(rng, [None, None, "20KB"]),
                after=pick(rng, [None, model_golden.as_transformers_4]), sequences=lengths)


def sequences_of(rng, spec):
    return [[int(v) for v in rng.integers(0, spec["settings"]["vocab_size"], n)] for n in spec["sequences"]]


def ids_options(sequences):
    return [x for s in sequences for x in ("--ids", ",".join(map(str, s)))]


def compare_all(score, name, got, want):
    """Every tensor of a file against every activation; returns the largest error and where it is."""
    default = dict(want, logits=want["unembed.hook_out"])
    extra = set(got) - set(default) - {"tokens", "lengths"}
    missing = set(default) - set(got)
    score.check(name, not extra and not missing, f"extra {sorted(extra)[:5]}, missing {sorted(missing)[:5]}")
    worst, where = 0.0, "-"
    for point in sorted(set(default) & set(got)):
        error = common.relative_error(got[point].astype(np.float64), default[point])
        score.check(f"{name} {point}", error <= LIMIT, f"error {error:.3g}, shape {got[point].shape} for {default[point].shape}")
        if not error <= worst:
            worst, where = error, point
    return worst, where


def one_model(score, sonde, rng, spec, seed, folder, table):
    directory = folder / spec["name"]
    model_golden.save(spec, seed, directory)
    sequences = sequences_of(rng, spec)
    want = common.activations(common.load_float64(directory), sequences)
    hooks = [x for pattern in ["*", *ON_REQUEST] for x in ("--hook", pattern)]
    got = sonde.act(folder / "out.safetensors", directory, *ids_options(sequences), *hooks, "--logits")
    worst, where = compare_all(score, spec["name"], got, want)
    lengths = [len(s) for s in sequences]
    score.check(f"{spec['name']} tokens", got["tokens"].dtype == np.int64 and got["tokens"].shape == (len(lengths), max(lengths))
                and all(list(row[:n]) == s for row, n, s in zip(got["tokens"], lengths, sequences)))
    if len(lengths) > 1:
        score.check(f"{spec['name']} lengths", list(got["lengths"]) == lengths)
    key = (spec["kind"], str(spec["dtype"]).removeprefix("torch."))
    if worst >= table.get(key, (-1, ""))[0]:
        table[key] = (worst, f"{spec['name']} {where}")
    shutil.rmtree(directory)


# ---- what must be refused ----

REFUSED = [
    ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx"),
    ("gpt2", dict(add_cross_attention=True), "add_cross_attention"),
    ("gpt2", dict(activation_function="no_such_function"), "no_such_function"),
    ("gpt2", dict(model_type="made_up"), "made_up"),
    ("llama", dict(rope_parameters=dict(rope_type="yarn", rope_theta=1e4, factor=2.0)), "yarn"),
    ("llama", dict(rope_parameters=dict(rope_type="dynamic", rope_theta=1e4, factor=2.0)), "dynamic"),
    ("llama", dict(rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)), "partial_rotary_factor"),
    ("llama", dict(partial_rotary_factor=0.5), "partial_rotary_factor"),
    ("llama", dict(quantization_config=dict(quant_method="gptq", bits=4)), "quantization_config"),
    ("llama", dict(hidden_act="no_such_function"), "no_such_function"),
    ("mistral", dict(sliding_window=4), "sliding_window"),
    ("qwen2", dict(use_sliding_window=True, sliding_window=4, max_window_layers=0), "sliding_window"),
    ("llama", dict(num_key_value_heads=2), "num_key_value_heads|key/value|k_proj"),
    ("llama", dict(hidden_size=24), "[41, 12]"),
    ("llama", dict(num_hidden_layers=9), "layers.2."),
    ("llama", dict(vocab_size=50), "embed_tokens"),
]
ACCEPTED = [
    ("gpt2", dict(resid_pdrop=0.5, summary_type="mean", made_up_field=3)),
    ("gpt2", dict(reorder_and_upcast_attn=True)),
    ("llama", dict(pretraining_tp=2, attention_dropout=0.3, use_cache=False)),
    ("llama", dict(eos_token_id=[1, 2], bos_token_id=None)),
    ("llama", dict(partial_rotary_factor=1.0)),
    ("mistral", dict(sliding_window=4096)),  # wider than the context: no window
    ("qwen2", dict(use_sliding_window=False, sliding_window=4)),
]


def refusals(score, sonde, folder):
    base = {"gpt2": "gpt2-plain", "llama": "llama-plain", "mistral": "mistral-plain", "qwen2": "qwen2-plain"}
    cases = [(kind, change, named) for kind, change, named in REFUSED] + [(kind, change, None) for kind, change in ACCEPTED]
    for i, (kind, change, named) in enumerate(cases):
        directory = folder / f"edited{i}"
        shutil.copytree(model_golden.ROOT / base[kind], directory)
        model_golden.edit_config(directory, lambda c: c.update(change))
        arguments = ["act", directory, "--ids", "1,2,3", "--hook", "resid_post0", "-q", "-o", folder / "x.npz"]
        if named is None:
            score.attempt(f"accepted {change}", lambda: sonde.run(*arguments))
            score.check(f"accepted {change}", True)
            continue
        (folder / "x.npz").unlink(missing_ok=True)
        message = score.attempt(f"refused {change}", lambda: sonde.run(*arguments, status=3).stderr.decode())
        if message is not None:
            score.check(f"refused {change}", any(n in message for n in named.split("|")), message)
            score.check(f"refused {change}", len(message.strip().splitlines()) <= 2 and not (folder / "x.npz").exists(), message)


# ---- the other formats hold the same numbers ----


def formats(score, sonde, folder):
    model = model_golden.ROOT / "llama-gqa"
    ids = ["--ids", "1,2,3,4,5", "--ids", "6,7"]
    hooks = ["--hook", "resid_post1", "--hook", "attn_scores0", "--logits"]
    want = sonde.act(folder / "a.safetensors", model, *ids, *hooks)
    sonde.run("act", model, *ids, *hooks, "-q", "-o", folder / "a.npz")
    with np.load(folder / "a.npz") as npz:
        score.check("npz", set(npz.files) == set(want) and all(np.array_equal(npz[k], want[k]) for k in want))
    sonde.run("act", model, *ids, *hooks, "-q", "-o", folder / "a.json")
    tensors = json.loads((folder / "a.json").read_text())["tensors"]
    for name, x in want.items():
        flat = np.array([np.nan if v is None else v for v in tensors[name]["data"]], np.float64)
        ok = tensors[name]["shape"] == list(x.shape)
        finite = np.isfinite(x.reshape(-1))
        ok = ok and np.array_equal(np.isfinite(flat), finite)
        ok = ok and np.array_equal(flat[finite].astype(x.dtype), x.reshape(-1)[finite])
        score.check(f"json {name}", ok)
    name = "blocks.1.hook_resid_post"
    want = sonde.act(folder / "b.safetensors", model, *ids, "--hook", "resid_post1")  # alone: attention stays fused
    sonde.run("act", model, *ids, "--hook", "resid_post1", "-q", "-o", folder / "a.npy")
    score.check("npy", np.array_equal(np.load(folder / "a.npy"), want[name]))
    for dtype, torch_dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        from safetensors.torch import load_file
        sonde.run("act", model, *ids, "--hook", "resid_post1", "--act-dtype", dtype, "-q", "-o", folder / "h.safetensors")
        got = load_file(folder / "h.safetensors")[name]
        score.check(dtype, got.dtype == torch_dtype and torch.equal(got, torch.from_numpy(want[name]).to(torch_dtype)))
    chosen = sonde.act(folder / "p.safetensors", model, "--ids", "1,2,3,4,5", "--hook", "resid_post1", "--hook", "pattern0",
                       "--logits", "--pos", "3,-1,0")
    full = sonde.act(folder / "q.safetensors", model, "--ids", "1,2,3,4,5", "--hook", "resid_post1", "--hook", "pattern0",
                     "--logits")
    score.check("--pos", np.array_equal(chosen[name], full[name][:, [3, 4, 0]])
                and np.array_equal(chosen["blocks.0.attn.hook_pattern"], full["blocks.0.attn.hook_pattern"][:, :, [3, 4, 0]])
                and np.array_equal(chosen["logits"], full["logits"][:, [3, 4, 0]]))


def main(program, n_models=48, seed=0):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    score, sonde, table = Score(), Sonde(program), {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for i in range(n_models):
            rng = np.random.default_rng((seed, i))
            spec = random_spec(rng, i)
            score.attempt(f"model {spec}", one_model, score, sonde, rng, spec, 1000 * seed + i, folder, table)
        for (kind, dtype), (error, where) in sorted(table.items()):
            print(f"{kind:8} {dtype:9} largest error {error:.2e} at {where}")
        refusals(score, sonde, folder)
        score.attempt("formats", formats, score, sonde, folder)
    return score.done()


if __name__ == "__main__":
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")
    sys.exit(main(program, *map(int, sys.argv[2:])))
