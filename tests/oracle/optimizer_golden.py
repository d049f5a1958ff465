"""Golden numbers for sondep_adamw_step: torch.optim.AdamW with torch's clipping of the gradient's norm, in float64.

Writes tests/golden/adamw.json. Start and gradients are float32 numbers; weights after each step are torch's in float64.

    python tests/oracle/optimizer_golden.py
"""
import json
import pathlib

import torch

N, STEPS = 21, 8
RUNS = [
    dict(rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.1, max_norm=1.0),
    dict(rate=3e-2, beta1=0.9, beta2=0.95, eps=1e-8, decay=0.0, max_norm=1e9),
    dict(rate=1e-2, beta1=0.8, beta2=0.99, eps=1e-3, decay=0.5, max_norm=0.05),
]


def run(settings, generator):
    start = torch.randn(N, generator=generator, dtype=torch.float32)
    gradients = torch.randn(STEPS, N, generator=generator, dtype=torch.float32)
    gradients[:, 3] = 0.0  # a weight that only decays
    gradients[2] *= 1e-4
    gradients[5] *= 30.0
    w = torch.nn.Parameter(start.double())
    optimizer = torch.optim.AdamW([w], lr=settings["rate"], betas=(settings["beta1"], settings["beta2"]), eps=settings["eps"],
                                  weight_decay=settings["decay"], foreach=False)
    weights = []
    for g in gradients:
        w.grad = g.double()
        torch.nn.utils.clip_grad_norm_([w], settings["max_norm"])
        optimizer.step()
        weights.append(w.detach().tolist())
    return dict(settings, start=start.tolist(), gradients=gradients.tolist(), weights=weights)


def main():
    generator = torch.Generator().manual_seed(11)
    golden = dict(made_by=f"torch {torch.__version__}", runs=[run(settings, generator) for settings in RUNS])
    path = pathlib.Path(__file__).parent.parent / "golden" / "adamw.json"
    path.write_text(json.dumps(golden, indent=0) + "\n")


main()
