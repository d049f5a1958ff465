"""Models that sonde saves, loaded by transformers: the same weights, the same logits, the same token ids.

    save_live.py [SONDE_PROGRAM [N_MODELS [SEED]]]

Every golden model, random ones of all kinds, and the well-known shapes with random numbers are saved by sonde_model_save (the
program tools/save_model of the build), as stored and in other types. transformers must load each without a missing or unexpected
name, with the config's own type, and give sonde's logits; where there is a model that it was saved from, exactly that model's.
So must the models that come with sonde; the loss of a text is compared, too.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tokenizers
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import common
import model_golden
import model_live
from sonde_cli import Score, Sonde

LIMIT = 2e-5
TORCH = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SHAPES = {"one-layer": "gpt2", "small": "gpt2", "stories": "llama"}
TEXTS = ["Once upon a time, there was a little girl named Lily.", " leading space", "two\n\nlines\tand tabs", "", "größer 猫 é",
         "<s> and <|endoftext|> in the text", "def f(x):\n    return x ** 2  # 12345"]


class Saver:
    """tools/save_model of the build that the program comes from."""

    def __init__(self, program):
        self.tool = str(pathlib.Path(program).resolve().parent / "tools/save_model")

    def __call__(self, what, out, dtype="stored", *tokenizer):
        done = subprocess.run([self.tool, str(what), str(out), dtype, *map(str, tokenizer)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def loads_whole(score, name, directory, dtype):
    """As people load it: every name of the file has its place, and the type is the config's."""
    model, info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    wrong = {k: v for k, v in info.items() if v}
    score.check(f"{name} names", not wrong, str(wrong))
    score.check(f"{name} dtype", dtype is None or model.dtype == dtype, f"{model.dtype} for {dtype}")
    score.check(f"{name} parameters", all(p.dtype == model.dtype for p in model.parameters()))


def compare(score, sonde, name, directory, ids, original=None, dtype=None):
    """transformers on the saved folder against sonde on it; and against transformers on what it was saved from."""
    loads_whole(score, name, directory, dtype)
    want = logits_of(common.load_float64(directory), ids)
    out = directory.parent / "logits.safetensors"
    last = AutoConfig.from_pretrained(directory).num_hidden_layers - 1
    got = sonde.act(out, directory, "--ids", ",".join(map(str, ids)), "--hook", f"resid_post{last}", "--logits")["logits"][0]
    error = common.relative_error(got.astype(np.float64), want)
    score.check(f"{name} logits", error <= LIMIT, f"error {error:.3g}")
    if original is not None:
        before = logits_of(common.load_float64(original), ids)
        score.check(f"{name} original", np.array_equal(before, want), f"{np.abs(before - want).max():.3g}")
    return error


def ids_for(directory, seed, n=12):
    config = AutoConfig.from_pretrained(directory)
    n = min(n, config.max_position_embeddings)
    return [int(v) for v in np.random.default_rng(seed).integers(0, config.vocab_size, n)]


def golden_models(score, sonde, save, folder):
    worst = 0.0
    for source in sorted(p for p in model_golden.ROOT.iterdir() if p.is_dir()):
        out = folder / "golden"
        save(source, out)
        worst = max(worst, compare(score, sonde, f"golden {source.name}", out, ids_for(source, 1), source) or 0.0)
        save(source, out, "f32")
        compare(score, sonde, f"golden {source.name} as f32", out, ids_for(source, 2), source, torch.float32)
    return worst


def random_models(score, sonde, save, folder, n_models, seed):
    worst = 0.0
    for i in range(n_models):
        rng = np.random.default_rng((seed, i, 77))
        spec = model_live.random_spec(rng, i)
        source, out = folder / f"source{i}", folder / "saved"
        model_golden.save(spec, 1000 * seed + i, source)
        dtype = model_live.pick(rng, ["stored", "f32", "f16", "bf16"])
        save(source, out, dtype)
        is_same = dtype == "stored" or TORCH[dtype] == torch.float32  # a wider type holds the same numbers
        worst = max(worst, compare(score, sonde, f"{spec['name']} as {dtype}", out, ids_for(source, i), source if is_same else None,
                                   TORCH.get(dtype)) or 0.0)
    return worst


def shapes(score, sonde, save, folder):
    worst = 0.0
    for shape, kind in SHAPES.items():
        for dtype in TORCH:
            out = folder / f"{shape}-{dtype}"
            save(f"shape:{shape}", out, dtype)
            worst = max(worst, compare(score, sonde, f"{shape} {dtype}", out, ids_for(out, 3), None, TORCH[dtype]) or 0.0)
            score.check(f"{shape} kind", AutoConfig.from_pretrained(out).model_type == kind)
        # A config that sonde wrote makes the same model again.
        save(f"config:{out}/config.json", folder / "again", "bf16")
        score.check(f"{shape} again", (folder / "again/model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes())
    return worst


def tokenizer_files():
    files = sorted(pathlib.Path("tests/golden/tokenizers").glob("*.json"))
    shared = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared"))
    return files + sorted(shared.glob("tokenizers/*/tokenizer.json")) + sorted(shared.glob("models/*/tokenizer.json"))


def token_ids(score, save, folder):
    for path in tokenizer_files():
        want = tokenizers.Tokenizer.from_file(str(path))
        for shape in ("one-layer", "stories"):  # AutoTokenizer also looks at the model's kind
            out = folder / f"tokenizer-{shape}"
            save(f"shape:{shape}", out, "bf16", path)
            got = AutoTokenizer.from_pretrained(out)
            for text in TEXTS:
                ids = want.encode(text).ids
                score.check(f"{path} {shape} {text!r}", got(text)["input_ids"] == ids, f"{got(text)['input_ids']} for {ids}")


def special_tokens(score, save, folder):
    """bos and eos by their text, where config.json has ids for them."""
    shared = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared")) / "models/stories260K"
    if not shared.is_dir():
        return
    out = folder / "specials"
    save(shared, out, "stored", shared)
    got, config = AutoTokenizer.from_pretrained(out), AutoConfig.from_pretrained(out)
    for name in ("bos", "eos"):
        wanted = getattr(config, f"{name}_token_id")
        score.check(f"{name}_token", getattr(got, f"{name}_token_id") == wanted, f"{getattr(got, f'{name}_token_id')} for {wanted}")


def shipped(score, sonde):
    """The models that come with sonde, as people load them: names, logits, token ids, and the loss of a text."""
    worst, text = 0.0, TEXTS[0] + " Once upon a time there was a little girl named Lily. She had a big red ball."
    for directory in sorted(p.parent for p in pathlib.Path("models").glob("*/config.json")):
        tokenizer, model = AutoTokenizer.from_pretrained(directory), common.load_float64(directory)
        loads_whole(score, directory, directory, torch.bfloat16)
        ids = tokenizer(text)["input_ids"]
        score.check(f"{directory} begins a text with its separator", ids[0] == tokenizer.bos_token_id, str(ids[:3]))
        want = logits_of(model, ids)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "text.txt"
            path.write_text(text)
            got = sonde.act(pathlib.Path(folder) / "out.safetensors", directory, "--ids", ",".join(map(str, ids)), "--logits",
                            "--hook", "resid_post0")["logits"][0]
            loss = sonde.json("loss", directory, "-f", path, "--each")
        error = common.relative_error(got.astype(np.float64), want)
        score.check(f"{directory} logits", error <= LIMIT, f"error {error:.3g}")
        nats = torch.nn.functional.cross_entropy(torch.tensor(want[:-1]), torch.tensor(ids[1:]), reduction="sum").item()
        bits = nats / np.log(2) / len(text.encode())
        score.check(f"{directory} bits per byte", abs(loss["bits_per_byte"] / bits - 1) < 1e-5, f"{loss['bits_per_byte']} for {bits}")
        worst = max(worst, error)
    return worst


def main(program, n_models=24, seed=0):
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    score, sonde, save, worst = Score(), Sonde(program), Saver(program), []
    if not pathlib.Path(save.tool).exists():
        print(f"skip: no {save.tool} (scripts/build release tool_save_model)")
        return 77
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        worst.append(score.attempt("golden models", golden_models, score, sonde, save, folder))
        worst.append(score.attempt("random models", random_models, score, sonde, save, folder, n_models, seed))
        worst.append(score.attempt("shapes", shapes, score, sonde, save, folder))
        worst.append(score.attempt("shipped models", shipped, score, sonde))
        score.attempt("token ids", token_ids, score, save, folder)
        score.attempt("special tokens", special_tokens, score, save, folder)
    print("largest error of logits: " + ", ".join(f"{w:.2e}" for w in worst if w is not None) + " (golden, random, shapes, shipped)")
    return score.done()


if __name__ == "__main__":
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SONDE_PROGRAM", "build/sonde")
    sys.exit(main(program, *map(int, sys.argv[2:])))
