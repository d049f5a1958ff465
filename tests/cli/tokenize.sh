# Tokens, ids, byte offsets; one JSON object a document, a line each; an empty document is an empty list.
sonde tokenize tiny "the cat été"
printf '{"text": "the cat"}\n{"text": ""}\n' >two.jsonl
sonde tokenize tiny -f two.jsonl --json --no-special
sonde tokenize tiny -f two.jsonl --json
sonde tokenize tiny "the cat" --bos never --json
sonde tokenize tiny "the cat" --bos always --no-special --json
sonde tokenize tiny "<s>the</s>" --bos never --json
printf 'the cat' | sonde tokenize tiny -f - --json
printf 'a\033[2Jb\000c' >control.txt
sonde tokenize tiny -f control.txt
ids=$(sonde tokenize tiny "Once upon a time, été" --json | python3 -c 'import json, sys; print(",".join(map(str, json.load(sys.stdin)["ids"])))')
sonde tokenize tiny --ids "$ids"
sonde tokenize tiny --ids "$ids" --keep-special
sonde tokenize tiny --ids 1,2 --json
mkdir only && cp tiny/tokenizer.json only && sonde tokenize only "the cat" --json
for file in stories.jsonl stories.jsonl.zst; do sonde tokenize tiny -f $file --limit 3 --json >$file.out; done
cmp stories.jsonl.out stories.jsonl.zst.out && wc -l <stories.jsonl.out
