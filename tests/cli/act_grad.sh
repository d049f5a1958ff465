# tolerance: 1e-3
# Gradients beside activations: printed, in files, of the loss and of logits; and what is refused.
sonde act tiny "the cat sat" --hook resid_post3 --grad 'logit: cat, dog' --pos 1,-1
printf '{"text": "the cat and the cat"}\n{"text": "a dog"}\n{"text": ""}\n{"text": "a cat"}\n' >four.jsonl
printf '{"text": "the cat and the cat"}\n' >first.jsonl
hooks="--hook resid_post0 --hook attn1 --hook attn_scores1 --hook embed"
grad() { sonde act tiny -f "$1" $hooks --grad "$2" -o "$3" -q; }
for ending in safetensors npz json; do
    grad four.jsonl loss loss.$ending
done
grad four.jsonl 'logit: cat' cat.safetensors
grad four.jsonl 'logit: dog' dog.safetensors
grad four.jsonl 'logit: cat, dog' difference.safetensors
grad first.jsonl 'logit: cat, dog' first.safetensors
sonde act tiny -f four.jsonl $hooks -o plain.safetensors -q
sonde act tiny -f four.jsonl --hook embed --grad 'logit: cat' --grad-position 0 --json | python3 -c 'import json, sys; r = json.load(sys.stdin); print([h["name"] for h in r["hooks"]], {k: v for k, v in r["gradient"].items() if k != "value"})'
sonde act tiny -f four.jsonl --hook embed --grad loss --dry-run --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["scratch_bytes"] > 0)'
cat >check.py <<'END'
import array, json, struct, zipfile

def safetensors(path):
    data = open(path, "rb").read()
    n, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    metadata = header.pop("__metadata__")
    read = lambda t: array.array({"F32": "f", "I64": "q"}[t["dtype"]], data[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]]).tolist()
    return {name: (t["shape"], read(t)) for name, t in header.items()}, metadata

loss, metadata = safetensors("loss.safetensors")
print(metadata["hooks"], "|", metadata["gradient_of"])
for name, (shape, values) in sorted(loss.items()):
    print(name, shape)
with zipfile.ZipFile("loss.npz") as z:
    print("npz", sorted(n[:-4] for n in z.namelist()) == sorted(loss))
both = json.load(open("loss.json"))["tensors"]
f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
name = "blocks.0.hook_resid_post_grad"
print("json", [f32(x) for x in both[name]["data"]] == loss[name][1])
plain = safetensors("plain.safetensors")[0]
print("activations", all(loss[n] == plain[n] for n in ("hook_embed", "blocks.0.hook_resid_post", "blocks.1.attn.hook_pattern")))
cat, dog, difference, first = (safetensors(n + ".safetensors")[0] for n in ("cat", "dog", "difference", "first"))
for name in difference:
    if not name.endswith("_grad"):
        continue
    got, a, b = difference[name][1], cat[name][1], dog[name][1]
    largest = max(map(abs, a + b))
    alone = first[name][1]
    print(name, all(abs(x - (y - z)) <= 1e-5 * largest for x, y, z in zip(got, a, b)),
          all(abs(x - y) <= 1e-5 * largest for x, y in zip(got, alone)))
# Of the loss: the last token of a text predicts nothing and is seen by no other; padding is 0, too.
shape, x = loss["hook_embed_grad"]
lengths = loss["lengths"][1]
B, T, D = shape
rows = [[any(x[(b * T + t) * D : (b * T + t + 1) * D]) for t in range(T)] for b in range(B)]
print("rows", rows == [[t < n - 1 for t in range(T)] for n in lengths])
END
python3 check.py
try() {
    sonde act tiny "the cat sat" "$@"
    echo "status $?" >&2
}
try --hook embed --grad lost
try --hook embed --grad logit:
try --hook embed --grad 'logit: cat,'
try --hook embed --grad 'logit:the dog'
try --hook embed --grad 'logit:#32000'
try --hook embed --grad 'logit:#x'
try --hook embed --grad 'logit: cat' --grad-position 7
try --hook embed --grad loss --grad-position 0
try --hook embed --grad-position 0
try --grad loss --top 2
try --hook embed --grad loss -o x.npy
sonde act tiny --ids 1 --hook embed --grad loss
echo "status $?" >&2
test -e x.npy || echo "nothing written"
# Several passes make one mean.
for i in 1 2 3 4; do cat stories.jsonl; done >many.jsonl
for file in stories many; do
    sonde act tiny -f $file.jsonl --hook embed --grad loss --json -q >$file.json
done
sonde act tiny -f many.jsonl --hook embed --grad loss -o x.npz --dry-run | grep -o '[0-9]* passes'
python3 -c 'import json
a, b = (json.load(open(f"{n}.json")) for n in ("stories", "many"))
values, spread = zip(*((r["gradient"]["value"], r["hooks"][1]["std"]) for r in (a, b)))
print(abs(values[0] - values[1]) < 1e-6 * values[0], abs(spread[0] / 4 - spread[1]) < 1e-5 * spread[1])'
