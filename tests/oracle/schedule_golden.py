"""Golden numbers for the schedules of training autoencoders: step sizes by sae-lens's get_lr_scheduler, weights of the penalty by its
CoefficientScheduler, and step sizes that do not end at 0, which its 'constant' cannot, by the parts of torch that it is made of.

Writes tests/golden/schedules.json: what each step of a training is given, from the first to the last.

    python tests/oracle/schedule_golden.py
"""
import json
import pathlib
import warnings

import torch
from torch.optim.lr_scheduler import LinearLR, SequentialLR

warnings.filterwarnings("ignore")
import sae_lens
from sae_lens.training.optim import CoefficientScheduler, get_lr_scheduler

LR = 3e-3
# scheduler, steps, of the warm-up, of the decay, last step size as a share of the largest. cosineannealing has no counterpart in sonde where there
# is a decay as well, and fails in torch where the warm-up is all of the training.
RATES = [
    ("constant", 40, 0, 0, 0.0), ("constant", 40, 8, 0, 0.0), ("constant", 40, 40, 0, 0.0), ("constant", 40, 60, 0, 0.0),
    ("constant", 40, 8, 10, 0.0), ("constant", 40, 1, 1, 0.0), ("constant", 40, 0, 40, 0.0), ("constant", 40, 7, 33, 0.0),
    ("constant", 40, 8, 36, 0.0), ("constant", 40, 20, 33, 0.0), ("cosineannealing", 40, 8, 0, 0.1), ("cosineannealing", 40, 0, 0, 0.0),
    ("cosineannealing", 40, 1, 0, 0.5), ("cosineannealing", 40, 39, 0, 0.1), ("torch", 40, 8, 10, 0.2), ("torch", 40, 7, 33, 0.2),
]
WEIGHTS = [(0, 0.7), (1, 0.7), (7, 0.7), (20, 3.0), (50, 0.7)]
N_WEIGHTS = 20


def scheduler_of(optimizer, name, steps, warmup, decay, last):
    if name != "torch":
        return get_lr_scheduler(name, optimizer, training_steps=steps, lr=LR, warm_up_steps=warmup, decay_steps=decay, lr_end=last * LR, num_cycles=1)
    parts = [LinearLR(optimizer, 1 / warmup, 1.0, warmup - 1), LinearLR(optimizer, 1.0, 1.0, 1), LinearLR(optimizer, 1.0, last, decay)]
    return SequentialLR(optimizer, parts, [warmup, steps - decay])


def rates(name, steps, warmup, decay, last):
    """What each step has: the optimizer's before scheduler.step(), as in SAETrainer."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler, lrs = scheduler_of(optimizer, name, steps, warmup, decay, last), []
    for _ in range(steps):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return dict(scheduler=name, steps=steps, warmup=warmup, decay=decay, last=last, lr=LR, rates=lrs)


def weights(warmup, final):
    """What each step has: the scheduler's value before its step(), as in SAETrainer."""
    scheduler, values = CoefficientScheduler(warm_up_steps=warmup, final_value=final), []
    for _ in range(N_WEIGHTS):
        values.append(scheduler.value)
        scheduler.step()
    return dict(warmup=warmup, final=final, weights=values)


def main():
    golden = dict(made_by=f"sae-lens {sae_lens.__version__}, torch {torch.__version__}", rates=[rates(*case) for case in RATES],
                  weights=[weights(*case) for case in WEIGHTS])
    path = pathlib.Path(__file__).parent.parent / "golden" / "schedules.json"
    path.write_text(json.dumps(golden, indent=0) + "\n")


main()
