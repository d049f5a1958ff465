# tolerance: 1e-3
# How a training ends that does not come to its end: Ctrl-C, kill -9, a full disk, numbers that are not finite. It goes on from
# its last checkpoint, and then is the one that was never stopped.
sonde tokenizer train stories.jsonl -o tok --vocab 290 -q >/dev/null
new="--shape one-layer --tokenizer tok --data stories.jsonl --held-out story.txt --context 32 --batch 4 --warmup 2 --steps 12 --eval-every 3
    --sample-every 5 --save-every 4 --optimizer muon -q"
same() {
    for file in state.safetensors model/model.safetensors curve.csv samples.txt config.json tokenizer.json; do
        cmp a/$file "$1/$file"
    done
    ls "$1" | cmp - a.list && echo "$1 is the same"
}
sonde lm train $new -o a >/dev/null
ls a >a.list
python3 - $new <<'END'
import os, random, shutil, signal, subprocess, sys, time
new = ["sonde", "lm", "train", *sys.argv[1:]]
resume = ["sonde", "lm", "train", "--resume", "-q", "-o"]

def begin(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

def command(folder):
    return resume + [folder] if os.path.exists(folder + "/state.safetensors") else new + ["-o", folder]

# Ctrl-C: the step is finished or given up, and saved.
b = begin(new[:-1] + ["--steps", "1000000", "--schedule", "constant", "-o", "b"])
while not os.path.exists("b/state.safetensors"):
    time.sleep(0.05)
second = begin(resume + ["b"])
second.wait()
print(second.returncode, second.stderr.read(), end="")
time.sleep(1)
b.send_signal(signal.SIGINT)
lines = b.stderr.read().splitlines()
print(b.wait(), [line.split(" behind step ")[0] for line in lines[-2:]])
shutil.rmtree("b")
# Ctrl-C while texts are read leaves nothing.
text = '{"text": "%s"}\n' % ("the cat sat on the mat and " * 300)
open("many.jsonl", "w").write(text * 20000)
c = begin(new + ["--data", "many.jsonl", "-o", "c"])
time.sleep(0.7)
c.send_signal(signal.SIGINT)
print(c.wait(), c.stderr.read().startswith("sonde: interrupted"), os.path.exists("c"))
os.unlink("many.jsonl")
# kill -9 at any moment of the time that a whole run takes here, again and again; the model may go, too.
start = time.monotonic()
begin(new + ["-o", "whole"]).wait()
whole, draw, kills = time.monotonic() - start, random.Random(1), 0
shutil.rmtree("whole")
while True:
    k = begin(command("k"))
    try:
        k.wait(timeout=draw.uniform(0, whole / 2) if kills < 12 else 300)
        break
    except subprocess.TimeoutExpired:
        k.kill()
        k.wait()
        kills += 1
        if kills % 4 == 0:
            shutil.rmtree("k/model", ignore_errors=True)
print(kills > 0, k.returncode, k.stderr.read())
END
same k
# A disk that is full: what is there stays, and is gone on from.
sonde lm train $new --steps 6 --schedule constant -o d >/dev/null
cp -r d e
(trap '' XFSZ; ulimit -f 2000; sonde lm train --resume -o e --steps 12 -q) >&2
echo "status $?" >&2
cmp d/state.safetensors e/state.safetensors && cmp d/model/model.safetensors e/model/model.safetensors && ls e | cmp - a.list
(trap '' XFSZ; ulimit -f 2000; sonde lm train $new -o f) >&2
echo "status $?" >&2
ls f
sonde lm train $new -o f >/dev/null
same f
sonde lm train $new --json -o g >/dev/full
echo "status $?" >&2
same g
# Numbers that are not finite: the place, the step; the last checkpoint goes on with smaller steps.
python3 - <<'END'
import json, struct
data = bytearray(open("a/model/model.safetensors", "rb").read())
n = struct.unpack("<Q", data[:8])[0]
at = json.loads(data[8 : 8 + n])["transformer.wte.weight"]["data_offsets"][0]
data[8 + n + at : 8 + n + at + 4] = struct.pack("<f", 3e38)
open("a/model/model.safetensors", "wb").write(data)
END
sonde lm train --init a/model --data stories.jsonl --context 32 --batch 4 --steps 3 -o n 2>&1 | sed 's/sequence.*/sequence/' >&2
sonde lm train $new --lr 100 --clip 0 --steps 400 --schedule constant --warmup 0 --optimizer adamw --sample-every 0 --save-every 3 -o p 2>p.err
echo "status $?" >&2
grep -c 'squares are not finite' p.err
sonde lm train --resume -o p --lr 1e-3 --clip 1 --steps $(($(tail -1 p/curve.csv | cut -d, -f1) + 2)) -q | sed -n '1s/, step.*//p'
