# A text's activations do not depend on its neighbours, nor on the number of threads, bit for bit.
sonde act tiny -f stories.jsonl --limit 6 --hook 'blocks.*' -o together.json -q
sonde act tiny -f stories.jsonl --limit 6 --hook 'blocks.*' --threads 1 -o one.json -q
sonde act tiny -f stories.jsonl --limit 6 --hook 'blocks.*' --threads 3 -o three.json -q
cmp one.json together.json && cmp three.json together.json && echo "threads: same bytes"
python3 - <<'END'
import json, subprocess
together = json.load(open("together.json"))["tensors"]
texts = [json.loads(line)["text"] for line in open("stories.jsonl")]
wrong = n = 0
for b in (0, 5):
    open("text.txt", "w").write(texts[b])
    subprocess.run(["sonde", "act", "tiny", "-f", "text.txt", "--hook", "blocks.*", "-o", "alone.json", "-q"], check=True)
    alone = json.load(open("alone.json"))["tensors"]
    for name in ("blocks.5.hook_resid_post", "blocks.2.mlp.hook_post", "blocks.4.ln1.hook_scale"):
        B, T, D = together[name]["shape"]
        got, want = together[name]["data"][b * T * D :][: alone[name]["shape"][1] * D], alone[name]["data"]
        n += 1
        wrong += got != want
print(n, "tensors,", wrong, "differ")
END
