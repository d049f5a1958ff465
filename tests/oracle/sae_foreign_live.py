#!/usr/bin/env python3
"""Autoencoders in the layouts of other libraries, here and there: what they save is read here, and gives the features and reconstructions that
their own classes give in float64; what sonde writes for them, they load.

    sae_foreign_live.py

dictionary_learning and sparsify are imported themselves. Gemma Scope, Gemma Scope 2 and Llama Scope are files of the shapes that sae-lens's loaders read:
these loaders are given the local files in place of downloads. OpenAI's class is short, and written down here.
"""
import ctypes
import importlib
import json
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.registry import get_sae_class

from sae_live import Library, relative_error
from sonde_cli import Score, bare_package
from tokenizer_common import SondeError

D, S, K, N = 24, 70, 5, 40
LIMIT = 2e-5  # of the largest value


def rows(generator, n=N, d=D):
    return torch.randn(n, d, generator=generator)


def random_weights(module, generator):
    with torch.no_grad():
        for name, p in module.named_parameters():
            scale = 0.3 if p.ndim > 1 else 0.1
            p.copy_(torch.randn(p.shape, generator=generator) * scale)
            if name == "threshold":
                p.copy_(p.abs())


def compare(score, library, label, path, x, want_f, want_y):
    sae = library.open(path)
    want_f, want_y = want_f.detach().double().numpy(), want_y.detach().double().numpy()
    f, y = library.apply(sae, x.float().numpy(), want_f.shape[1], want_y.shape[1])
    error = max(relative_error(f, want_f), relative_error(y, want_y))
    score.check(f"{label}: {error:.1e}", error <= LIMIT and (f != 0).any())
    return sae


# ---- dictionary_learning ---------------------------------------------------------------------------------------------------------


def dictionaries(generator):
    """(class, config) of each, with random weights."""
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))
    bare_package("dictionary_learning")
    plain = importlib.import_module("dictionary_learning.dictionary")
    top_k = importlib.import_module("dictionary_learning.trainers.top_k")
    batch = importlib.import_module("dictionary_learning.trainers.batch_top_k")
    nested = importlib.import_module("dictionary_learning.trainers.matryoshka_batch_top_k")
    made = [plain.AutoEncoder(D, S), plain.AutoEncoderNew(D, S), plain.GatedAutoEncoder(D, S), plain.JumpReluAutoEncoder(D, S),
            top_k.AutoEncoderTopK(D, S, K), batch.BatchTopKSAE(D, S, K), batch.BatchTopKSAE(D, S, K),
            nested.MatryoshkaBatchTopKSAE(D, S, K, [20, 50])]
    for i, module in enumerate(made):
        random_weights(module, generator)
        if hasattr(module, "threshold") and not isinstance(module.threshold, torch.nn.Parameter) and i != 6:
            module.threshold.fill_(0.4)  # number 6 keeps -1: never set
    return made


def dictionary_learning(score, library, folder, generator):
    for i, module in enumerate(dictionaries(generator)):
        name = type(module).__name__
        at = folder / f"dl-{i}"
        at.mkdir()
        torch.save(module.state_dict(), at / "ae.pt")
        (at / "config.json").write_text(json.dumps({"trainer": {"dict_class": name, "k": K, "layer": 2, "lm_name": "m", "activation_dim": D,
                                                                "dict_size": S, "submodule_name": "resid_post_layer_2"}, "buffer": {"ctx_len": 128}}))
        x = rows(generator)
        exact = module.double()
        sae = compare(score, library, f"dictionary_learning {name}", at, x, exact.encode(x.double()), exact(x.double()))
        back = folder / f"dl-{i}-back"
        library.call("sonde_sae_save_as", sae, str(back).encode(), b"dictionary_learning")
        kind = json.loads((back / "config.json").read_text())["trainer"]["dict_class"]
        module = {type(m).__name__: m for m in dictionaries(generator)}[kind]
        module.load_state_dict(torch.load(back / "ae.pt", weights_only=True))
        module = module.double()
        if name == "AutoEncoderTopK":
            score.check("k comes back", int(module.k) == K)
        f, y = library.apply(sae, x.numpy(), S, D)
        error = max(relative_error(f, module.encode(x.double()).detach().numpy()), relative_error(y, module(x.double()).detach().numpy()))
        score.check(f"written for dictionary_learning, {name} as {kind}: {error:.1e}", error <= LIMIT)
        library.so.sonde_sae_free(sae)


# ---- sparsify ---------------------------------------------------------------------------------------------------------------------


def sparsify(score, library, folder, generator):
    bare_package("sparsify")
    coder = importlib.import_module("sparsify.sparse_coder")
    config = importlib.import_module("sparsify.config")
    for label, options in (("autoencoder", {}), ("transcoder", {"transcode": True}), ("skip", {"transcode": True, "skip_connection": True})):
        module = coder.SparseCoder(D, config.SparseCoderConfig(num_latents=S, k=K, **options))
        random_weights(module, generator)
        at = folder / f"sparsify-{label}" / "layers.3"
        module.save_to_disk(at)
        (at.parent / "config.json").write_text(json.dumps({"model": "a-model"}))
        x, exact = rows(generator), module.double()

        def apply(module):
            top, where, _ = module.encode(x.double())
            features = torch.zeros(N, S, dtype=torch.float64).scatter_(1, where, top)
            return features, features @ module.W_dec + module.b_dec + (x.double() @ module.W_skip.mT if module.W_skip is not None else 0)

        sae = compare(score, library, f"sparsify {label}", at, x, *apply(exact))
        back = folder / f"sparsify-{label}-back"
        library.call("sonde_sae_save_as", sae, str(back).encode(), b"sparsify")
        again = coder.SparseCoder.load_from_disk(back).double()
        f, y = library.apply(sae, x.numpy(), S, D)
        error = max(relative_error(a, b.detach().numpy()) for a, b in zip((f, y), apply(again)))
        score.check(f"written for sparsify, {label}: {error:.1e}", error <= LIMIT)
        library.so.sonde_sae_free(sae)


# ---- the scopes -------------------------------------------------------------------------------------------------------------------


def local_loader(loader, repository, name, root):
    """A loader of sae-lens with the local folder in place of its downloads: (config, tensors)."""
    def download(repo_id=None, filename=None, subfolder=None, **_):
        return str(root / subfolder / filename if subfolder else root / filename)

    def shapes(repo_id, filename):
        from safetensors import safe_open
        with safe_open(root / filename, "pt") as f:
            return {key: f.get_slice(key).get_shape() for key in f.keys()}

    def positional(repo_id, filename=None, *rest, **named):
        return download(repo_id=repo_id, filename=filename, **named)

    kept = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = positional, shapes
    try:
        return loader(repository, name, device="cpu", cfg_overrides={"d_in": D, "d_sae": S, "dtype": "float32"})
    finally:
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = kept


def as_saelens(config, tensors, scale=None):
    cls, config_cls = get_sae_class(config["architecture"])
    fields = {"d_in", "d_sae", "apply_b_dec_to_input", "normalize_activations", "d_out"}
    sae = cls(config_cls(dtype="float32", device="cpu", **{k: v for k, v in config.items() if k in fields and v is not None}))
    sae.load_state_dict({k: v.float() for k, v in tensors.items()})
    if scale is not None:
        sae.fold_activation_norm_scaling_factor(scale)
    sae = sae.double()
    sae.dtype = torch.float64  # what it turns its input into
    return sae


def scopes(score, library, folder, generator):
    x = rows(generator)
    params = {"W_enc": rows(generator, D, S) * 0.3, "W_dec": rows(generator, S, D) * 0.3, "b_enc": rows(generator, 1, S)[0] * 0.1,
              "b_dec": rows(generator, 1, D)[0] * 0.1, "threshold": rows(generator, 1, S)[0].abs() * 0.3}

    for repository, name, lower in (("gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71", False),
                                    ("gemma-scope-9b-pt-mlp", "layer_3/width_16k/average_l0_7", True),
                                    ("gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6", False)):
        root = folder / "google" / repository
        (root / name).mkdir(parents=True)
        np.savez(root / name / "params.npz", **{("w" + k[1:] if lower and k[0] == "W" else k): v.numpy() for k, v in params.items()})
        config, tensors, _ = local_loader(loaders.gemma_2_sae_huggingface_loader, f"google/{repository}", name, root)
        config["normalize_activations"] = "none"
        exact = as_saelens(config, tensors)
        sae = compare(score, library, f"Gemma Scope {name}", root / name, x, exact.encode(x.double()), exact(x.double()))
        score.check("its model and hook point", config_of(library, sae) == (config["model_name"], config["hook_name"]))
        library.so.sonde_sae_free(sae)

    for name, extra in (("resid_post/layer_9_width_16k_l0_small", {}),
                        ("transcoder/layer_4_width_16k_l0_small_affine", {"affine_skip_connection": rows(generator, D, D) * 0.1})):
        root = folder / "gemma-scope-2-270m-pt"
        (root / name).mkdir(parents=True)
        save_file({k.lower(): v for k, v in params.items()} | extra, root / name / "params.safetensors")
        (root / name / "config.json").write_text(json.dumps({"architecture": "jump_relu", "model_name": "google/gemma-3-270m",
                                                             "affine_connection": bool(extra)}))
        config, tensors, _ = local_loader(loaders.gemma_3_sae_huggingface_loader, "google/gemma-scope-2-270m-pt", name, root)
        exact = as_saelens(config, tensors)
        sae = compare(score, library, f"Gemma Scope 2 {name}", root / name, x, exact.encode(x.double()), exact(x.double()))
        score.check("its model and hook point", config_of(library, sae) == (config["model_name"], config["hook_name"]))
        library.so.sonde_sae_free(sae)

    root, name = folder / "llama-scope", "Llama3_1-8B-Base-L3R-8x"
    (root / name / "checkpoints").mkdir(parents=True)
    hyper = {"d_model": D, "d_sae": S, "jump_relu_threshold": 0.7, "hook_point_in": "blocks.3.hook_resid_post",
             "hook_point_out": "blocks.3.hook_resid_post", "norm_activation": "dataset-wise", "act_fn": "jumprelu",
             "apply_decoder_bias_to_pre_encoder": False, "dataset_average_activation_norm": {"in": 3.5, "out": 3.5}}
    (root / name / "hyperparams.json").write_text(json.dumps(hyper))
    save_file({"encoder.weight": params["W_enc"].T.contiguous(), "encoder.bias": params["b_enc"], "decoder.weight": params["W_dec"].T.contiguous(),
               "decoder.bias": params["b_dec"]}, root / name / "checkpoints" / "final.safetensors")
    config, tensors, _ = local_loader(loaders.llama_scope_sae_huggingface_loader, "fnlp/x", name, root)
    exact = as_saelens(config, tensors, D**0.5 / 3.5)
    sae = compare(score, library, "Llama Scope", root / name, x, exact.encode(x.double()), exact(x.double()))
    library.so.sonde_sae_free(sae)


class Config(ctypes.Structure):
    _fields_ = [("architecture", ctypes.c_char * 32), ("activation", ctypes.c_int), ("normalization", ctypes.c_int), ("d_in", ctypes.c_int64),
                ("d_sae", ctypes.c_int64), ("d_out", ctypes.c_int64), ("k", ctypes.c_int64), ("applies_b_dec", ctypes.c_bool),
                ("rescales_by_norm", ctypes.c_bool), ("joins_heads", ctypes.c_bool), ("centres_input", ctypes.c_bool),
                ("is_transcoder", ctypes.c_bool), ("has_skip", ctypes.c_bool), ("stops_on_duplicate", ctypes.c_bool),
                ("max_iterations", ctypes.c_int64), ("residual_threshold", ctypes.c_double), ("model_name", ctypes.c_char * 128),
                ("hook_name", ctypes.c_char * 128), ("hook_name_out", ctypes.c_char * 128)]


def config_of(library, sae):
    library.so.sonde_sae_get_config.restype = ctypes.POINTER(Config)
    config = library.so.sonde_sae_get_config(sae).contents
    return config.model_name.decode(), config.hook_name.decode()


# ---- OpenAI -----------------------------------------------------------------------------------------------------------------------


def openai(score, library, folder, generator):
    """openai/sparse_autoencoder, model.py: rows are layer-normed (unbiased deviation + 1e-5) for TopK."""
    state = {"pre_bias": rows(generator, 1, D)[0] * 0.1, "latent_bias": rows(generator, 1, S)[0] * 0.1, "stats_last_nonzero": torch.zeros(S, dtype=torch.long),
             "encoder.weight": rows(generator, S, D) * 0.3, "decoder.weight": rows(generator, D, S) * 0.3}
    x = rows(generator)
    for activation in ("TopK", "ReLU"):
        at = folder / "gpt2-small" / f"resid_post_mlp_v5_32k-{activation}" / "autoencoders"
        at.mkdir(parents=True)
        more = {"activation_state_dict": {"k": K, "postact_fn": "ReLU"}} if activation == "TopK" else {}
        torch.save(state | {"activation": activation} | more, at / "8.pt")
        exact = {k: v.double() for k, v in state.items()}
        z, mean, deviation = x.double(), 0.0, 1.0
        if activation == "TopK":
            mean = z.mean(-1, keepdim=True)
            deviation = (z - mean).std(-1, keepdim=True) + 1e-5
            z = (z - mean) / deviation
        h = (z - exact["pre_bias"]) @ exact["encoder.weight"].T + exact["latent_bias"]
        f = h.relu()
        if activation == "TopK":
            top = h.topk(K, -1)
            f = torch.zeros_like(h).scatter_(1, top.indices, top.values.relu())
        y = (f @ exact["decoder.weight"].T + exact["pre_bias"]) * deviation + mean
        sae = compare(score, library, f"OpenAI {activation}", at / "8.pt", x, f, y)
        score.check("its model and hook point", config_of(library, sae) == ("gpt2", "blocks.8.hook_resid_post"))
        library.so.sonde_sae_free(sae)


def refused(score, library, folder):
    """A pickle that wants to run something."""
    class Wants:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))
    at = folder / "wants"
    at.mkdir()
    torch.save({"encoder.weight": Wants()}, at / "ae.pt")
    try:
        library.open(at)
        said = ""
    except SondeError as error:
        said = str(error)
    score.check(f"a pickle that wants to run something: {said}", "exec" in said)


def main():
    score, library = Score(), Library()
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        dictionary_learning(score, library, folder, generator)
        sparsify(score, library, folder, generator)
        scopes(score, library, folder, generator)
        openai(score, library, folder, generator)
        refused(score, library, folder)
    return score.done()


if __name__ == "__main__":
    sys.exit(main())
