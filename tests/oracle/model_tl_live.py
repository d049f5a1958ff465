"""`sonde act` against TransformerLens itself: which hook points `*` means, their shapes and values.

    model_tl_live.py [SONDE_PROGRAM]

HookedTransformer gets the weights of a golden model through its own conversion, with no processing, and runs in float64.
"""
import os
import pathlib
import sys
import tempfile

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights, convert_llama_weights
from transformers import PreTrainedTokenizerFast

import common
import model_golden
from sonde_cli import Score, Sonde

LIMIT = 2e-5
IDS = [3, 1, 4, 1, 5, 9]
MODELS = ("gpt2-plain", "llama-plain", "llama-v4-config", "llama-gqa")
ON_REQUEST = ("hook_result", "hook_attn_in", "hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in")


def lens_config(hf):
    c = hf.config
    common_part = dict(n_layers=c.num_hidden_layers, d_model=c.hidden_size, n_heads=c.num_attention_heads, d_vocab=c.vocab_size,
                       n_ctx=c.max_position_embeddings, dtype=torch.float64)
    if c.model_type == "gpt2":
        return HookedTransformerConfig(d_head=c.n_embd // c.n_head, d_mlp=c.n_inner or 4 * c.n_embd, act_fn=c.activation_function,
                                       normalization_type="LN", eps=c.layer_norm_epsilon, **common_part)
    kv = None if c.num_key_value_heads == c.num_attention_heads else c.num_key_value_heads
    return HookedTransformerConfig(d_head=c.head_dim, d_mlp=c.intermediate_size, act_fn=c.hidden_act, normalization_type="RMS",
                                   eps=c.rms_norm_eps, positional_embedding_type="rotary", rotary_dim=c.head_dim,
                                   rotary_base=c.rope_parameters["rope_theta"], rotary_adjacent_pairs=False, gated_mlp=True,
                                   final_rms=True, n_key_value_heads=kv, **common_part)


def lens_model(directory):
    hf = common.load_float64(directory)
    config = lens_config(hf)
    convert = convert_gpt2_weights if hf.config.model_type == "gpt2" else convert_llama_weights
    model = HookedTransformer(config)
    model.load_and_process_state_dict(convert(hf, config), fold_ln=False, center_writing_weights=False, center_unembed=False,
                                      fold_value_biases=False)
    return model.to(torch.float64).eval()


def cache_of(model, on_request):
    """Name -> array of what fires by default, or also by name (but for attn_in, which excludes the split inputs)."""
    if on_request:
        model.set_use_attn_result(True)
        model.set_use_split_qkv_input(True)
        model.set_use_hook_mlp_in(True)
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([IDS]), prepend_bos=False)
    return {name: x.numpy() for name, x in cache.items()}


def compare(score, name, got, want, mandatory):
    """Every point that the lens has: the same shape and values. Points that it lacks must be in `mandatory`."""
    missing = sorted(set(want) - set(got))
    extra = sorted(set(got) - set(want) - {"tokens", "logits"} - mandatory)
    score.check(name, not missing and not extra, f"missing {missing}, extra {extra}")
    worst = 0.0
    for point in sorted(set(want) & set(got)):
        error = common.relative_error(got[point].astype(np.float64), want[point])
        worst = max(worst, error)
        score.check(f"{name} {point}", error <= LIMIT, f"error {error:.3g}, {got[point].shape} for {want[point].shape}")
    print(f"{name:28} {len(want):3} points, largest error {worst:.2e}")


def one_model(score, sonde, folder, name):
    directory, ids = model_golden.ROOT / name, ["--ids", ",".join(map(str, IDS))]
    model = lens_model(directory)
    mandatory = {"unembed.hook_in", "unembed.hook_out"}  # which only newer versions have
    star = sonde.act(folder / "star.safetensors", directory, *ids, "--hook", "*")
    compare(score, f"{name} *", star, cache_of(model, False), mandatory)
    requests = [x for point in ON_REQUEST if point != "hook_attn_in" for x in ("--hook", f"blocks.*.{point}")]
    requests[1] = "blocks.*.attn.hook_result"
    every = sonde.act(folder / "every.safetensors", directory, *ids, "--hook", "*", *requests)
    split = {p: x for p, x in cache_of(model, True).items() if ".ln1." not in p}  # it now norms each head's copy by itself
    compare(score, f"{name} on request", {p: x for p, x in every.items() if ".ln1." not in p}, split, mandatory)


def dummy_tokenizer(folder):
    """TransformerBridge insists on one, and loads it again from its folder."""
    words = Tokenizer(models.WordLevel({"<s>": 0, "a": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>").save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def bridge(score, sonde, folder, name):
    """The newer TransformerBridge keeps the old names as aliases: those that it has must hold the same values."""
    directory, ids = model_golden.ROOT / name, ["--ids", ",".join(map(str, IDS))]
    hf = common.load_float64(directory)
    model = TransformerBridge.boot_transformers(str(directory), dtype=torch.float64, hf_model=hf,
                                                 tokenizer=dummy_tokenizer(folder))
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([IDS]))
    got = sonde.act(folder / "bridge.safetensors", directory, *ids, "--hook", "*")
    shared = [p for p in got if p in cache and p not in ("tokens", "logits")]
    score.check(f"{name} bridge", len(shared) > 10, f"only {shared}")
    for point in shared:
        want = cache[point].detach().numpy()
        if point.endswith("hook_attn_scores"):  # masked entries hold a large negative number there
            want = np.where(want < -1e30, -np.inf, want)
        if want.dtype == np.float64 and want.shape == got[point].shape:
            error = common.relative_error(got[point].astype(np.float64), want)
            score.check(f"{name} bridge {point}", error <= LIMIT, f"error {error:.3g}")
    print(f"{name:28} {len(shared):3} points of TransformerBridge")


def main(program):
    torch.set_grad_enabled(False)
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in MODELS:
            score.attempt(name, one_model, score, sonde, folder, name)
        for name in ("gpt2-plain", "llama-gqa"):
            score.attempt(f"{name} bridge", bridge, score, sonde, folder, name)
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
