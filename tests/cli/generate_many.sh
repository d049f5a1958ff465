# stderr: any
# Corpora: samples in order, the same whatever is side by side; lines, packed lines, parts, what is left out, no prompt at all.
sonde generate tiny "the cat" -n 9 --max-tokens 6 --seed 3 --jsonl >a
sonde generate tiny "the cat" -n 9 --max-tokens 6 --seed 3 --jsonl --batch 1 >b
sonde generate tiny "the cat" -n 9 --max-tokens 6 --seed 3 --batch 4 --threads 1 -o c.jsonl
sonde generate tiny "the cat" -n 9 --max-tokens 6 --seed 3 --batch 2 -o d.jsonl.zst
cmp a b && cmp a c.jsonl && echo "batch: the same"
python3 - <<'END'
import json, subprocess
lines = [json.loads(line) for line in open("a")]
print(len(lines), len({line["text"] for line in lines}), {tuple(line) for line in lines}, all(line["text"].startswith("the cat") for line in lines))
def run(*words):
    return subprocess.run(["sonde", "generate", *words], check=True, capture_output=True, text=True).stdout
samples = json.loads(run("tiny", "the cat", "-n", "9", "--max-tokens", "6", "--seed", "3", "--batch", "3", "--json"))["samples"]
print("json:", [s["prompt"] + s["text"] for s in samples] == [line["text"] for line in lines])
END
sonde tokenize tiny -f d.jsonl.zst --json >packed
sonde tokenize tiny -f c.jsonl --json >plain
cmp packed plain && echo "zst: the same texts"
sonde generate tiny "the cat" -n 9 --first 4 --max-tokens 6 --seed 3 --jsonl >rest
head -n 4 a | cat - rest | cmp - a && echo "first: the rest"
printf '{"text": "the cat"}\n{"text": "a dog"}\n' >prompts.jsonl
sonde generate tiny -f prompts.jsonl -n 2 --max-tokens 3 --seed 3 --no-echo --jsonl >both
sonde generate tiny "the cat" -n 2 --max-tokens 3 --seed 3 --no-echo --jsonl | cmp - both 2>/dev/null
sonde generate tiny "a dog" -n 4 --first 2 --max-tokens 3 --seed 3 --no-echo --jsonl >dogs
tail -n 2 both | cmp - dogs && echo "prompts: numbered one behind the other"
sonde generate tiny "" --max-tokens 5 --seed 1 >empty
sonde generate tiny --max-tokens 5 --seed 1 | cmp - empty && echo "no prompt: the empty one"
sonde generate tiny --ids 1 --max-tokens 5 --seed 1 | cmp - empty && echo "the empty one: BOS"
sonde generate tiny "" --bos never --max-tokens 5 --seed 1 | cmp - empty && echo "nothing to begin with: BOS"
sonde generate tiny "the" -n 40 --max-tokens 40 --temperature 2 --finished-only --jsonl >finished
sonde generate tiny "the" -n 40 --max-tokens 40 --temperature 2 --json | python3 -c 'import json, sys
r = json.load(sys.stdin)["samples"]
want = [s["prompt"] + s["text"] for s in r if s["stopped"]]
print("finished only:", want == [json.loads(line)["text"] for line in open("finished")])'
for words in "--jsonl --json" "-o x.txt" "--first 9"; do
    sonde generate tiny "the cat" -n 9 $words >out 2>err; echo "status $? $(wc -c <out)"
done
ls c.jsonl d.jsonl.zst; ls | grep part || echo "no parts are left"
