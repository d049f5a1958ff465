"""The program on real models (stories15M, stories260K) against transformers, numpy and scipy: losses, activations of texts,
statistics, similarities, generation.

    model_stories_live.py [SONDE_PROGRAM]

The models lie under SONDE_SHARED (default ../shared); without them everything is skipped (exit status 77).
"""
import json
import os
import pathlib
import sys
import tempfile

import numpy as np
import scipy.stats
import torch
import transformers
from tokenizers import Tokenizer

import common
from sonde_cli import Score, Sonde

SHARED = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
LOSSES = {"stories15M": (1.13022, 3691), "stories260K": (1.33438, 6560)}  # first 20 stories, measured with transformers
TEXT = "Once upon a time there was a cat named Tom. The cat sat on a mat and saw another cat."


def stories(n, every=1):
    lines = (SHARED / "text/tinystories-1000.jsonl").read_text().splitlines()
    return lines[: n * every : every]


def encode(name, text):
    return Tokenizer.from_file(str(SHARED / "models" / name / "tokenizer.json")).encode(text).ids


# ---- losses ----


def transformers_loss(model, name, lines):
    """Nats, tokens predicted and bytes they own, one context for each story, cut at the model's context, in float64."""
    tokenizer = Tokenizer.from_file(str(SHARED / "models" / name / "tokenizer.json"))
    nats, n_tokens, n_bytes, each = 0.0, 0, 0, []
    for line in lines:
        text = json.loads(line)["text"]
        encoding = tokenizer.encode(text)
        ids = encoding.ids[: model.config.max_position_embeddings]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
        nats, n_tokens = nats + losses.sum().item(), n_tokens + len(ids) - 1
        n_bytes += len(text[: encoding.offsets[len(ids) - 1][1]].encode())
        each.extend(losses.tolist())
    return nats, n_tokens, n_bytes, np.array(each)


def losses(score, sonde, folder, name, model):
    path = folder / "twenty.jsonl"
    path.write_text("\n".join(stories(20)) + "\n")
    directory = SHARED / "models" / name
    got = sonde.json("loss", directory, "-f", path, "--each", "--per-token")
    nats, n_tokens, n_bytes, each = transformers_loss(model, name, stories(20))
    want = LOSSES[name]
    print(f"{name}: ce {got['ce_nats']:.7f} over {got['tokens']} tokens, transformers in float64 {nats / n_tokens:.7f}")
    score.check(f"{name} loss", f"{got['ce_nats']:.5f}" == f"{want[0]:.5f}" and got["tokens"] == want[1], str(want))
    score.check(f"{name} loss, float64", abs(got["ce_nats"] - nats / n_tokens) <= 1e-6 and got["tokens"] == n_tokens)
    score.check(f"{name} ppl", abs(got["ppl"] - np.exp(nats / n_tokens)) <= 1e-5 * got["ppl"])
    bits = nats / np.log(2) / n_bytes
    score.check(f"{name} bits per byte", abs(got["bits_per_byte"] - bits) <= 1e-5, f"{got['bits_per_byte']} for {bits}")
    surprisals = np.array([t["nats"] for t in got["per_token"]])
    score.check(f"{name} per token", surprisals.shape == each.shape and np.abs(surprisals - each).max() <= 1e-4)
    packed = sonde.json("loss", directory, "-f", path)
    check_packed(score, name, model, packed)


def check_packed(score, name, model, packed):
    """Documents with their special tokens one after another, cut into contexts."""
    stream = [i for line in stories(20) for i in encode(name, json.loads(line)["text"])]
    size, nats, n = model.config.max_position_embeddings, 0.0, 0
    for start in range(0, len(stream), size):
        ids = torch.tensor([stream[start:start + size]])
        if ids.shape[1] > 1:
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            nats += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
            n += ids.shape[1] - 1
    score.check(f"{name} packed", packed["tokens"] == n and abs(packed["ce_nats"] - nats / n) <= 1e-6,
                f"{packed['ce_nats']} over {packed['tokens']}, want {nats / n} over {n}")


def long_loss(score, sonde, folder):
    """A number of reference/anchors: every third of the 1000 stories, bits per byte of stories15M."""
    path = folder / "third.jsonl"
    path.write_text("\n".join(stories(334, 3)) + "\n")
    got = sonde.json("loss", SHARED / "models/stories15M", "-f", path, "--each")
    print(f"stories15M, every third story: {got['bits_per_byte']:.5f} bits per byte")
    score.check("bits per byte of every third story", round(got["bits_per_byte"], 4) == 0.6155, str(got["bits_per_byte"]))


# ---- activations of a text ----


def activations(score, sonde, folder, name, model):
    directory, ids = SHARED / "models" / name, encode(name, TEXT)
    want = common.activations(model, [ids])
    got = sonde.act(folder / "a.safetensors", directory, TEXT, "--hook", "*", "--logits")
    score.check(f"{name} tokens", got["tokens"].tolist() == [ids])
    worst = 0.0
    for point, x in got.items():
        if point != "tokens":
            error = common.relative_error(x.astype(np.float64), want["unembed.hook_out" if point == "logits" else point])
            score.check(f"{name} {point}", error <= 2e-5, f"{error:.3g}")
            worst = max(worst, error)
    print(f"{name}: {len(got) - 1} tensors of a text, largest error {worst:.2e}")
    point = "blocks.3.hook_resid_post"
    if " cat" in [bytes_of(name, i) for i in ids]:
        alone = sonde.act(folder / "f.safetensors", directory, TEXT, "--hook", point)  # attention stays fused, as with --token
        cats = sonde.act(folder / "c.safetensors", directory, TEXT, "--hook", point, "--token", " cat")
        places = [t for t, i in enumerate(ids) if bytes_of(name, i) == " cat"]
        score.check(f"{name} --token", np.array_equal(cats[point], alone[point][:, places]), f"{cats[point].shape} {places}")
    sonde.run("act", directory, TEXT, "--hook", point, "--token", " zebra", "-q", status=1)
    top = sonde.json("act", directory, TEXT, "--hook", point, "--top", "5")["top"][0]["next"]
    p = torch.tensor(want["unembed.hook_out"][0, -1]).softmax(-1).topk(5)
    score.check(f"{name} --top", [t["id"] for t in top] == p.indices.tolist()
                and np.abs(np.array([t["probability"] for t in top]) - p.values.numpy()).max() <= 1e-5, str(top))


def bytes_of(name, token):
    tokenizer = Tokenizer.from_file(str(SHARED / "models" / name / "tokenizer.json"))
    return tokenizer.id_to_token(token).replace("\u2581", " ")


# ---- statistics and similarities, from the file that `act` wrote ----


def close(a, b, limit=1e-6):
    if a is None or b is None or np.isnan(b):
        return a is None and (b is None or np.isnan(b))
    return abs(a - b) <= limit * max(1.0, abs(b))


def moments(x):
    x = np.asarray(x, np.float64).reshape(-1)
    return dict(mean=x.mean(), std=x.std(), min=x.min(), max=x.max(), l2=np.sqrt((x * x).sum()), rms=np.sqrt((x * x).mean()),
                mean_abs=np.abs(x).mean(), sparsity=(x == 0).mean(), skewness=scipy.stats.skew(x),
                kurtosis=scipy.stats.kurtosis(x))


def statistics(score, sonde, folder, name):
    directory = SHARED / "models" / name
    for point in ("blocks.1.mlp.hook_post", "blocks.2.attn.hook_z"):
        x = sonde.act(folder / "s.safetensors", directory, TEXT, "--hook", point)[point]
        x = x.reshape(x.shape[1], -1)
        hook = sonde.json("stats", directory, TEXT, "--hook", point)["hooks"][0]
        groups = [("all", hook["all"], x)]
        groups += [(f"token {t}", row, x[t]) for t, row in enumerate(hook["tokens"])]
        groups += [(f"neuron {i}", row, x[:, i]) for i, row in enumerate(hook["neurons"])]
        score.check(f"{name} stats {point}", len(hook["tokens"]) == x.shape[0] and len(hook["neurons"]) == x.shape[1])
        for label, row, values in groups:
            for key, value in moments(values).items():
                score.check(f"{name} {point} {label} {key}", close(row[key], value), f"{row[key]} for {value}")
        order = np.argsort(-np.abs(x).astype(np.float64).mean(0), kind="stable")[:5].tolist()
        score.check(f"{name} {point} most active", [r["neuron"] for r in hook["most_active"]][:5] == order)


def similarities(score, sonde, folder, name):
    directory, point = SHARED / "models" / name, "blocks.2.hook_resid_post"
    got = sonde.act(folder / "s.safetensors", directory, TEXT, "--hook", "blocks.*.hook_resid_post")
    x = got[point][0].astype(np.float64)
    matrix = sonde.json("compare", directory, TEXT, "--by", "token", "--hook", point)["matrices"][0]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    want = dict(cosine=unit @ unit.T, pearson=np.corrcoef(x), l2=np.linalg.norm(x[:, None] - x[None], axis=2),
                relative=np.linalg.norm(x[:, None] - x[None], axis=2) / np.linalg.norm(x, axis=1)[:, None])
    for key, value in want.items():
        m = np.array(matrix[key], np.float64)
        score.check(f"{name} compare {key}", m.shape == value.shape and np.abs(m - value).max() <= 1e-6 * np.abs(value).max())
    steps = sonde.json("compare", directory, TEXT, "--by", "layer", "--hook", "blocks.*.hook_resid_post")["steps"]
    for i, step in enumerate(steps):
        a, b = (got[f"blocks.{k}.hook_resid_post"][0].astype(np.float64) for k in (i, i + 1))
        value = ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).mean()
        score.check(f"{name} compare layers {i}", close(step["cosine"], value), f"{step['cosine']} for {value}")
        value = (np.linalg.norm(b - a, axis=1) / np.linalg.norm(a, axis=1)).mean()
        score.check(f"{name} relative change {i}", close(step["relative"], value), f"{step['relative']} for {value}")


# ---- generation ----


def greedy(score, sonde, name, model, n=100):
    for prompt in ("Once upon a time", "Lily and Ben", "The little dog"):
        ids = encode(name, prompt)
        want = model.generate(torch.tensor([ids]), max_new_tokens=n, do_sample=False, pad_token_id=0)[0, len(ids):].tolist()
        got = sonde.json("generate", SHARED / "models" / name, prompt, "--greedy", "--max-tokens", n)["samples"][0]
        k = min(len(want), len(got["ids"]))
        score.check(f"{name} greedy '{prompt}'", got["ids"][:k] == want[:k] and k >= n - 1 or got["stopped"],
                    f"\n{got['ids']}\n{want}")


def sampled(score, sonde, name, model, n=3000):
    """The first sampled token against the distribution that transformers' own filters leave."""
    ids = encode(name, "Once upon a time there was a little")
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[:, -1]
    for temperature, top_k, top_p in ((0.7, 0, 1.0), (1.3, 8, 1.0), (1.0, 0, 0.6), (1.5, 12, 0.8)):
        scores = transformers.TemperatureLogitsWarper(temperature)(None, logits)
        if top_k:
            scores = transformers.TopKLogitsWarper(top_k)(None, scores)
        if top_p < 1:
            scores = transformers.TopPLogitsWarper(top_p)(None, scores)
        p = scores.softmax(-1)[0].numpy()
        got = sonde.json("generate", SHARED / "models" / name, "--ids", ",".join(map(str, ids)), "-n", n, "--max-tokens", 1,
                         "--temperature", temperature, "--top-k", top_k, "--top-p", top_p, "--seed", 5)
        counts = np.bincount([s["ids"][0] for s in got["samples"]], minlength=len(p))
        label = f"{name} sampling t={temperature} k={top_k} p={top_p}"
        score.check(label, counts[p == 0].sum() == 0, "tokens outside the set")
        rare = p * n < 8
        observed, expected = np.append(counts[~rare], counts[rare].sum()), np.append(p[~rare], p[rare].sum()) * n
        observed, expected = observed[expected > 0], expected[expected > 0]
        chance = scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue if len(expected) > 1 else 1
        score.check(label, chance > 1e-4, f"probability {chance:.2g}")


def one_model(score, sonde, folder, name):
    model = common.load_float64(SHARED / "models" / name)
    score.attempt(f"{name} losses", losses, score, sonde, folder, name, model)
    score.attempt(f"{name} activations", activations, score, sonde, folder, name, model)
    score.attempt(f"{name} statistics", statistics, score, sonde, folder, name)
    score.attempt(f"{name} similarities", similarities, score, sonde, folder, name)
    score.attempt(f"{name} greedy", greedy, score, sonde, name, model)
    score.attempt(f"{name} sampled", sampled, score, sonde, name, model)


def main(program):
    if not (SHARED / "models/stories260K/config.json").exists():
        print(f"skipped: no models under '{SHARED}' (SONDE_SHARED)")
        return 77
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        for name in LOSSES:
            one_model(score, sonde, pathlib.Path(temporary), name)
        score.attempt("long loss", long_loss, score, sonde, pathlib.Path(temporary))
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
