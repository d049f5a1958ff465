# tolerance: 1e-5
# What cannot be gathered or gone on with: one line, and nothing is left behind.
try() {
    sonde harvest "$@" -q >&2
    echo "status $?" >&2
}
common="models/stories -f stories.jsonl --hook blocks.3.hook_resid_post"
echo "nothing of a store" >notes.txt
mkdir other && cp notes.txt other
ls >before
try
try -o x
try models/stories -o x --hook resid_pre1
try models/stories -o x -f stories.jsonl
try $common
try $common -o x --tokens many
try $common -o x --with-special --leave-out 1
try $common -o x --leave-out 1,x
try $common -o x --leave-out 99999
try $common -o other
try $common -o notes.txt
try --resume -o other
try models/stories -f stories.jsonl --hook nowhere -o x
try models/stories -f stories.jsonl --hook 'blocks.3.attn.hook_*' -o x
try models/stories -f nothing.jsonl --hook resid_pre1 -o x
try $common -f stories.jsonl:500000 --hook 'blocks.*.mlp.hook_p*' --hook 'blocks.*.hook_resid*' -o x 2>&1 | sed 's/has [0-9,]* free/has FREE free/' >&2
ls | cmp - before
# a store that is there
sonde harvest $common --shard-bytes 300000 -o s -q | sed -n 1p
try $common -o s
try --resume -o s --act-dtype bf16
try --resume -o s -f stories.jsonl --limit 3
try --resume -o s --model models/one-layer --hook resid_pre0
mkdir -p m && cp -R models/stories/. m
python3 - <<'END'
data = bytearray(open("m/model.safetensors", "rb").read())
data[-1] ^= 1
open("m/model.safetensors", "wb").write(data)
END
try --resume -o s --model m
# a number that is none, in a word of the last text alone
(cat stories.jsonl; echo '{"text": "zebra quiz"}') >last.jsonl
sonde harvest models/stories -f last.jsonl --hook blocks.3.hook_resid_post -o r -q | sed -n 1p
python3 - <<'END'
import json, struct
def load(path):
    data = bytearray(open(path, "rb").read())
    n = struct.unpack("<Q", data[:8])[0]
    return data, 8 + n, json.loads(data[8 : 8 + n])
data, start, header = load("r/shard-00000.safetensors")
begin, end = header["tokens"]["data_offsets"]
tokens = struct.unpack(f"<{(end - begin) // 4}i", data[start + begin : start + end])
word = next(t for t in tokens[-3:] if tokens.count(t) == 1)
data, start, header = load("models/stories/model.safetensors")
entry = next(e for name, e in header.items() if name.endswith("embed_tokens.weight"))
begin, end = entry["data_offsets"]
size = (end - begin) // entry["shape"][0]
data[start + begin + word * size : start + begin + (word + 1) * size] = b"\xff\x7f" * (size // 2)
open("m/model.safetensors", "wb").write(data)
END
try m -f last.jsonl --hook blocks.3.hook_resid_post --shard-bytes 200000 -o n
ls n >&2
# the disk is full in the middle of a shard; then it is not
(ulimit -f 200; trap '' XFSZ; sonde harvest $common --shard-bytes 500000 -o g -q) >&2
echo "status $?" >&2
ls g >&2
sonde harvest --resume -o g -q | sed -n 1p
# stores that cannot be read
truncate -s 100000 g/shard-00000.safetensors
sonde info g
echo "status $?" >&2
rm g/shard-00000.safetensors
sonde info g
echo "status $?" >&2
