#!/usr/bin/env python3
"""Autoencoders of every architecture, saved by sae-lens: features and reconstructions here against theirs in float64; and what
sonde saves, loaded by sae-lens.

    sae_live.py

The library is libsonde.so beside the program that SONDE_PROGRAM names (build/sonde). The autoencoders in SHARED/saes are compared
too where SONDE_SHARED (../shared) has them.
"""
import ctypes
import json
import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

warnings.filterwarnings("ignore")
import sae_lens
from sae_lens import SAE
from sae_lens.registry import get_sae_class

from sonde_cli import Score
from tokenizer_common import SondeError, load_libsonde

logging.disable(logging.WARNING)
D, S, O, K, N = 48, 200, 36, 7, 50
LIMIT = 2e-5  # of the largest value
SHARED = Path(os.environ.get("SONDE_SHARED", "../shared"))


class Geometry(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("encoder_norm", "decoder_norm", "encoder_bias", "encoder_decoder",
                                                     "nearest_encoder", "nearest_decoder")] + [("nearest", ctypes.c_int64)]


class Library:
    """The functions of sonde/sae.h."""

    def __init__(self):
        self.so = load_libsonde(Path(os.environ.get("SONDE_PROGRAM", "build/sonde")).parent / "libsonde.so")

    def call(self, name, *arguments):
        if getattr(self.so, name)(*arguments) != 0:
            error = self.so.sonde_last_error().contents
            raise SondeError(error.status, error.message.decode())

    def open(self, folder):
        sae = ctypes.c_void_p()
        self.call("sonde_sae_load", ctypes.byref(sae), str(folder).encode())
        return sae

    def apply(self, sae, x, n_features, n_out):
        """(features, reconstructions) of rows."""
        coder, n = ctypes.c_void_p(), ctypes.c_int64(len(x))
        f, y = np.empty((len(x), n_features), np.float32), np.empty((len(x), n_out), np.float32)
        self.call("sonde_sae_coder_new", ctypes.byref(coder), sae)
        self.call("sonde_sae_encode", coder, f.ctypes.data_as(ctypes.c_void_p), x.ctypes.data_as(ctypes.c_void_p), n)
        self.call("sonde_sae_decode", coder, y.ctypes.data_as(ctypes.c_void_p), f.ctypes.data_as(ctypes.c_void_p),
                  x.ctypes.data_as(ctypes.c_void_p), n)
        self.so.sonde_sae_coder_free(coder)
        return f, y


def relative_error(got, want):
    return np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)


def make(architecture, generator, **options):
    """An autoencoder of sae-lens with random weights: thresholds and biases where some features are on."""
    cls, config_class = get_sae_class(architecture)
    sae = cls(config_class(d_in=D, d_sae=S, **options))
    with torch.no_grad():
        for name, p in sae.named_parameters():
            deviation = 0.3 if name.startswith("W_") else 0.1
            p.copy_(torch.randn(p.shape, generator=generator) * deviation)
            if name == "threshold":
                p.copy_(p.abs() * 5)
        if architecture == "matching_pursuit":
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    return sae


def compare(score, library, label, sae, folder, x):
    """A folder here against the object that it was saved from."""
    exact = SAE.load_from_disk(folder, dtype="float64")
    n_out = exact.W_dec.shape[1]
    with torch.no_grad():
        want_f = exact.encode(torch.tensor(x, dtype=torch.float64))
        want_y = exact(torch.tensor(x, dtype=torch.float64))
    opened = library.open(folder)
    f, y = library.apply(opened, x, exact.W_dec.shape[0], n_out)
    want_f, want_y = want_f.numpy(), want_y.numpy()
    # a number at a threshold, or next to another at the end of the k largest, may fall on either side of it
    same = ((f != 0) == (want_f != 0)).all(axis=1)
    errors = relative_error(f[same], want_f[same]), relative_error(y[same], want_y[same])
    print(f"{label}: features off by {errors[0]:.1e}, reconstructions by {errors[1]:.1e} of the largest, "
          f"L0 {(f != 0).sum(1).mean():.1f}, {(~same).sum()} of {len(x)} rows on another side")
    score.check(label, max(errors) <= LIMIT and same.mean() >= 0.96 and (f != 0).any(), f"{errors}, {same.mean()}")
    again = folder.parent / (folder.name + "-again")
    library.call("sonde_sae_save", opened, str(again).encode())
    library.so.sonde_sae_free(opened)
    back = SAE.load_from_disk(again)
    with torch.no_grad():
        ours, theirs = back.encode(torch.tensor(x)).numpy(), SAE.load_from_disk(folder).encode(torch.tensor(x)).numpy()
    score.check(f"{label}, saved again", type(back) is type(sae) and np.array_equal(ours, theirs)
                and back.cfg.metadata.hook_name == sae.cfg.metadata.hook_name)


def architectures(score, library, folder):
    generator = torch.Generator().manual_seed(0)
    x = (np.random.default_rng(1).standard_normal((N, D)) * 3 + 0.5).astype(np.float32)
    plain = ["standard", "gated", "topk", "abstopk", "jumprelu", "matching_pursuit"]
    cases = [(a, {}) for a in plain]
    cases += [(a, {"apply_b_dec_to_input": False}) for a in plain]
    cases += [(a, {"normalize_activations": n}) for a in plain for n in ("constant_norm_rescale", "layer_norm")]
    cases += [(a, {"rescale_acts_by_decoder_norm": True}) for a in ("topk", "abstopk")]
    cases += [("matching_pursuit", {"stop_on_duplicate_support": False, "max_iterations": 9}),
              ("matching_pursuit", {"residual_threshold": 4.0})]
    cases += [(a, {"d_out": O, "apply_b_dec_to_input": False})
              for a in ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")]
    for i, (architecture, options) in enumerate(cases):
        if architecture in ("topk", "abstopk"):
            options = {"k": K, **options}
        sae = make(architecture, generator, **options)
        sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
        sae.save_model(folder / str(i))
        label = f"{architecture} {' '.join(f'{k}={v}' for k, v in options.items())}"
        score.attempt(label, compare, score, library, label, sae, folder / str(i), x)


def outer_scale(score, library, folder):
    """A scale that was not folded: as sae-lens folds it, and an error without its file."""
    sae = make("standard", torch.Generator().manual_seed(3), normalize_activations="expected_average_only_in")
    x = np.random.default_rng(2).standard_normal((N, D)).astype(np.float32)
    sae.save_model(folder / "scaled")
    try:
        library.open(folder / "scaled")
        score.check("scale without its file", False, "it was loaded")
    except SondeError as error:
        score.check("scale without its file", "activation_scaler.json" in str(error), str(error))
    (folder / "scaled" / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 2.5}))
    sae.fold_activation_norm_scaling_factor(2.5)
    opened = library.open(folder / "scaled")
    f, y = library.apply(opened, x, S, D)
    with torch.no_grad():
        want_f, want_y = sae.encode(torch.tensor(x)).numpy(), sae(torch.tensor(x)).numpy()
    score.check("scale", relative_error(f, want_f) <= LIMIT and relative_error(y, want_y) <= LIMIT)


def old_folders(score, library, folder):
    """cfg.json as versions before 6 wrote it."""
    x = np.random.default_rng(2).standard_normal((N, D)).astype(np.float32)
    old = {"d_in": D, "d_sae": S, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small",
           "hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8, "normalize_activations": False, "context_size": 128}
    for label, extra in (("standard", {"activation_fn_str": "relu"}),
                         ("topk", {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": K}})):
        sae = make(label, torch.Generator().manual_seed(4), **({"k": K} if label == "topk" else {}))
        where = folder / f"old-{label}"
        sae.save_model(where)
        (where / "cfg.json").write_text(json.dumps({**old, **extra}))
        opened = library.open(where)
        f, y = library.apply(opened, x, S, D)
        exact = SAE.load_from_disk(where)
        with torch.no_grad():
            want_f, want_y = exact.encode(torch.tensor(x)).numpy(), exact(torch.tensor(x)).numpy()
        score.check(f"old {label}", relative_error(f, want_f) <= LIMIT and relative_error(y, want_y) <= LIMIT)


def centred(score, library, folder):
    """An autoencoder of a model whose writing weights were centred reads a residual stream without its mean, and gives that back."""
    x = np.random.default_rng(2).standard_normal((N, D)).astype(np.float32) + 1
    for hook, takes_mean in (("blocks.8.hook_resid_pre", True), ("blocks.8.mlp.hook_post", False)):
        sae = make("standard", torch.Generator().manual_seed(6))
        sae.cfg.metadata.hook_name = hook
        sae.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
        sae.save_model(folder / hook)
        f, y = library.apply(library.open(folder / hook), x, S, D)
        shift = x.mean(1, keepdims=True) * takes_mean
        with torch.no_grad():
            want_f, want_y = sae.encode(torch.tensor(x - shift)).numpy(), sae(torch.tensor(x - shift)).numpy() + shift
        score.check(f"centred {hook}", relative_error(f, want_f) <= LIMIT and relative_error(y, want_y) <= LIMIT)


def geometry(score, library, folder):
    """Norms and cosines of features against torch, in float64."""
    for architecture, options in (("standard", {}), ("transcoder", {"d_out": O, "apply_b_dec_to_input": False})):
        sae = make(architecture, torch.Generator().manual_seed(7), **options)
        sae.save_model(folder / f"geometry-{architecture}")
        out = (Geometry * S)()
        library.call("sonde_sae_measure_geometry", out, library.open(folder / f"geometry-{architecture}"))
        encoder, decoder = sae.W_enc.detach().double().T, sae.W_dec.detach().double()
        unit_e, unit_d = encoder / encoder.norm(dim=1, keepdim=True), decoder / decoder.norm(dim=1, keepdim=True)
        alone = -2 * torch.eye(S, dtype=torch.float64)
        among = unit_d @ unit_d.T + alone
        want = dict(encoder_norm=encoder.norm(dim=1), decoder_norm=decoder.norm(dim=1), encoder_bias=sae.b_enc.detach().double(),
                    nearest_encoder=(unit_e @ unit_e.T + alone).max(1).values, nearest_decoder=among.max(1).values)
        if architecture == "standard":
            want["encoder_decoder"] = (unit_e * unit_d).sum(1)
        for name, values in want.items():
            got = np.array([getattr(g, name) for g in out])
            score.check(f"geometry {architecture} {name}", np.abs(got - values.numpy()).max() <= 1e-6)
        score.check(f"geometry {architecture} nearest", [g.nearest for g in out] == among.argmax(1).tolist())


def refused(score, library, folder):
    """What would change the result and is not handled is an error that names it."""
    sae = make("standard", torch.Generator().manual_seed(5))
    sae.save_model(folder / "refused")
    config = json.loads((folder / "refused" / "cfg.json").read_text())
    for change, word in (({"architecture": "temporal"}, "temporal"), ({"architecture": "batchtopk"}, "batchtopk"),
                         ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
                         ({"d_sae": S + 1}, "W_enc"), ({"d_in": -1}, "d_in"), ({"reshape_activations": "x"}, "reshape_activations")):
        (folder / "refused" / "cfg.json").write_text(json.dumps({**config, **change}))
        try:
            library.open(folder / "refused")
            score.check(f"refused {change}", False, "it was loaded")
        except SondeError as error:
            score.check(f"refused {change}", word in str(error), str(error))


def trained(score, library, folder):
    """The three that sae-lens trained."""
    for path in sorted(p for p in (SHARED / "saes").glob("*") if p.is_dir()):
        sae = SAE.load_from_disk(path)
        copy = folder / path.name
        sae.save_model(copy)
        x = (np.random.default_rng(7).standard_normal((N, sae.cfg.d_in))).astype(np.float32)
        score.attempt(path.name, compare, score, library, path.name, sae, copy, x)


def main():
    score, library = Score(), Library()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"sae-lens {sae_lens.__version__}")
        for part in (architectures, outer_scale, old_folders, centred, geometry, refused, trained):
            score.attempt(part.__name__, part, score, library, folder)
    return score.done()


if __name__ == "__main__":
    sys.exit(main())
