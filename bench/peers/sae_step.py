"""One training step of a sparse autoencoder on Gaussian rows, fresh weights, fp32, Adam, both cores; a JSON line as the others print.

    sae_step.py saelens-topk|saelens-relu|torch-sparse-topk|torch-products [D WIDTH BATCH K]

saelens: the trainer's own step. torch-sparse-topk: the fastest way that we know to write it in PyTorch: one dense product, topk, decoding by
embedding_bag. torch-products: the five products of the dense step by themselves, without anything else: a limit.
"""
import json
import os
import resource
import statistics
import sys
import time

import torch

torch.set_num_threads(os.cpu_count())
who = sys.argv[1]
D, W, B, K = map(int, sys.argv[2:6]) if len(sys.argv) > 5 else (768, 24576, 4096, 32)
torch.manual_seed(0)
x = torch.randn(B, D)


def saelens():
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer
    sae = (TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D, d_sae=W, k=K)) if who.endswith("topk")
           else StandardTrainingSAE(StandardTrainingSAEConfig(d_in=D, d_sae=W, l1_coefficient=1.0)))

    def forever():
        while True:
            yield x
    config = SAETrainerConfig(total_training_samples=10**9, train_batch_size_samples=B, lr_end=3e-5, logger=LoggingConfig(log_to_wandb=False))
    trainer = SAETrainer(config, sae, forever())
    return lambda: trainer.step(x)


def sparse_topk():
    import torch.nn.functional as F
    decoder = torch.nn.Parameter(F.normalize(torch.randn(W, D), dim=1))
    encoder = torch.nn.Parameter(decoder.detach().clone())
    b_enc, b_dec = torch.nn.Parameter(torch.zeros(W)), torch.nn.Parameter(torch.zeros(D))
    adam = torch.optim.Adam([encoder, decoder, b_enc, b_dec], lr=3e-4, fused=True)

    def step():
        value, index = F.linear(x - b_dec, encoder, b_enc).topk(K, sorted=False)
        y = F.embedding_bag(index, decoder, per_sample_weights=value.relu(), mode="sum") + b_dec
        (y - x).pow(2).sum(1).mean().backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
    return step


def products():
    w, f, r = torch.randn(W, D), torch.randn(B, W), torch.randn(B, D)

    def step():
        x @ w.T, f @ w, r @ w.T, f.T @ r, f.T @ x
    return step


def main():
    step = saelens() if who.startswith("saelens") else sparse_topk() if who == "torch-sparse-topk" else products()
    step()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"name": who, "tokens_per_s": B / statistics.median(seconds), "torch": torch.__version__, "threads": torch.get_num_threads(),
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)}))


main()
