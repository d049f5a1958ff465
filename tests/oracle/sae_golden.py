"""Writes tests/golden/sae: an autoencoder of each architecture, saved by sae-lens, and what it makes of some rows in float64.

    python tests/oracle/sae_golden.py

Each folder has cfg.json and sae_weights.safetensors as sae-lens wrote them, and expected.safetensors: x, features, y."""
import logging
import shutil
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
from sae_lens import SAE
from sae_lens.registry import get_sae_class

logging.disable(logging.WARNING)
OUT = Path(__file__).parent.parent / "golden" / "sae"
D, S, O, K, N = 6, 17, 5, 3, 4
CASES = {"standard": {}, "gated": {}, "topk": {"k": K, "rescale_acts_by_decoder_norm": True}, "abstopk": {"k": K}, "jumprelu": {},
         "matching_pursuit": {"residual_threshold": 0.5}, "transcoder": {"d_out": O, "apply_b_dec_to_input": False},
         "skip_transcoder": {"d_out": O, "apply_b_dec_to_input": False},
         "jumprelu_transcoder": {"d_out": O, "apply_b_dec_to_input": False},
         "jumprelu_skip_transcoder": {"d_out": O, "apply_b_dec_to_input": False}}
EXTRA = {"standard_layer_norm": ("standard", {"normalize_activations": "layer_norm"}),
         "topk_constant_norm": ("topk", {"k": K, "normalize_activations": "constant_norm_rescale"})}


def write(name, architecture, options, generator):
    cls, config_class = get_sae_class(architecture)
    sae = cls(config_class(d_in=D, d_sae=S, **options))
    with torch.no_grad():
        for parameter, p in sae.named_parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.4 if parameter.startswith("W_") else 0.2))
            if parameter == "threshold":
                p.abs_()
        if architecture == "matching_pursuit":
            sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    sae.cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    shutil.rmtree(OUT / name, ignore_errors=True)
    sae.save_model(OUT / name)
    exact = SAE.load_from_disk(OUT / name, dtype="float64")
    x = torch.randn([N, D], generator=generator).float()
    with torch.no_grad():
        save_file({"x": x, "features": exact.encode(x.double()).contiguous(), "y": exact(x.double()).contiguous()},
                  OUT / name / "expected.safetensors")


generator = torch.Generator().manual_seed(0)
for name, options in CASES.items():
    write(name, name, options, generator)
for name, (architecture, options) in EXTRA.items():
    write(name, architecture, options, generator)
