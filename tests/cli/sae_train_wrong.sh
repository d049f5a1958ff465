# tolerance: 1e-3
# What cannot be trained: one line, status 2, 3 or 5, nothing left behind.
try() {
    sonde sae train "$@" -q >&2
    echo "status $?" >&2
}
texts="models/stories --data stories.jsonl:2 --hook blocks.3.hook_resid_post --width 64 --batch 64 --steps 3"
new="$texts --k 8"
echo "nothing of a training" >notes.txt
mkdir other && cp notes.txt other
mkdir stranger && cp sae/* stranger
sonde sae train $new -o made -q >/dev/null
ls >before
try
try -o x
try models/stories -o x --hook blocks.3.hook_resid_post
try models/stories -o x --data stories.jsonl
try $new -o x --arch topkk
try $new -o x --k 2.5
try $new -o x --k 65
try $new -o x --width 0x
try $new -o x --width many
try $new -o x --tokens 10
try $new -o x --lr -1
try models/stories --data stories.jsonl --hook blocks.3.hook_resid_post -o x --tokens 100
try models/stories --data stories.jsonl --hook blocks.3.hook_resid_post -o x --tokens some
try $new -o x --hook blocks.33.hook_resid_post
try $new -o x --hook 'blocks.*.hook_resid_post'
try $new -o x --hook blocks.3.attn.hook_pattern
try $new -o x --skip
try $new -o stranger
try --resume -o nothing
try --resume -o made --width 32
try --resume -o made --init stranger
try $new -o x --init stranger --width 32
try $new -o x --leave-out 1,99999
try $new -o x --leave-out 1 --with-special
try $texts -o x --arch gated --hook-out blocks.3.hook_mlp_out
try $new -o x --also k=3,steps=9
try $new -o x --also k
try $new -o x --also kk=3
try $new -o x --also arch=nothing
try $new -o x --also name=../y
try $new -o x --also k=4,name=a --also k=5,name=a
# what would change nothing
try $new -o x --l1 2
try $new -o x --arch standard
try $texts -o x --arch standard --target-l0 8
try $texts -o x --schedule cosine --decay-steps 2
try $texts -o x --resample-every 2
try $new -o x --also arch=standard,k=3,name=a
try $new -o x --also name=a,l1=3
try $new -o x --init nowhere
try $new -o x --init sae --arch topk
try $new -o notes.txt
try $new -o other
try --resume -o nowhere
try nowhere --data stories.jsonl --hook blocks.3.hook_resid_post -o x
try $new -o x --data nowhere.jsonl
try $new -o x --held-out nowhere.jsonl
ls | cmp - before
# a training that is there is not lost, and goes on as what it is
sonde sae train $new -o run -q >/dev/null
cp run/training/state.safetensors .
kept() {
    try "$@"
    cmp state.safetensors run/training/state.safetensors
}
kept $new -o run
kept --resume -o run --k 9
kept --resume -o run --l1 2 --steps 4
kept --resume -o run --steps 2
kept --resume -o run --data story.txt --steps 4
kept --resume -o run --hook blocks.2.hook_resid_post --steps 4
cp -r models/stories retrained
printf '\001' | dd of="$(ls retrained/*.safetensors | head -1)" bs=1 seek=300000 conv=notrunc 2>/dev/null
kept --resume -o run --model retrained --steps 4
head -c 1000 state.safetensors >run/training/state.safetensors
try --resume -o run --steps 4 2>&1 | sed 's/ends at byte [0-9]*/ends at byte .../' >&2
# a store of another model, without the hook point, beside texts, or cut
sonde harvest models/stories -f stories.jsonl --hook blocks.3.hook_resid_post --shard-bytes 200000 -o store -q >/dev/null
from="store --width 64 --batch 64 --k 8 --steps 3 -o x"
try $from --hook blocks.2.hook_resid_post
try $from --hook blocks.3.hook_resid_post --data stories.jsonl
try $from --hook blocks.3.hook_resid_post --held-out stories.jsonl
try --model models/one-layer $from --hook blocks.3.hook_resid_post --held-out stories.jsonl
truncate -s 90000 store/shard-00001.safetensors
try $from --hook blocks.3.hook_resid_post
test ! -e x || echo "x is left" >&2
