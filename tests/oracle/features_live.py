#!/usr/bin/env python3
"""`sonde features` on the model that comes with sonde, against numpy over sae-lens's features of transformers' activations in float64: every
number of the database.

    features_live.py [SONDE_PROGRAM]
"""
import gzip
import json
import logging
import os
import pathlib
import sqlite3
import sys
import tempfile
import warnings

import numpy as np
import torch
from tokenizers import Tokenizer

warnings.filterwarnings("ignore")
from sae_lens import SAE

import common
import sae_train_live
from sonde_cli import Score, Sonde

logging.disable(logging.WARNING)
MODEL, LAYER = sae_train_live.MODEL, 3
LIMIT = 1e-5


def activations(model, texts):
    """The residual stream behind a layer, and its MLP's neurons, of all texts but their first positions."""
    seen, neurons = [], []
    layer = model.model.layers[LAYER]
    layer.register_forward_hook(lambda m, i, o: seen.append((o[0] if isinstance(o, tuple) else o)[0] if (o[0] if isinstance(o, tuple) else o).dim() == 3 else o))
    layer.mlp.down_proj.register_forward_hook(lambda m, i, o: neurons.append(i[0][0]))
    with torch.no_grad():
        for ids in texts:
            model(ids[None])
    return [x.numpy() for x in seen], [x.numpy() for x in neurons]


def close(got, want, limit=LIMIT):
    return abs(got - want) <= limit * max(1.0, abs(want))


def check_features(score, db, f, rows):
    """Counts and sums of each feature, its largest examples and its histogram. f: (text) of (T-1,S)."""
    everything = np.concatenate(f)
    for s, n_fired, n_documents, density, most, mean in db.execute("SELECT id, n_fired, n_documents, density, max, mean FROM feature"):
        column = everything[:, s]
        score.check(f"{s} fired", n_fired == (column != 0).sum())
        score.check(f"{s} texts", n_documents == sum((x[:, s] != 0).any() for x in f))
        score.check(f"{s} density", close(density, (column != 0).mean()))
        score.check(f"{s} max", close(most, column.max()))
        score.check(f"{s} mean", close(mean, column[column != 0].mean() if n_fired else 0.0))
        best = sorted((x[:, s].max() for x in f if x[:, s].max() > 0), reverse=True)[:20]
        got = [v for v, in db.execute("SELECT value FROM example WHERE feature = ? AND band = 0 ORDER BY rank", (s,))]
        score.check(f"{s} largest", len(got) == len(best) and all(close(a, b) for a, b in zip(got, best)), f"{got[:3]} {best[:3]}")
        counts = np.frombuffer(db.execute("SELECT counts FROM histogram WHERE feature = ?", (s,)).fetchone()[0], np.int64)
        if n_fired:  # what lies on the edge of a bin may fall on either side
            want = np.histogram(column[column != 0], len(counts), (0, column.max()))[0]
            score.check(f"{s} histogram", counts.sum() == n_fired and np.abs(np.cumsum(counts) - np.cumsum(want)).max() <= 1)
    score.check("l0", close(float(db.execute("SELECT value FROM meta WHERE key = 'l0'").fetchone()[0]), (everything != 0).sum(1).mean()))


def check_windows(score, db, f):
    """Activations around each example."""
    for s, text, first, acts in db.execute("SELECT feature, document, first, acts FROM example"):
        acts = np.frombuffer(acts, np.float32)
        column = np.concatenate([[0.0], f[text][:, s]])[first:first + len(acts)]
        if not score.check(f"{s} window", np.abs(acts - column).max() <= LIMIT * max(1.0, np.abs(column).max())):
            return


def check_tokens(score, db, f, texts, tokenizer):
    """Tokens, those before them, and three classes."""
    ids = np.concatenate([t[1:].numpy() for t in texts])
    before = np.concatenate([t[:-1].numpy() for t in texts])
    everything = np.concatenate(f)
    text_of = {i: tokenizer.decode([int(i)], skip_special_tokens=False) for i in set(ids)}
    classes = {"digit": np.array([any(c.isdigit() for c in text_of[i]) for i in ids]), "newline": np.array(["\n" in text_of[i] for i in ids]),
               "capitalised": np.array([(w := text_of[i].strip()) != "" and w[0].isupper() and not w.isupper() for i in ids])}
    for s in range(everything.shape[1]):
        on = everything[:, s] != 0
        for table, of in (("top_token", ids), ("before_token", before)):
            kinds, counts = np.unique(of[on], return_counts=True)
            want = sorted(zip(-counts, kinds))[:10]
            got = [(-n, t) for t, n in db.execute(f"SELECT token, n FROM {table} WHERE feature = ? ORDER BY rank", (s,))]
            if len(kinds) <= 64:
                score.check(f"{s} {table}", got == [(int(a), int(b)) for a, b in want], f"{got[:4]} {want[:4]}")
        for name, mask in classes.items():
            got = db.execute("SELECT n, llr FROM feature_class WHERE feature = ? AND class = ?", (s, name)).fetchone()
            n = int((mask & on).sum())
            ok = got is None if n == 0 else got is not None and got[0] == n and close(got[1], np.log(n / on.sum() / mask.mean()))
            score.check(f"{s} {name}", ok, f"{got}, want {n}")


def check_weights(score, db, f, neurons, model, sae):
    """Logits, similar features, neurons."""
    w = sae.W_dec.detach().numpy()
    logits = (w * model.model.norm.weight.detach().numpy()) @ model.lm_head.weight.detach().numpy().T
    logits -= logits.mean(1, keepdims=True)
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(len(w))
    everything, a = np.abs(np.concatenate(f)), np.concatenate([x[1:] for x in neurons])
    a = a - a.mean(0)
    deviations = np.sqrt((a**2).sum(0))
    for s in range(len(w)):
        got = {r: (t, v) for r, t, v in db.execute("SELECT rank, token, value FROM logit WHERE feature = ?", (s,))}
        want = np.sort(logits[s])
        score.check(f"{s} logits", all(close(got[r][1], want[-r] if r > 0 else want[-r - 1], 3e-5) for r in got) and len(got) == 20)
        score.check(f"{s} logits' tokens", all(close(got[r][1], logits[s][got[r][0]], 3e-5) for r in got))
        got = [c for c, in db.execute("SELECT cosine FROM neighbour WHERE feature = ? ORDER BY rank", (s,))]
        score.check(f"{s} neighbours", np.abs(np.array(got) - np.sort(cosines[s])[::-1][:8]).max() <= LIMIT)
        column = everything[:, s] - everything[:, s].mean()
        if (everything[:, s] != 0).any():
            r = column @ a / (np.sqrt((column**2).sum()) * deviations)
            got = list(db.execute("SELECT neuron, correlation FROM neuron WHERE feature = ? ORDER BY rank", (s,)))
            score.check(f"{s} neurons", all(close(c, r[j], 1e-4) for j, c in got) and close(abs(got[0][1]), np.abs(r).max(), 1e-4), f"{got} {np.abs(r).max()}")


def check_export(score, folder, f, sae):
    """The same features as Neuronpedia's lines: json and gzip are Python's, numbers those of sae-lens."""
    def lines(kind):
        return [json.loads(x) for file in sorted((folder / kind).glob("*.jsonl.gz")) for x in gzip.open(file, "rt")]
    everything, w = np.concatenate(f), sae.W_dec.detach().numpy()
    features, examples = lines("features"), lines("activations")
    source = json.loads((folder / "source.jsonl").read_text())
    score.check("source", source["id"] == f"{LAYER}-res-sonde" and source["hookName"] == f"blocks.{LAYER}.hook_resid_post", str(source))
    score.check("indices", [x["index"] for x in features] == [str(s) for s in range(len(w))])
    score.check("ids", len({x["id"] for x in examples}) == len(examples) and {x["layer"] for x in examples} == {source["id"]})
    for s, x in enumerate(features):
        on = everything[:, s] != 0
        most = everything[:, s].max()
        score.check(f"{s} exported", close(x["frac_nonzero"], on.mean(), 1e-6) and close(x["maxActApprox"], most))
        score.check(f"{s} vector", x["hasVector"] and np.abs(np.array(x["vector"]) - w[s]).max() <= 1e-6)
        score.check(f"{s} bars", sum(x["freq_hist_data_bar_heights"]) == on.sum() and len(x["pos_str"]) == len(x["pos_values"]) == 10)
    for x in examples:
        s = int(x["index"])
        most, at = everything[:, s].max(), x["values"][x["qualifyingTokenIndex"]]
        ok = len(x["tokens"]) == len(x["values"]) and x["maxValue"] == max(x["values"]) == x["values"][x["maxValueTokenIndex"]]
        score.check(f"{x['id']} window", ok and x["minValue"] == min(x["values"]))
        if x["binMin"] == -1:
            score.check(f"{x['id']} top", x["binMax"] == x["binContains"] == -1)
            continue
        inside = (everything[:, s] > x["binMin"] + 1e-5 * most) & (everything[:, s] <= x["binMax"] + 1e-5 * most)
        score.check(f"{x['id']} band", x["binMin"] - 1e-5 * most <= at <= x["binMax"] + 1e-5 * most)
        # bins of the histogram may cut a firing at the edge of a band the other way
        score.check(f"{x['id']} share", abs(x["binContains"] * (everything[:, s] != 0).sum() - inside.sum()) <= 1.5)


def main(program):
    score, sonde = Score(), Sonde(program)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        texts_path, directory, path = folder / "texts.jsonl", folder / "sae", folder / "features.db"
        sae_train_live.write_texts(texts_path)
        sonde.run("sae", "train", MODEL, "--data", f"{texts_path}:4", "--hook", f"blocks.{LAYER}.hook_resid_post", "--arch", "topk", "--width", "64",
                  "--k", "6", "--batch", "128", "--steps", "30", "--lr", "3e-3", "--warmup", "5", "-o", directory, "-q")
        sonde.run("features", MODEL, directory, "-f", texts_path, "-o", path, "--bos", "always", "-q")
        model, sae = common.load_float64(MODEL), SAE.load_from_disk(directory, dtype="float64")
        tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
        bos = json.loads((MODEL / "config.json").read_text())["bos_token_id"]
        texts = [torch.tensor([bos] + tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids) for line in texts_path.read_text().splitlines()]
        rows, neurons = activations(model, texts)
        with torch.no_grad():
            f = [sae.encode(torch.from_numpy(x[1:])).numpy() for x in rows]
        db = sqlite3.connect(path)
        check_features(score, db, f, rows)
        check_windows(score, db, f)
        check_tokens(score, db, f, texts, tokenizer)
        check_weights(score, db, f, neurons, model, sae)
        sonde.run("features", "export", path, "--sae", directory, "-o", folder / "neuronpedia")
        check_export(score, folder / "neuronpedia", f, sae)
        print(f"{len(texts)} texts, {sum(map(len, f))} positions, {f[0].shape[1]} features")
    return score.done()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")))
