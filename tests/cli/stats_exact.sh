# Every number of --json, computed again from the activations that `act` writes: tokens, neurons, heads, padding, masks.
cat >check.py <<'END'
import array, json, math, subprocess

IDS = ["1,403,407,261,378,22,99", "1,300,41"]

def sonde(*arguments):
    return subprocess.run(["sonde", *arguments, "-q"], check=True, stdout=subprocess.PIPE).stdout

def statistics(x):
    n, mean = len(x), math.fsum(x) / len(x)
    m2, m4 = (math.fsum((v - mean) ** k for v in x) / n for k in (2, 4))
    return {"mean": mean, "std": math.sqrt(m2), "min": min(x), "max": max(x), "l2": math.sqrt(math.fsum(v * v for v in x)),
            "sparsity": sum(v == 0 for v in x) / n, "below": sum(abs(v) < 0.5 for v in x) / n,
            "kurtosis": m4 / m2**2 - 3 if m2 else None, "n": n}

def check(got, x, what):
    x = [v for v in x if v is not None]
    for name, want in statistics(x).items():
        if want is None:
            assert got[name] is None, (what, name, got[name])
        else:
            assert abs(got[name] - want) <= 1e-12 * (1 + abs(want)), (what, name, got[name], want)

def rows_of(hook, first):
    """Rows of the tokens that count, each a list of neurons, or of heads with their keys."""
    tensors = json.load(open("act.json"))["tensors"]
    t = tensors[hook]
    data, shape = [x if x is None else array.array("f", [x])[0] for x in t["data"]], t["shape"] # float32 as written
    for b, length in enumerate(tensors["lengths"]["data"]):
        for q in range(first, length):
            if hook.endswith(("scores", "pattern")):
                H, T = shape[1], shape[3]
                yield [data[((b * H + h) * T + q) * T :][:length] for h in range(H)]
            else:
                width = len(data) // shape[0] // shape[1]
                yield [[v] for v in data[(b * shape[1] + q) * width :][:width]]

for hook in ("blocks.2.hook_resid_post", "blocks.1.attn.hook_z", "blocks.3.attn.hook_attn_scores", "blocks.3.attn.hook_pattern",
             "blocks.0.ln1.hook_scale", "blocks.4.mlp.hook_post"):
    both = ["--ids", IDS[0], "--ids", IDS[1], "--hook", hook]
    sonde("act", "tiny", *both, "-o", "act.json")
    for first, more in (0, []), (1, ["--exclude-bos"]):
        rows = list(rows_of(hook, first))
        result = json.loads(sonde("stats", "tiny", *both, "--by", "token", "--threshold", "0.5", "--json", *more))
        by_token = result["hooks"][0]
        assert result["n_tokens"] == len(rows) == len(by_token["tokens"]) and result["bos"] == ("excluded" if first else "included")
        check(by_token["all"], [v for row in rows for part in row for v in part], "all")
        for token, row in zip(by_token["tokens"], rows):
            flat = [v for part in row for v in part]
            check(token, flat, "token")
            size = [-1 if v is None else abs(v) for v in flat]
            order = sorted(range(len(flat)), key=lambda i: (-size[i], i))[: min(10, sum(v is not None for v in flat))]
            assert [a["neuron"] for a in token["most_active"]] == order, (hook, token["most_active"], order)
        by_neuron = json.loads(sonde("stats", "tiny", *both, "--threshold", "0.5", "--json", *more))["hooks"][0]
        assert "tokens" not in by_neuron and by_neuron["n_neurons"] == len(rows[0])
        for i, neuron in enumerate(by_neuron["neurons"]):
            check(neuron, [v for row in rows for v in row[i]], ("neuron", i))
        size = [n["mean_abs"] for n in by_neuron["neurons"]]
        order = sorted(range(len(size)), key=lambda i: (size[i], i))
        assert [a["neuron"] for a in by_neuron["least_active"]] == order[:10]
    print(hook, len(rows))
END
python3 check.py
