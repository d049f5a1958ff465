# tolerance: 2e-3
# A training of autoencoders, what it leaves, and that one which stopped and went on is the one that did not, byte for byte; several at once.
common="models/stories --data stories.jsonl:4 --hook blocks.3.hook_resid_post --width 2x --batch 64 --k 8 --lr 1e-3 --warmup 2
    --buffer 2000 --save-every 6 --begin-rows 500"
same() {
    for name in cfg.json sae_weights.safetensors training/state.safetensors training/curve.csv; do
        cmp "$1/$name" "$2/$name" || echo "$name differs"
    done
}
sonde sae train $common --steps 12 --held-out stories.jsonl --eval-every 6 --eval-documents 5 -o whole -q | grep -v activations/s
ls whole whole/training
cut -d , -f 1-7,9 whole/training/curve.csv | sed -n '1p;2p;$p'
# one that is cut off behind a checkpoint
sonde sae train $common --steps 12 --held-out stories.jsonl --eval-every 6 --eval-documents 5 -o parts -q >one &
while [ ! -e parts/training/state.safetensors ]; do sleep 0.05; done
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
sonde sae train --resume -o parts -q --threads 1 >/dev/null
same whole parts
# what is trained is measured like any other
sonde sae eval models/stories whole -f stories.jsonl --no-loss | sed -n '1,6p'
# others from the same pass; and the one that was asked for alone is not changed by them
sonde sae train $common --steps 12 --held-out stories.jsonl --eval-every 6 --eval-documents 5 -o both -q \
    --also arch=standard,l1=0.5,name=l1 --also arch=batchtopk,k=4,width=96 | grep -v activations/s
same whole both/first
ls both
# a transcoder, from the MLP's input to its output
sonde sae train models/stories --data stories.jsonl:4 --hook blocks.3.ln2.hook_normalized --hook-out blocks.3.hook_mlp_out --skip \
    --width 64 --batch 64 --k 8 --arch batchtopk --steps 5 -o transcoder -q | grep -v activations/s
grep -o '"architecture": "[a-z_]*"' transcoder/cfg.json
# from a store in place of texts: no model is needed, and one that stopped and went on is the one that did not
sonde harvest models/stories -f stories.jsonl:10 --hook blocks.3.hook_resid_post --hook blocks.3.hook_mlp_out --shard-bytes 2000000 -o store -q | sed -n 1p
stored="store --hook blocks.3.hook_resid_post --width 64 --batch 64 --k 8 --buffer 2000 --save-every 4"
sonde sae train $stored --steps 12 -o stored -q | grep -v activations/s
sonde sae train $stored --steps 12 -o again -q >/dev/null 2>&1 &
while [ ! -e again/training/state.safetensors ]; do sleep 0.05; done
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
sonde sae train --resume -o again -q --threads 1 >/dev/null
same stored again
grep -o '"model_name": "[a-z]*"' stored/cfg.json
grep -c store_hash stored/manifest.json
sonde sae train models/stories --store store --hook blocks.3.hook_resid_post --hook-out blocks.3.hook_mlp_out --held-out stories.jsonl \
    --eval-documents 5 --width 64 --batch 64 --k 8 --arch batchtopk --steps 5 -o stored-transcoder -q | grep -v activations/s
# special tokens are rows where they are asked for; a run that goes on has what it had, and is refused other rows
sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --width 64 --batch 20 --k 8 --with-special -o special -q | tail -1 | cut -d ' ' -f 1
sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --width 64 --batch 20 --k 8 -o plain -q | tail -1 | cut -d ' ' -f 1
sonde sae train --resume -o special -q | tail -1 | cut -d ' ' -f 1
sonde sae train --resume -o plain --with-special -q 2>&1
# curves as TensorBoard's events: every record's checks, as its definition has them
sonde sae train models/stories --data stories.jsonl:2 --hook blocks.3.hook_resid_post --width 64 --batch 64 --k 8 --steps 9 --save-every 3 --tensorboard -o events -q >/dev/null
python3 - <<'END'
import pathlib, struct
def masked(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
data, n = pathlib.Path("events/training/events.out.tfevents.0.sonde").read_bytes(), 0
while data:
    length = struct.unpack("<Q", data[:8])[0]
    assert struct.unpack("<I", data[8:12])[0] == masked(data[:8]) and struct.unpack("<I", data[12 + length:16 + length])[0] == masked(data[12:12 + length])
    data, n = data[16 + length:], n + 1
print(n, "records")
END
# several seeds in one run go on, too: the order of rows is the first one's
sonde sae train $common --steps 12 -o seeds -q --also k=4,seed=3,name=b >/dev/null
sonde sae train $common --steps 12 -o stops -q --also k=4,seed=3,name=b >/dev/null 2>&1 &
while [ ! -e stops/b/training/state.safetensors ]; do sleep 0.05; done
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
sonde sae train --resume -o stops -q >/dev/null
same seeds/first stops/first
same seeds/b stops/b
