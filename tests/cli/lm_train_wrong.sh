# tolerance: 1e-3
# What cannot be trained: one line, status 2 or 3, nothing left behind.
sonde tokenizer train stories.jsonl -o tok --vocab 290 -q >/dev/null
try() {
    sonde lm train "$@" -q >&2
    echo "status $?" >&2
}
new="--shape one-layer --tokenizer tok --data stories.jsonl --context 32 --batch 4 --steps 2"
: >empty.txt
: >empty.jsonl
echo "nothing of a training" >notes.txt
mkdir other && cp notes.txt other
printf '{"model_type": "bert", "hidden_size": 8}' >bert.json
sed 's/"vocab_size": [0-9]*/"vocab_size": 280/' tiny/config.json >narrow.json
sed 's/"hidden_size": [0-9]*/"hidden_size": 0/' tiny/config.json >flat.json
ls >before
# the command line
try
try -o x --data stories.jsonl
try -o x --data stories.jsonl --shape one-layer
try -o x --shape one-layer --tokenizer tok
try $new -o x --init tiny
try -o x --data stories.jsonl --shape nameless --tokenizer tok
try $new -o x --steps 0
try $new -o x --lr -1
try $new -o x --context 2000
try $new -o x --seperator 3
# folders
try $new -o notes.txt
try $new -o other
try $new -o nowhere/x
try --resume -o nowhere
try --resume -o other
try --resume -o x --shape one-layer
# texts
try $new -o x --data empty.txt --batch 40
try $new -o x --data empty.jsonl
try --shape one-layer --tokenizer tok --data empty.txt -o x
try $new -o x --batch 4000
try $new -o x --data nowhere.jsonl
try $new -o x --held-out nowhere.jsonl
try $new -o x --held-out empty.jsonl
try $new -o x --field body
# models and tokenizers
try narrow.json --tokenizer tok --data stories.jsonl -o x
try flat.json --tokenizer tok --data stories.jsonl -o x
try bert.json --tokenizer tok --data stories.jsonl -o x
try nowhere.json --tokenizer tok --data stories.jsonl -o x
try --init nowhere --data stories.jsonl -o x
try --shape one-layer --tokenizer nowhere --data stories.jsonl -o x
try --shape one-layer --tokenizer notes.txt --data stories.jsonl -o x
ls | cmp - before
# a training that is there: it is not lost, and goes on as what it is
sonde lm train $new -o run --optimizer muon -q >/dev/null
cp run/state.safetensors run/config.json .
kept() {
    try "$@"
    cmp state.safetensors run/state.safetensors
}
kept $new -o run
kept --resume -o run --data story.txt --data stories.jsonl --steps 4
kept --resume -o run --seed 1
kept --resume -o run --batch 3
kept --resume -o run --optimizer adamw
kept --resume -o run --across-documents
kept --resume -o run --steps 1
sed -i 's/"layer_norm_epsilon": [^,]*/"layer_norm_epsilon": 0.25/' run/config.json
kept --resume -o run --steps 4
cp config.json run
echo '{"settings": {"eval-every": "often"}}' >run/manifest.json
kept --resume -o run --steps 4
echo '{' >run/manifest.json
kept --resume -o run --steps 4
rm run/manifest.json
kept --resume -o run --steps 4
head -c 1000 state.safetensors >run/state.safetensors
# where the header ends depends on the name of the kernels in it
try --resume -o run --data stories.jsonl 2>&1 | sed 's/ends at byte [0-9]*/ends at byte .../' >&2
cp run/model/model.safetensors run/state.safetensors
try --resume -o run --data stories.jsonl
cp state.safetensors run
rm run/tokenizer.json run/config.json
sonde lm train --resume -o run --data stories.jsonl --steps 3 -q | head -1
ls run
