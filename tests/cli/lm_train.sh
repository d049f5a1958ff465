# tolerance: 1e-3
# A training, what it leaves, and that one which stopped and went on is the one that did not, byte for byte; longer, and from weights.
sonde tokenizer train stories.jsonl -o tok --vocab 290 -q >/dev/null
common="--shape one-layer --tokenizer tok --data stories.jsonl:2 --held-out story.txt --context 32 --batch 4 --micro-batch 3 --warmup 2
    --eval-every 2 --sample-every 3 --save-every 2"
same() {
    for file in state.safetensors model/model.safetensors model/config.json curve.csv samples.txt config.json tokenizer.json; do
        cmp "$1/$file" "$2/$file"
    done
    echo "$1 and $2 are the same"
}
sonde lm train $common --steps 6 -o a 2>/dev/null | head -2
ls a a/model
grep -c . a/curve.csv
grep -c -- '--- step' a/samples.txt
# other threads; stopped, and gone on with what was typed before
sonde lm train $common --steps 6 -o b -q --threads 1 >/dev/null
same a b
sonde lm train $common --steps 4 --schedule constant -o c -q --threads 3 >/dev/null
sonde lm train --resume -o c --steps 6 --schedule cosine -q >/dev/null
head -4 c/curve.csv | cut -d, -f1-3 >c.head
head -4 a/curve.csv | cut -d, -f1-3 | cmp - c.head
# a run that ended in the middle: only the folder says how it goes on
cp -r a d
sonde lm train $common --optimizer muon --steps 6 -o m -q >/dev/null
sonde lm train $common --optimizer muon --steps 9 --schedule constant -o n -q --threads 1 >/dev/null
sonde lm train $common --optimizer muon --steps 4 --schedule constant -o o -q >/dev/null
rm -r o/model
mkdir o/state.safetensors.1.part
sonde lm train --resume -o o --steps 9 -q >/dev/null
cmp n/state.safetensors o/state.safetensors && cmp n/model/model.safetensors o/model/model.safetensors && ls o
# at its end already; weights and settings stay
sonde lm train --resume -o d -q --json | cut -d, -f1-3
same a d
# the manifest
python3 - <<'END'
import json, re
m = json.load(open("o/manifest.json"))
print(m["schema"], m["command"], m["arguments"], m["settings"]["data"], m["settings"]["held-out"], m["options"]["optimizer"])
print(m["data"], m["step"], m["tokens"], m["first_step_of_this_run"], m["parameters"], m["options"]["context"], m["options"]["separator"])
print(bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", m["began"])), m["began"] <= m["written"], m["seconds"] > m["seconds_of_this_run"] > 0,
      all(re.fullmatch("[0-9a-f]{16}", m[k]) for k in ("config_hash", "corpus_hash")), m["peak_memory_bytes"] > 1 << 20, m["threads"] > 0)
END
# what was trained is a model like any other; the held-out loss is what `sonde loss` says
sonde lm train --init a/model --data stories.jsonl --context 16 --batch 2 --steps 2 --lr 1e-9 --warmup 0 --clip 0 -o e -q | head -1
sonde lm train --init a/model --data stories.jsonl --held-out stories.jsonl --across-documents --context 32 --batch 2 --steps 1 --lr 0 -o f --json -q |
    python3 -c 'import json, sys
r = json.load(sys.stdin); print(r["schema"], r["model"], r["step"], "%.5f %.5f" % (r["held_out_loss"], r["held_out_bits_per_byte"]))'
sonde loss f/model -f stories.jsonl --each --bos always --truncate --json -q |
    python3 -c 'import json, sys; r = json.load(sys.stdin); print("%.5f %.5f" % (r["ce_nats"], r["bits_per_byte"]))'
sonde lm train --resume -o f --data stories.jsonl --steps 2 --save-dtype bf16 -q >/dev/null && sonde info f/model | grep -i bf16 | head -1
# weights of 16 bits become floats; a tied llama goes on, too
sonde lm train --init f/model --data stories.jsonl --batch 1 --context 8 --steps 1 -o g -q | head -1
sonde info g/model | grep '^weights'
sonde lm train --init tiny --data stories.jsonl --batch 1 --context 16 --steps 2 --optimizer muon --products bf16 -o h -q | head -1
sonde generate h/model "Once upon" --max-tokens 2 -q >/dev/null && echo generates
# Weights with a tokenizer that is not theirs: said, since the loss alone would not say why.
sonde tokenizer train stories.jsonl -o other --vocab 280 -q >/dev/null
sonde lm train --init a/model --tokenizer other --data stories.jsonl --context 16 --batch 1 --steps 1 --sample-every 0 -o i 2>&1 | head -1
sonde lm train --init a/model --tokenizer a/tokenizer.json --data stories.jsonl --context 16 --batch 1 --steps 1 --sample-every 0 -o j 2>&1 | grep -c 'other tokens'
