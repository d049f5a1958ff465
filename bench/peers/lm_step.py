"""The same training step with a peer: transformers' GPT-2 classes and fused AdamW in PyTorch, fp32 on the CPU.

    lm_step.py one-layer|small [REPEATS]

    one-layer   d 128, MLP 512 ReLU, 4 heads, vocabulary 50,304, 32 x 128 tokens
    small       4 layers, d 256, 8 heads, MLP 1024 gelu_new, vocabulary 8,192, 16 x 256 tokens

Prints one line of JSON: median and best rate in tokens/s, peak memory, threads, versions. Torch uses all processors.
"""
import importlib.metadata
import json
import os
import resource
import statistics
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

SHAPES = {"one-layer": (1, 128, 4, 50304, 32, 128, "relu"), "small": (4, 256, 8, 8192, 16, 256, "gelu_new")}


def main(shape, repeats=5):
    layers, width, heads, vocabulary, B, T, activation = SHAPES[shape]
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocabulary, n_positions=T,
                                       activation_function=activation, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids, times = torch.randint(0, vocabulary, (B, T)), []
    for _ in range(1 + repeats):  # the first is not counted
        start = time.perf_counter()
        loss = model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        assert torch.isfinite(loss)
    print(json.dumps({"peer": "transformers", "version": importlib.metadata.version("transformers"), "torch": torch.__version__,
                      "shape": shape, "tokens_per_s": B * T / statistics.median(times[1:]), "best": B * T / min(times[1:]),
                      "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
