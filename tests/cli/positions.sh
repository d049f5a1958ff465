# --token takes every match, with and without the space; --pos counts from both ends; --word takes all tokens of a word.
positions() {
    sonde act tiny "$@" --hook embed --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
print([d["positions"] for d in r["documents"]], r["hooks"][0]["shape"])'
}
positions "the cat sat on the cat" --token " cat"
positions "the cat sat on the cat" --token "cat"
positions "the cat sat on the cat" --token "Ġcat"
positions "the cat sat on the cat" --token "<s>"
positions "the cat sat on the cat" --pos 3,-1,0
positions "the cat sat on the cat" --pos -1
positions "  elephants sat" --word 0
positions "  elephants sat" --word 1
positions "  elephants sat" --word -1
positions "  elephants sat" --word=-2
printf 'a\tb\nc' >tab.txt
positions -f tab.txt --token '\t'
printf '{"text": "the cat and the cat"}\n{"text": "a dog"}\n{"text": "a cat"}\n' >three.jsonl
positions -f three.jsonl --token " cat"
positions --ids 5,6,7 --ids 8 --pos -1
