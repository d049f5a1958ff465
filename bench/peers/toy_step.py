"""Toy models, the paper's introduction: ten instances of five features in two numbers as one batched problem, 1,024 rows, AdamW; a JSON line.

    toy_step.py [STEPS]
"""
import json
import os
import statistics
import sys
import time

import torch

torch.set_num_threads(os.cpu_count())
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
I, N, M, B = 10, 5, 2, 1024
torch.manual_seed(0)
w = torch.nn.Parameter(torch.nn.init.xavier_normal_(torch.empty(I, N, M)))
b = torch.nn.Parameter(torch.zeros(I, N))
importance, p = 0.9 ** torch.arange(N), 20 ** -torch.linspace(0, 1, I)
adam = torch.optim.AdamW([w, b], lr=1e-3)
rates = []
for _ in range(4):
    start = time.perf_counter()
    for _ in range(steps):
        x = torch.where(torch.rand(B, I, N) <= p[:, None], torch.rand(B, I, N), torch.zeros(()))
        y = torch.relu(torch.einsum("...ih,ifh->...if", torch.einsum("...if,ifh->...ih", x, w), w) + b)
        loss = (importance * (x - y) ** 2).mean((0, 2)).sum()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    rates.append(steps / (time.perf_counter() - start))
print(json.dumps({"steps_per_s": statistics.median(rates[1:]), "torch": torch.__version__}))
