# The tensors of a file: names, types, shapes, padding; the same numbers in every format.
printf '{"text": "the cat and the cat"}\n{"text": "a dog"}\n{"text": ""}\n{"text": "a cat"}\n' >four.jsonl
for ending in safetensors npz json; do
    sonde act tiny -f four.jsonl --no-special --hook resid_post0 --hook attn1 --hook attn_scores1 --logits -o all.$ending -q
    sonde act tiny -f four.jsonl --no-special --hook resid_post0 --hook attn1 --logits --token " cat" -o some.$ending -q
done
sonde act tiny "the cat" --hook resid_post0 -o one.npy -q
cat >check.py <<'END'
import array, json, math, struct, sys, zipfile

def safetensors(path):
    data = open(path, "rb").read()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    metadata = header.pop("__metadata__")
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        kind = {"F32": "f", "I64": "q"}[t["dtype"]]
        out[name] = (t["shape"], array.array(kind, data[8 + n + a : 8 + n + b]).tolist())
    return out, metadata

def npy(data):
    n, = struct.unpack("<H", data[8:10])
    header = eval(data[10 : 10 + n])
    kind = {"<f4": "f", "<i8": "q"}[header["descr"]]
    return list(header["shape"]), array.array(kind, data[10 + n :]).tolist()

def npz(path):
    z = zipfile.ZipFile(path)
    return {name[:-4]: npy(z.read(name)) for name in z.namelist()}

for stem in "all", "some":
    want, metadata = safetensors(stem + ".safetensors")
    print(stem, metadata["prepends_bos"], metadata["hooks"])
    for name, (shape, values) in sorted(want.items()):
        print(name, shape, values if len(values) < 30 and name in ("tokens", "lengths", "positions") else "")
    print("npz", npz(stem + ".npz") == want)
    both = json.load(open(stem + ".json"))["tensors"]
    same = {k: (t["shape"], [struct.unpack("f", struct.pack("f", -math.inf if x is None else x))[0] if t["dtype"] == "F32" else x for x in t["data"]]) for k, t in both.items()}
    print("json", same == want)
shape, rows = safetensors("all.safetensors")[0]["blocks.1.attn.hook_pattern"]
B, H, T, _ = shape
print([[round(sum(rows[((b * H) * T + q) * T : ((b * H) * T + q + 1) * T]), 5) for q in range(T)] for b in range(B)])
shape, scores = safetensors("all.safetensors")[0]["blocks.1.attn.hook_attn_scores"]
print([[sum(math.isfinite(x) for x in scores[((b * H) * T + q) * T : ((b * H) * T + q + 1) * T]) for q in range(T)] for b in range(B)])
everything, chosen = safetensors("all.safetensors")[0], safetensors("some.safetensors")[0]
# Activations are the same bytes; logits of a few rows come from another product than those of all, which rounds otherwise.
for name, limit in ("blocks.0.hook_resid_post", 0.0), ("logits", 2e-6):
    (B, T, D), x = everything[name]
    (_, P, _), y = chosen[name]
    positions = chosen["positions"][1]
    largest = max(map(abs, x))
    want = [v for b in range(B) for p in range(P)
            for v in (x[(b * T + positions[b * P + p]) * D :][:D] if positions[b * P + p] >= 0 else [0.0] * D)]
    print(name, len(want) == len(y) and all(abs(u - v) <= limit * largest for u, v in zip(want, y)))
print("npy", npy(open("one.npy", "rb").read())[0])
END
python3 check.py
