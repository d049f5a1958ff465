# tolerance: 1e-5
# A store: the plan, what is written, and that a harvest which was stopped in any way ends with the bytes of one that was not.
common="models/stories -f stories.jsonl --hook blocks.3.hook_resid_post --hook blocks.2.attn.hook_z --shard-bytes 300000"
masked='s/[0-9.]* s;.*/TIME/; s/memory [0-9.]* [MGk]*B/memory/; s/[0-9,]* tokens\/s/SPEED/'
same() {
    for file in "$1"/store.json "$1"/shard-*; do
        cmp "$file" "$2/${file##*/}" || echo "$file differs"
    done
}
sonde harvest $common -o whole --dry-run | sed "$masked"
test -e whole && echo "something was written"
sonde harvest $common -o whole --dry-run --json | python3 -c '
import json, sys
plan = json.load(sys.stdin)
print(*(f"{k}={plan[k]}" for k in ("schema", "rows", "left_out", "shards", "file_bytes", "missing_bytes")))'
sonde harvest $common -o whole -q | sed -n 1p
ls whole
echo "$(cat whole/store.json whole/shard-* | wc -c) bytes"
sed -n '/"dtype"/,/"batch"/p' whole/store.json
python3 - whole <<'END'
import json, struct, sys
for number in range(4):
    data = open(f"{sys.argv[1]}/shard-{number:05}.safetensors", "rb").read()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    texts = header.pop("__metadata__")
    print(number, texts["schema"], texts["first_row"], {name: (t["dtype"], t["shape"]) for name, t in sorted(header.items())})
END
# killed in the middle, and gone on with
sonde harvest $common -o killed -q >/dev/null 2>&1 &
while [ ! -e killed/shard-00000.safetensors ]; do sleep 0.01; done
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
sonde harvest --resume -o killed -q --threads 1 | sed -n 1p
same whole killed
# damaged: what is missing is written again, nothing else
rm killed/shard-00001.safetensors
truncate -s 5000 killed/shard-00003.safetensors
: >killed/shard-00003.safetensors.123.part
sonde harvest --resume -o killed -q --dry-run | sed -n 3p | sed "$masked"
sonde harvest --resume -o killed -q | sed 's/ in [0-9.]* s, .*//'
same whole killed
ls killed | grep -c part
# the rows are those of sonde act, here of one text
head -1 stories.jsonl >one.jsonl
sonde act models/stories -f one.jsonl --hook blocks.3.hook_resid_post -o act.safetensors -q
python3 - <<'END'
import json, struct
def tensor(path, name):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    begin, end = json.loads(data[8 : 8 + n])[name]["data_offsets"]
    return data[8 + n + begin : 8 + n + end]
act = tensor("act.safetensors", "blocks.3.hook_resid_post")
store = tensor("whole/shard-00000.safetensors", "blocks.3.hook_resid_post")
rows = len(act) // (4 * 192)
print("the first text:", act[4 * 192 :] == store[: (rows - 1) * 4 * 192])
END
# with the token that begins a text, in half the bytes, cut short
sonde harvest models/stories -f stories.jsonl:2 --hook resid_pre1 --hook mlp_out0 --act-dtype bf16 --with-special --context 16 --tokens 100 -o small -q --json |
    python3 -c 'import json, sys; r = json.load(sys.stdin); print(*(f"{k}={r[k]}" for k in ("schema", "hooks", "rows", "left_out", "behind_context", "written_rows")))'
sonde info small | cat
sonde info small --json | python3 -c 'import json, sys; r = json.load(sys.stdin); print(r["schema"], r["rows"], r["hooks"])'
