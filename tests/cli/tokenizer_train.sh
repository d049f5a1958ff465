# A tokenizer from texts: the same for any number of threads, loaded by the program itself; what is refused leaves nothing behind.
sonde tokenizer train stories.jsonl story.txt --vocab 290 -o trained -q
for threads in 1 2 3; do
    sonde tokenizer train stories.jsonl.zst story.txt --vocab 290 -o t$threads.json --threads $threads -q >/dev/null
    cmp trained/tokenizer.json t$threads.json && echo same
done
sonde tokenize trained "Once upon a time the cat sat.<|endoftext|>"
sonde tokenizer train - --vocab 260 -o n.json <story.txt 2>/dev/null
sonde tokenizer train stories.jsonl --limit 3 --vocab 262 --special '<s>' --special '</s>' -o s.json --json |
    python3 -c 'import json, sys
r = json.load(sys.stdin)
print(r["schema"], r["documents"], r["vocab"], r["merges"], r["bytes"] > 0, r["words"] > r["different_words"] > 0)
t = json.load(open("s.json"))
print([(a["id"], a["content"]) for a in t["added_tokens"]], t["model"]["merges"][:2])'
sonde tokenizer train story.txt --no-special --pattern llama3 --vocab 257 -o n.json -q >/dev/null
sonde tokenize n.json "12345" | tail -6
rm -r trained ./*.json
try() {
    sonde tokenizer train "$@"
    echo "status $?" >&2
}
: >empty.txt
printf '{"text": "the cat"}\n{"text": "the \377 cat"}\n' >bytes.jsonl
printf 'the \377 cat' >bytes.txt
try
try stories.jsonl
try stories.jsonl -o x
try stories.jsonl -o - --vocab 300
try stories.jsonl -o x --vocab 300 --special a --no-special
try stories.jsonl -o x --vocab 20000000
try stories.jsonl -o x --vocab 300 --pattern gpt3
try stories.jsonl -o x --vocab 300 --special ''
try stories.jsonl -o x --vocab 256
try stories.jsonl -o x --vocab 258 --special '<a>' --special '<b>' --special '<c>'
try stories.jsonl -o x --vocab 5000
try empty.txt -o x --vocab 300
try stories.jsonl nowhere.txt -o x --vocab 300
try bytes.jsonl -o x --vocab 300
try bytes.txt -o x --vocab 300
try stories.jsonl -o x --vocab 300 --field body
try story.txt -o nowhere/x.json --vocab 260
try story.txt -o nowhere/x --vocab 260
try story.txt -o /dev/full --vocab 260
mkdir closed && chmod 500 closed
[ "$(id -u)" -eq 0 ] || ! sonde tokenizer train story.txt -o closed/x.json --vocab 260 2>/dev/null || echo "written to a closed folder"
ls
