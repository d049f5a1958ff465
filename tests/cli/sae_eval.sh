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
