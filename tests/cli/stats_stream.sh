# A data set gives the same bytes for any number of threads; documents are counted, the empty one too.
for threads in 1 2 3; do
    sonde stats tiny -f stories.jsonl --hook 'blocks.*.mlp.hook_post' --hook attn3 --threads $threads --json >$threads.json
done
cmp 1.json 2.json && cmp 1.json 3.json && echo "threads: same bytes"
sonde stats tiny -f stories.jsonl.zst --hook 'blocks.*.mlp.hook_post' --hook attn3 --json | cmp - 1.json && echo "zst: same bytes"
printf '{"text": "the cat"}\n{"text": ""}\n{"text": "a dog"}\n' >three.jsonl
sonde stats tiny -f three.jsonl --no-special --hook resid_post0 --json | python3 -c '
import json, sys
r = json.load(sys.stdin)
print(r["schema"], r["sequences"], r["n_tokens"], r["bos"], [sorted(h) for h in r["hooks"]])'
printf '' >empty.jsonl
sonde stats tiny -f empty.jsonl --hook resid_post0
echo "status $?" >&2
sonde stats tiny "the cat"
echo "status $?" >&2
sonde stats tiny "the cat" --hook 'blocks.9.*'
echo "status $?" >&2
