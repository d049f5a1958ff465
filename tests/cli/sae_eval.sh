# tolerance: 2e-3
# Metrics of an autoencoder with random weights; the same for any number of threads; what is left out; and what is wrong.
sonde sae eval models/stories sae -f stories.jsonl --limit 4 | head -8
show() {
    python3 -c 'import json, sys
r = json.load(sys.stdin)
m = r["metrics"]
print(r["texts"], r["positions"], r["predicted"], len(m), m["l0"]["value"], round(m["mse"]["value"], 2), sum(b["features"] for b in r["density"]["histogram"]) + r["density"]["dead"])'
}
sonde sae eval models/stories sae -f stories.jsonl --limit 4 --no-loss --json -q | show
sonde sae eval models/stories sae -f stories.jsonl --limit 4 --no-loss --include-special --json -q | show
for threads in 1 3; do sonde sae eval models/stories sae -f stories.jsonl --limit 4 --threads $threads --json -q >$threads.json; done
cmp 1.json 3.json && echo same
# a model without a hook of that width, a hook that is not there, no text to measure, no folder, other architectures
sonde sae eval tiny sae "the cat"; echo "status $?" >&2
sonde sae eval models/stories sae "the cat" --hook blocks.9.hook_resid_post; echo "status $?" >&2
sonde sae eval models/stories sae "the cat" --hook 'blocks.*.hook_resid_post'; echo "status $?" >&2
sonde sae eval models/stories sae "the cat" --hook attn3; echo "status $?" >&2
sonde sae eval models/stories nothing "the cat"; echo "status $?" >&2
sonde sae eval models/stories sae --ids 0; echo "status $?" >&2
mkdir other cut
cp sae/* other
sed -i 's/"standard"/"temporal"/' other/cfg.json
sonde sae eval models/stories other "the cat"; echo "status $?" >&2
cp sae/cfg.json cut
head -c 5000 sae/sae_weights.safetensors >cut/sae_weights.safetensors
sonde sae eval models/stories cut "the cat"; echo "status $?" >&2
# several from the same passes: each as if it were alone; and those that do not belong together
mkdir one && sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --k 8 --width 2x --batch 64 --steps 5 -o one/a --also k=4,name=two -q >/dev/null
sonde sae eval models/stories one/a/first -f stories.jsonl --limit 4 --also one/a/two --json -q >both.json
for name in first two; do sonde sae eval models/stories one/a/$name -f stories.jsonl --limit 4 --json -q >$name.json; done
python3 -c 'import json
both, alone = json.load(open("both.json")), [json.load(open(f"{n}.json")) for n in ("first", "two")]
print(both["schema"], [s["metrics"] == a["metrics"] and s["density"] == a["density"] for s, a in zip(both["saes"], alone)])'
sonde sae eval models/stories one/a/first -f stories.jsonl --limit 4 --also one/a/two -q | sed -n '1p;3,5s/  .*//p'
sonde sae eval models/stories one/a/first "the cat" --also one/a/two --saebench; echo "status $?" >&2
sonde sae train models/stories --data stories.jsonl --hook blocks.2.hook_resid_post --k 8 --width 2x --batch 64 --steps 5 -o elsewhere -q >/dev/null
sonde sae eval models/stories one/a/first "the cat" --also elsewhere; echo "status $?" >&2
# the largest features of a batch, held against a search over all of them; and autoencoders that have no thresholds
sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --arch batchtopk --k 5 --width 64 --batch 64 --steps 10 -o batch -q >/dev/null
sonde sae eval models/stories batch "the cat sat on the mat and ran to her dog" --batch-topk 5 --json -q >five.json
sonde act models/stories "the cat sat on the mat and ran to her dog" --hook blocks.3.hook_resid_post -o x.safetensors -q
python3 - <<'END'
import array, json, pathlib, struct
def tensors(path):
    data = pathlib.Path(path).read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["shape"], array.array("f", data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]))
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__" and v["dtype"] == "F32"}
w, x = tensors("batch/sae_weights.safetensors"), next(v for v in tensors("x.safetensors").values() if v[0][-1] == 192)
D, S, rows = 192, 64, [list(x[1][i * 192:(i + 1) * 192]) for i in range(1, len(x[1]) // 192)]
b_dec, W_enc, b_enc, W_dec = (list(w[k][1]) for k in ("b_dec", "W_enc", "b_enc", "W_dec"))
features = [[max(0.0, b_enc[s] + sum((r[d] - b_dec[d]) * W_enc[d * S + s] for d in range(D))) for s in range(S)] for r in rows]
bar = sorted((f for row in features for f in row), reverse=True)[5 * len(rows) - 1]
error, mean = 0.0, [sum(r[d] for r in rows) / len(rows) for d in range(D)]
for r, f in zip(rows, features):
    on = [s for s in range(S) if f[s] >= bar]
    y = [b_dec[d] + sum(f[s] * W_dec[s * D + d] for s in on) for d in range(D)]
    error += sum((a - b) ** 2 for a, b in zip(r, y))
m = json.load(open("five.json"))["metrics"]
print(m["l0"]["value"], "as a search" if abs(m["mse"]["value"] * len(rows) / error - 1) < 1e-4 else (m["mse"]["value"], error / len(rows)))
END
sonde sae eval models/stories sae "the cat" --batch-topk 5; echo "status $?" >&2
sonde sae eval models/stories batch "the cat" --batch-topk 65; echo "status $?" >&2
sonde sae eval models/stories sae "the cat" --hook-out blocks.2.hook_resid_post; echo "status $?" >&2
