# --dry-run says what it would take, and writes nothing.
sonde act tiny -f stories.jsonl --hook resid_post0 --logits -o x.safetensors --dry-run | grep -o '^20 texts, [0-9]* tokens, 1 pass of at most 6 layers'
sonde act tiny -f stories.jsonl --hook resid_post0 -o x.safetensors --dry-run --json | python3 -c 'import json, sys; r = json.load(sys.stdin); print(r["schema"], r["file_bytes"] > 0, r["flops"] > 0)'
test -e x.safetensors || echo "nothing written"
