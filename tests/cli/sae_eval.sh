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
