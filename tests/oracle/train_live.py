"""Training by sonde against the same training in PyTorch: loss, step size, norm of the gradients of every step, and the weights in
the end.

    train_live.py [SONDE_PROGRAM [SEED]]

Both begin with the same weights (transformers' own models of both families, in float64 here) and take the same batches: the order
of contexts is written down in include/sonde/text.h and computed here once more. Documents are run one by one, so that they cannot
see each other. AdamW is torch.optim.AdamW, Muon the function of torch.optim.Muon without its rounding to bfloat16, clipping is
torch's; schedules are the formulas of the documentation. What was trained must be a model like any other: transformers loads it
with the same logits, its tokenizer gives the same ids, and a training goes on from it.
"""
import csv
import json
import math
import os
import pathlib
import random
import sys
import tempfile

import numpy as np
import tokenizers
import torch
import transformers
from torch.optim import _muon
from transformers import AutoModelForCausalLM, AutoTokenizer

import common
import muon_golden
from sonde_cli import Score, Sonde

LIMIT, LOGITS_LIMIT = 1e-5, 2e-5
VOCAB, CONTEXT, BATCH = 300, 24, 5
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1

# ---- the order of contexts: Philox 4x32-10 in a Feistel network (include/sonde/text.h) ----


def philox(seed, stream, counter):
    k0, k1 = seed & MASK32, seed >> 32
    c = [counter & MASK32, counter >> 32, stream & MASK32, stream >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k0, b & MASK32, (a >> 32) ^ c[3] ^ k1, a & MASK32]
        k0, k1 = (k0 + 0x9E3779B9) & MASK32, (k1 + 0xBB67AE85) & MASK32
    return c


def permute(i, n, seed, stream):
    half = 1
    while 1 << (2 * half) < n:
        half += 1
    mask = (1 << half) - 1
    while True:
        left, right = i >> half, i & mask
        for r in range(8):
            left, right = right, left ^ (philox(seed, stream, r << 32 | right)[0] & mask)
        i = left << half | right
        if i < n:
            return i


class Contexts:
    def __init__(self, stream, length, seed):
        self.stream, self.length, self.seed, self.n = stream, length, seed, len(stream) // length

    def __getitem__(self, index):
        epoch, i = divmod(index, self.n)
        stream = int.from_bytes(b"contexts", "big") ^ epoch
        bits = philox(self.seed, stream, MASK64)
        first = (bits[0] << 32 | bits[1]) % len(self.stream) + permute(i, self.n, self.seed, stream) * self.length
        return [self.stream[(first + k) % len(self.stream)] for k in range(self.length + 1)]


# ---- the training ----


def rate(o, step):
    """The step size of step `step`, from 0."""
    steps, warmup, last = o["steps"], o["warmup"], o["lr"] * o["last-lr"]
    first = steps - (o["decay-steps"] or -(-steps // 5)) if o["schedule"] == "wsd" else warmup
    down = 0.0 if o["schedule"] == "constant" or step < first else (step - first) / (steps - first)
    if o["schedule"] == "cosine":
        down = (1 - math.cos(math.pi * down)) / 2
    lr = o["lr"] + (last - o["lr"]) * down
    return lr * (step + 1) / warmup if step < warmup else lr


def nats(model, ids, targets):
    """The sum of the cross-entropies of one document; a target of -1 does not count."""
    logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(targets), ignore_index=-1, reduction="sum")


def step_loss(model, contexts, first, separator):
    total = 0.0
    for c in range(first, first + BATCH):
        ids = contexts[c]
        cuts = [0] + [i for i in range(1, CONTEXT) if ids[i] == separator] + [CONTEXT]
        for a, b in zip(cuts, cuts[1:]):
            total = total + nats(model, ids[a:b], ids[a + 1 : b + 1])
    return total / (BATCH * CONTEXT)


def is_hidden(name, p):
    return p.dim() == 2 and not any(part in name for part in ("wte", "wpe", "embed_tokens", "lm_head"))


class Muon:
    """The update of torch.optim.Muon; queries, keys and values that lie in one matrix are three."""

    def __init__(self, named, o):
        self.parameters = [(p, 3 if "c_attn" in name else 1) for name, p in named]
        self.means = [torch.zeros_like(p) for p, _ in self.parameters]
        self.momentum, self.decay = o["momentum"], o["weight-decay"]

    @torch.no_grad()
    def step(self, lr):
        for (p, parts), mean in zip(self.parameters, self.means):
            mean.lerp_(p.grad, 1 - self.momentum)
            update = p.grad.lerp(mean, self.momentum)
            for w, u in zip(p.chunk(parts, 1), update.chunk(parts, 1)):
                u = _muon._zeropower_via_newtonschulz(u, (3.4445, -4.775, 2.0315), 5, 1e-7)
                w.mul_(1 - lr * self.decay).add_(u, alpha=-_muon._adjust_lr(lr, "match_rms_adamw", w.shape))


def train(model, contexts, separator, o):
    """[(loss, lr, norm of the gradients)] of each step; the model is trained in place."""
    named = list(model.named_parameters())
    hidden = [(n, p) for n, p in named if o["optimizer"] == "muon" and is_hidden(n, p)]
    rest = [p for n, p in named if not any(p is q for _, q in hidden)]
    groups = [dict(params=[p for p in rest if p.dim() == 2], weight_decay=o["weight-decay"]),
              dict(params=[p for p in rest if p.dim() != 2], weight_decay=0.0)]
    adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, betas=(o["beta1"], o["beta2"]), eps=o["eps"])
    muon, rows = Muon(hidden, o), []
    for step in range(o["steps"]):
        loss = step_loss(model, contexts, step * BATCH, separator)
        adamw.zero_grad()
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), o["clip"] or math.inf)
        for group in adamw.param_groups:
            group["lr"] = rate(o, step)
        adamw.step()
        muon.step(rate(o, step))
        rows.append((loss.item(), rate(o, step), norm.item()))
    return rows


@torch.no_grad()
def evaluate(model, documents, separator):
    """Mean nats of documents, each a context of its own."""
    total, n = 0.0, 0
    for ids in documents:
        ids = [separator, *ids][: model.config.max_position_embeddings]
        total, n = total + nats(model, ids, ids[1:] + [-1]).item(), n + len(ids) - 1
    return total / n


# ---- comparison ----


class Texts:
    """Documents and the tokenizer that sonde learns from them."""

    def __init__(self, sonde, folder, seed):
        words = "the cat sat on a mat and ran to her big red ball; once upon time there was rain.".split()
        draw = random.Random(seed)
        self.texts = [" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(60)]
        self.path, self.tokenizer = folder / "texts.jsonl", folder / "tok"
        self.path.write_text("".join(json.dumps({"text": t}) + "\n" for t in self.texts))
        sonde.run("tokenizer", "train", self.path, "-o", self.tokenizer, "--vocab", VOCAB, "-q")
        library = tokenizers.Tokenizer.from_file(str(self.tokenizer / "tokenizer.json"))
        self.documents = [library.encode(t).ids for t in self.texts]
        self.separator = library.token_to_id("<|endoftext|>")
        self.stream = [i for d in self.documents for i in (self.separator, *d)]


def first_model(kind, folder, seed):
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=VOCAB, n_positions=32, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
    else:
        config = transformers.LlamaConfig(vocab_size=VOCAB + 5, max_position_embeddings=32, hidden_size=24, intermediate_size=40,
                                          num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                          tie_word_embeddings=kind == "llama-tied", bos_token_id=0, eos_token_id=0)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)


def same_weights(score, name, directory, model):
    got, worst = AutoModelForCausalLM.from_pretrained(directory).state_dict(), 0.0
    want = model.state_dict()
    score.check(f"{name} names", got.keys() == want.keys())
    for key, w in want.items():
        error = (got[key].double() - w).abs().max().item() / max(w.abs().max().item(), 1e-30)
        score.check(f"{name} {key}", error <= LIMIT, f"error {error:.3g}")
        worst = max(worst, error)
    return worst


def same_curve(score, name, path, rows):
    """Errors of loss, step size and norm, the largest of all steps."""
    lines, worst = list(csv.DictReader(path.open())), [0.0, 0.0, 0.0]
    score.check(f"{name} steps", len(lines) == len(rows), f"{len(lines)} for {len(rows)}")
    for line, row in zip(lines, rows):
        for k, column in enumerate(("loss", "lr", "gradient_norm")):
            error = abs(float(line[column]) / row[k] - 1) if row[k] else abs(float(line[column]))
            score.check(f"{name} step {line['step']} {column}", error <= LIMIT, f"{line[column]} for {row[k]}")
            worst[k] = max(worst[k], error)
    return lines, worst


def is_a_model(score, sonde, name, directory, texts):
    """Logits and token ids as transformers has them."""
    ids = texts.stream[:20]
    want = common.load_float64(directory)(torch.tensor([ids]), use_cache=False).logits[0].detach().numpy()
    got = sonde.act(directory.parent / "logits.safetensors", directory, "--ids", ",".join(map(str, ids)), "--hook", "resid_post1",
                    "--logits")["logits"][0]
    error = common.relative_error(got.astype(np.float64), want)
    score.check(f"{name} logits", error <= LOGITS_LIMIT, f"error {error:.3g}")
    auto = AutoTokenizer.from_pretrained(directory)
    score.check(f"{name} ids", all(auto(t)["input_ids"] == d for t, d in zip(texts.texts, texts.documents)))
    score.check(f"{name} bos", auto.bos_token_id == texts.separator)


# AdamW divides each gradient by its own size: one that is nearly 0 (of tokens that no text has) steps as far as its rounding error
# says. eps is large enough here that it does not.
def compare(score, sonde, name, start, out, texts, changed):
    o = dict(steps=8, warmup=3, schedule="cosine", optimizer="adamw", lr=2e-3, clip=0.5, seed=5, eps=1e-5, momentum=0.9, beta1=0.9,
             beta2=0.95)
    o.update({"last-lr": 0.1, "weight-decay": 0.3, "decay-steps": 0})
    o.update(changed)
    options = [w for key, value in o.items() for w in (f"--{key}", value)]
    sonde.run("lm", "train", "--init", start, "--tokenizer", texts.tokenizer, "--data", texts.path, "--held-out", texts.path,
              "--eval-documents", 20, "--context", CONTEXT, "--batch", BATCH, "--micro-batch", 2, "--sample-every", 0, "-o", out, "-q", *options)
    model = common.load_float64(start)
    rows = train(model, Contexts(texts.stream, CONTEXT, o["seed"]), texts.separator, o)
    lines, worst = same_curve(score, name, out / "curve.csv", rows)
    want = evaluate(model, texts.documents[:20], texts.separator)
    error = abs(float(lines[-1]["held_out_loss"]) / want - 1)
    score.check(f"{name} held-out", error <= LIMIT, f"{lines[-1]['held_out_loss']} for {want}")
    worst.append(same_weights(score, name, out / "model", model))
    is_a_model(score, sonde, name, out / "model", texts)
    score.check(f"{name} learns", rows[-1][0] < rows[0][0])
    return worst


def main(program, seed=0):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    muon_golden.in_float64()
    score, sonde, worst = Score(), Sonde(program), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        texts = Texts(sonde, folder, seed)
        for kind in ("gpt2", "llama", "llama-tied"):
            first_model(kind, folder / kind, seed)
        cases = [("gpt2", dict()), ("gpt2", dict(optimizer="muon", schedule="wsd", steps=10)), ("llama", dict(schedule="linear", clip=0)),
                 ("llama", dict(optimizer="muon", schedule="constant", warmup=0)), ("llama-tied", dict(steps=6, seed=2**40 + 1))]
        for i, (kind, changed) in enumerate(cases):
            name = f"{kind} {changed.get('optimizer', 'adamw')}"
            worst.append(score.attempt(name, compare, score, sonde, name, folder / kind, folder / f"run{i}", texts, changed))
        # Trainings go on from what was trained, with new moments.
        for i in (0, 3):
            name = f"from run {i}"
            worst.append(score.attempt(name, compare, score, sonde, name, folder / f"run{i}/model", folder / f"again{i}", texts,
                                       dict(steps=4, optimizer=("adamw", "muon")[i > 0])))
    largest = [max(w[k] for w in worst if w) for k in range(4)] if any(worst) else []
    print("largest errors of loss, step size, norm and weights: " + ", ".join(f"{w:.1e}" for w in largest))
    return score.done()


if __name__ == "__main__":
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")
    sys.exit(main(program, *map(int, sys.argv[2:])))
