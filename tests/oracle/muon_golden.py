"""Golden numbers for Muon: torch.optim.Muon(adjust_lr_fn="match_rms_adamw") in float64.

Writes tests/golden/muon.safetensors: for each matrix NAME its weights before (NAME.w0), the gradients of each step (NAME.g1, ..)
and the weights behind it (NAME.w1, ..), all as float32. torch rounds to bfloat16 inside the iteration; that one line of its own
source is changed, and nothing else. `parts` side by side are matrices of their own to torch.

    python tests/oracle/muon_golden.py
"""
import inspect
import pathlib

import torch
from safetensors.torch import save_file
from torch.optim import _muon

STEPS = 3
LR, DECAY, MOMENTUM = 0.02, 0.1, 0.95
# name: (rows, columns, parts, size of the gradients)
MATRICES = {"wide": (4, 6, 1, 1.0), "tall": (7, 3, 1, 1.0), "square": (5, 5, 1, 1.0), "row": (1, 6, 1, 1.0), "column": (6, 1, 1, 1.0),
            "parts": (6, 12, 3, 1.0), "large": (24, 40, 1, 100.0), "small": (6, 8, 1, 1e-9), "zero": (3, 4, 1, 0.0)}


def in_float64():
    source = inspect.getsource(_muon._zeropower_via_newtonschulz)
    changed = source.replace("grad.bfloat16()", "grad.clone()")
    assert changed != source, "torch has another _zeropower_via_newtonschulz"
    exec(changed, vars(_muon))


def main():
    in_float64()
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, (rows, columns, parts, size) in MATRICES.items():
        w = torch.randn(rows, columns, generator=generator, dtype=torch.float32)
        tensors[f"{name}.w0"] = w
        each = [torch.nn.Parameter(piece.double().clone()) for piece in w.chunk(parts, 1)]
        optimizer = torch.optim.Muon(each, lr=LR, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
        for step in range(1, STEPS + 1):
            g = size * torch.randn(rows, columns, generator=generator, dtype=torch.float32)
            for parameter, piece in zip(each, g.chunk(parts, 1)):
                parameter.grad = piece.double().clone()
            optimizer.step()
            tensors[f"{name}.g{step}"] = g
            tensors[f"{name}.w{step}"] = torch.cat([p.detach() for p in each], 1).float()
    out = pathlib.Path("tests/golden/muon.safetensors")
    save_file({k: v.contiguous() for k, v in tensors.items()}, out,
              {"torch": torch.__version__, "lr": str(LR), "decay": str(DECAY), "momentum": str(MOMENTUM)})
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
