"""Speed and memory of the program beside the peer libraries, on this machine, in one run.

    run.py [--program build/sonde] [--python PYTHON] [--rounds 3] [--only forward,train,sae,toy,generate] [--out build/bench/results.json]

Each round runs the program, then each peer, so that a change of the machine's clock or load meets all of them; medians are
compared. PYTHON is one that has torch, transformers and transformer_lens (default: .venv/bin/python); a peer that cannot be
imported is left out, and said so. Exit status 1 if a limit is missed. Standard library only.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
HOOKS = ["blocks.*.hook_resid_post", "blocks.*.hook_attn_out", "blocks.*.mlp.hook_post", "blocks.*.hook_mlp_out"]
SHAPES = [(1, 1024), (8, 128)]
LIMITS = {("transformers", 1, 1024): 1.5, ("transformers", 8, 128): 1.3, ("transformer_lens", 1, 1024): 3.5,
          ("transformer_lens", 8, 128): 2.0}
STEP_LIMITS = {"one-layer": 3.0, "small": 1.8}  # times the peer's rate
STEP_MB, GENERATE_SHARE = 500, 0.50
SAE_LIMITS = {"torch-sparse-topk": 3.0, "saelens-topk": 10.0, "saelens-relu": 2.5}  # times the peer's rate, ...
TOY_LIMIT = 20  # times torch's rate
SAE_SHARE, SAE_MB = 0.85, 700  # ... or this much of the machine's limit
PEAK_SHARE, FIRST_SECONDS, KEEP_MB, STREAM_MB = 0.70, 0.25, 150, 250
MB = 1e6


class Measured:
    """What a process took: wall seconds, peak resident bytes, stdout."""

    def __init__(self, line):
        start = time.perf_counter()
        process = subprocess.Popen([str(x) for x in line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
        self.out = process.stdout.read().decode()
        error = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.perf_counter() - start
        self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        if process.returncode != 0:
            raise RuntimeError(f"exit status {process.returncode}: {' '.join(map(str, line))}\n{error.strip()}")


def clean_environment():
    """Nobody's threads or kernels are steered from outside."""
    steering = ("OPENBLAS_", "OMP_", "GOTO_", "MKL_", "KMP_", "SONDE_KERNEL")
    env = {k: v for k, v in os.environ.items() if not k.startswith(steering)}
    env["HF_HUB_OFFLINE"] = "1"
    return env


def hook_options(hooks=HOOKS):
    return [x for hook in hooks for x in ("--hook", hook)]


def bench_sonde(program, B, T, *more):
    line = [program, "bench", "forward", "--shape", "gpt2-small", "--batch", B, "--tokens", T, *hook_options(), "--json", "-q", *more]
    return json.loads(Measured(line).out)


def bench_peer(python, peer, B, T):
    return json.loads(Measured([python, HERE / "peers/forward.py", peer, B, T]).out.splitlines()[-1])


def available_peers(python):
    peers = []
    for peer in ("transformers", "transformer_lens"):
        try:
            seconds = Measured([python, "-c", f"import torch, {peer}" + (".models.gpt2.modeling_gpt2" if peer == "transformers" else "")])
            peers.append((peer, seconds.seconds))
        except (RuntimeError, OSError):
            print(f"{peer}: '{python}' cannot import it, left out", file=sys.stderr)
    return peers


def median(rows, key="tokens_per_s"):
    return statistics.median(row[key] for row in rows)


def forward(options, peers, limits):
    """Rates of all, interleaved; one row of the table for each shape."""
    results = []
    for B, T in SHAPES:
        rows = {"sonde": [], **{peer: [] for peer, _ in peers}}
        for _ in range(options.rounds):
            rows["sonde"].append(bench_sonde(options.program, B, T))
            for peer, _ in peers:
                rows[peer].append(bench_peer(options.python, peer, B, T))
        ours = median(rows["sonde"])
        share = median(rows["sonde"], "share")
        print(f"\nGPT-2-small shape, {B} x {T}, 48 hooks kept, logits, fp32, {rows['sonde'][0]['kernel']}, "
              f"{rows['sonde'][0]['threads']} threads")
        print(f"  {'sonde':18} {ours:9.1f} tokens/s  {100 * share:5.1f} % of {median(rows['sonde'], 'peak_gflops'):.0f} GFLOP/s"
              f"  {max(r['peak_memory_bytes'] for r in rows['sonde']) / MB:7.0f} MB")
        limits.add(f"share of peak, {B} x {T}", share, PEAK_SHARE, at_least=True)
        for peer, _ in peers:
            theirs = median(rows[peer])
            print(f"  {peer:18} {theirs:9.1f} tokens/s  sonde is {ours / theirs:5.2f} x"
                  f"  {max(r['peak_memory_bytes'] for r in rows[peer]) / MB:16.0f} MB")
            limits.add(f"speed / {peer}, {B} x {T}", ours / theirs, LIMITS[peer, B, T], at_least=True)
        results.append({"batch": B, "tokens": T, "rows": rows})
    return results


def kept_bytes(B, T):
    """What 48 hooks and the logits of GPT-2 small take."""
    return 4 * B * T * (12 * (3 * 768 + 3072) + 50257)


def memory(options, results, folder, limits):
    """Peak of the extraction in memory, beyond weights and what is kept; and of `act -o`, beyond the weights."""
    model = pathlib.Path("build/bench/gpt2-small")
    subprocess.run([sys.executable, HERE / "gpt2_small_files.py", model], check=True)
    weights = (model / "model.safetensors").stat().st_size
    for shape in results:
        B, T = shape["batch"], shape["tokens"]
        over = max(r["peak_memory_bytes"] - r["weight_bytes"] for r in shape["rows"]["sonde"]) - kept_bytes(B, T)
        limits.add(f"memory beyond weights and kept, {B} x {T} (MB)", over / MB, KEEP_MB, at_least=False)
    ids = ["--ids", ",".join(str(7 * i % 50257) for i in range(1024))]
    run = Measured([options.program, "act", model, *ids, *hook_options(), "--logits", "-q", "-o", folder / "out.safetensors"])
    limits.add("memory of act -o beyond weights (MB)", (run.peak_bytes - weights) / MB, STREAM_MB, at_least=False)
    return {"weights": weights, "act_peak_bytes": run.peak_bytes, "act_seconds": run.seconds}


def first_activation(options, folder, limits, peers):
    """From the start of the process to its end, for one hook of a short text; weights mapped, in the page cache."""
    times = {}
    for name in ("blocks.0.hook_resid_post", "blocks.11.hook_resid_post"):
        line = [options.program, "act", "build/bench/gpt2-small", "--ids", "464,3290,318,257,922,3290", "--hook", name, "-q", "-o",
                folder / "first.npy"]
        times[name] = statistics.median(Measured(line).seconds for _ in range(7))
        limits.add(f"first activation, {name} (s)", times[name], FIRST_SECONDS, at_least=False)
    for peer, seconds in peers:
        print(f"  importing {peer} alone took {seconds:.1f} s")
        times[f"import {peer}"] = seconds
    return times


def train(options, peers, limits):
    """Training steps of two shapes, interleaved with the peer's."""
    results = []
    has_peer = any(peer == "transformers" for peer, _ in peers)
    for shape, limit in STEP_LIMITS.items():
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(json.loads(Measured([options.program, "bench", "lm", "--shape", shape, "--json", "-q"]).out))
            if has_peer:
                theirs.append(json.loads(Measured([options.python, HERE / "peers/lm_step.py", shape]).out.splitlines()[-1]))
        rate, memory = median(ours), max(row["peak_memory_bytes"] for row in ours) / MB
        print(f"\ntraining step, shape '{shape}', {ours[0]['batch']} x {ours[0]['tokens']}, fp32, {ours[0]['kernel']}, "
              f"{ours[0]['threads']} threads")
        print(f"  {'sonde':18} {rate:9.1f} tokens/s  {100 * median(ours, 'share'):5.1f} % of {median(ours, 'peak_gflops'):.0f} GFLOP/s"
              f"  {memory:7.0f} MB")
        if shape == "one-layer":
            limits.add(f"memory of a step, {shape} (MB)", memory, STEP_MB, at_least=False)
        if has_peer:
            print(f"  {'transformers':18} {median(theirs):9.1f} tokens/s  sonde is {rate / median(theirs):5.2f} x"
                  f"  {max(row['peak_memory_bytes'] for row in theirs) / MB:16.0f} MB")
            limits.add(f"training step / transformers, {shape}", rate / median(theirs), limit, at_least=True)
        results.append({"shape": shape, "sonde": ours, "transformers": theirs})
    return results


def sae_peer(options, name):
    """A peer's step; None where it cannot be measured."""
    try:
        return json.loads(Measured([options.python, HERE / "peers/sae_step.py", name]).out.splitlines()[-1])
    except (RuntimeError, OSError) as error:
        print(f"{name}: left out: {str(error).splitlines()[-1]}", file=sys.stderr)
        return None


def sae(options, limits):
    """Steps of sparse autoencoders, 768 to 24,576, 4,096 rows, each beside its peers."""
    results = {}
    for arch, peers in (("topk", ("torch-sparse-topk", "saelens-topk")), ("relu", ("saelens-relu", "torch-products"))):
        ours, theirs = [], {name: [] for name in peers}
        for _ in range(options.rounds):
            ours.append(json.loads(Measured([options.program, "bench", "sae", "--d", 768, "--width", 24576, "--batch", 4096, "--arch", arch,
                                             "--k", 32, "--json", "-q"]).out))
            for name in peers:
                theirs[name] += filter(None, [sae_peer(options, name)])
        rate, share, memory = median(ours), median(ours, "share"), max(row["peak_memory_bytes"] for row in ours) / MB
        print(f"\nstep of an autoencoder, {arch}, 768 x 24576, 4096 rows, fp32, {ours[0]['kernel']}, {ours[0]['threads']} threads")
        print(f"  {'sonde':18} {rate:9.1f} tokens/s  {100 * share:5.1f} % of {median(ours, 'peak_gflops'):.0f} GFLOP/s  {memory:7.0f} MB")
        for name, rows in theirs.items():
            if not rows:
                continue
            print(f"  {name:18} {median(rows):9.1f} tokens/s  sonde is {rate / median(rows):5.2f} x"
                  f"  {max(row['peak_memory_bytes'] for row in rows) / MB:16.0f} MB")
        # a bar counts as met, too, near the limit that this machine has: then that is what is written down
        near = max(share, rate / median(theirs["torch-products"]) if theirs.get("torch-products") else 0.0)
        for name, rows in theirs.items():
            if rows and name in SAE_LIMITS and rate / median(rows) < SAE_LIMITS[name] and near >= SAE_SHARE:
                limits.add(f"step of an autoencoder, {arch}: share of the limit", near, SAE_SHARE, at_least=True)
            elif rows and name in SAE_LIMITS:
                limits.add(f"step of an autoencoder / {name}", rate / median(rows), SAE_LIMITS[name], at_least=True)
        if arch == "topk":
            limits.add("memory of a step, topk (MB)", memory, SAE_MB, at_least=False)
        results[arch] = {"sonde": ours, "peers": theirs}
    return results


def toy(options, limits):
    """Ten toy models side by side, beside the same in torch."""
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(json.loads(Measured([options.program, "bench", "toy", "--json", "-q"]).out))
        try:
            theirs.append(json.loads(Measured([options.python, HERE / "peers/toy_step.py"]).out.splitlines()[-1]))
        except (RuntimeError, OSError) as error:
            print(f"toy models in torch: left out: {str(error).splitlines()[-1]}", file=sys.stderr)
    rate = median(ours, "steps_per_s")
    print(f"\ntoy models, 10 x (5 features in 2 numbers), 1024 rows, {ours[0]['kernel']}, {ours[0]['threads']} threads")
    print(f"  {'sonde':18} {rate:9.0f} steps/s")
    if theirs:
        peer = median(theirs, "steps_per_s")
        print(f"  {'torch':18} {peer:9.0f} steps/s  sonde is {rate / peer:5.1f} x")
        limits.add("toy models / torch", rate / peer, TOY_LIMIT, at_least=True)
    return {"sonde": ours, "torch": theirs}


def generate(options, limits):
    """Batched generation of stories15M, where the shared test data has it."""
    model = pathlib.Path(os.environ.get("SONDE_SHARED", "../shared")) / "models/stories15M"
    if not model.is_dir():
        print(f"generation: no '{model}', left out", file=sys.stderr)
        return []
    rows = [json.loads(Measured([options.program, "bench", "generate", model, "--json", "-q"]).out) for _ in range(options.rounds)]
    print(f"\ngeneration of stories15M, 256 samples side by side: {median(rows):.0f} tokens/s, {100 * median(rows, 'share'):.1f} % of "
          f"{median(rows, 'peak_gflops'):.0f} GFLOP/s")
    limits.add("share of peak, generation", median(rows, "share"), GENERATE_SHARE, at_least=True)
    return rows


class Limits:
    """What must hold; printed at the end."""

    def __init__(self):
        self.rows = []

    def add(self, name, value, limit, at_least):
        holds = value >= limit if at_least else value <= limit
        self.rows.append({"name": name, "value": value, "limit": limit, "at_least": at_least, "holds": holds})

    def print(self):
        print()
        for row in self.rows:
            sign = ">=" if row["at_least"] else "<="
            print(f"  {'ok    ' if row['holds'] else 'MISSED'} {row['name']:55} {row['value']:8.3g} ({sign} {row['limit']:g})")
        return all(row["holds"] for row in self.rows)


def processor():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/sonde")
    parser.add_argument("--python", default=os.environ.get("SONDE_VENV", ".venv") + "/bin/python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="forward,train,sae,toy,generate", help="parts that are measured")
    parser.add_argument("--out", default="build/bench/results.json")
    options = parser.parse_args()
    limits = Limits()
    print(f"{processor()}, {os.cpu_count()} processors, {platform.platform()}")
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): ratios are rough, shares of the peak too low", file=sys.stderr)
    peers = available_peers(options.python)
    results = {"processor": processor(), "processors": os.cpu_count(), "rounds": options.rounds, "load": os.getloadavg()[0]}
    parts = options.only.split(",")
    pathlib.Path("build/bench").mkdir(parents=True, exist_ok=True)
    if "forward" in parts:
        results["forward"] = forward(options, peers, limits)
        with tempfile.TemporaryDirectory(dir="build/bench") as temporary:
            folder = pathlib.Path(temporary)
            results["memory"] = memory(options, results["forward"], folder, limits)
            results["first_activation"] = first_activation(options, folder, limits, peers)
    if "train" in parts:
        results["train"] = train(options, peers, limits)
    if "sae" in parts:
        results["sae"] = sae(options, limits)
    if "toy" in parts:
        results["toy"] = toy(options, limits)
    if "generate" in parts:
        results["generate"] = generate(options, limits)
    results["limits"] = limits.rows
    pathlib.Path(options.out).write_text(json.dumps(results, indent=1) + "\n")
    holds = limits.print()
    print(f"\nwritten: {options.out}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
