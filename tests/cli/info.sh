# What a model is, from its config; hook points with shapes.
sonde info "$GOLDEN/gpt2-plain" | head -24
sonde info "$GOLDEN/llama-gqa" --hook 'blocks.0.attn.*' --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
for p in r["hook_points"]:
    print(p["name"], p["shape"], p["fires_by_default"])'
