"""The same extraction with a peer library: GPT-2-small shape with random weights, fp32 on the CPU, one pass over B x T tokens
that keeps every hook_resid_post, hook_attn_out, mlp.hook_post and hook_mlp_out, with logits.

    forward.py transformers|transformer_lens B T [REPEATS]

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

N_LAYERS, N_KEPT = 12, 48


def transformers_pass():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()  # the defaults are GPT-2 small's shape

    def keep_into(kept, name):
        def hook(module, inputs, output):
            kept[name] = output[0] if isinstance(output, tuple) else output

        return hook

    def one_pass(ids):
        kept, handles = {}, []
        for i, block in enumerate(model.transformer.h):
            for name, module in (("resid_post", block), ("attn_out", block.attn), ("post", block.mlp.act), ("mlp_out", block.mlp)):
                handles.append(module.register_forward_hook(keep_into(kept, f"{name}{i}")))
        logits = model(ids).logits
        for handle in handles:
            handle.remove()
        return kept, logits

    return one_pass


def transformer_lens_pass():
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    model = HookedTransformer(HookedTransformerConfig(
        n_layers=N_LAYERS, d_model=768, n_ctx=1024, d_head=64, n_heads=12, d_mlp=3072, d_vocab=50257, act_fn="gelu_new",
        normalization_type="LN")).eval()
    ends = ("hook_resid_post", "hook_attn_out", "mlp.hook_post", "hook_mlp_out")

    def one_pass(ids):
        logits, cache = model.run_with_cache(ids, names_filter=lambda name: name.endswith(ends))
        return cache, logits

    return one_pass


PEERS = {"transformers": transformers_pass, "transformer_lens": transformer_lens_pass}


def main(peer, B, T, repeats=3):
    torch.set_grad_enabled(False)
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    one_pass, times = PEERS[peer](), []
    ids = torch.randint(0, 50257, (B, T))
    for _ in range(1 + repeats):  # the first is not counted
        start = time.perf_counter()
        kept, logits = one_pass(ids)
        times.append(time.perf_counter() - start)
        assert len(kept) == N_KEPT and logits.shape == (B, T, 50257) and torch.isfinite(logits).all()
        del kept, logits
    print(json.dumps({"peer": peer, "version": importlib.metadata.version(peer), "torch": torch.__version__, "batch": B,
                      "tokens": T, "tokens_per_s": B * T / statistics.median(times[1:]), "best": B * T / min(times[1:]),
                      "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                      "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
