# The same seed gives the same text, alone or beside others, on any number of threads; greedy takes the likeliest.
sonde generate tiny "the cat" --max-tokens 12 --seed 3 >a
sonde generate tiny "the cat" --max-tokens 12 --seed 3 --threads 1 >b
cmp a b && echo "seed: same text"
sonde generate tiny "the cat" --max-tokens 12 --seed 4 >c
cmp -s a c || echo "another seed: another text"
sonde generate tiny "the cat" --max-tokens 12 --seed 3 -n 3 --json | python3 -c 'import json, sys
r = json.load(sys.stdin)
texts = [s["prompt"] + s["text"] for s in r["samples"]]
print(len(texts), len(set(texts)), texts[0] + "\n" == open("a").read(), [len(s["ids"]) for s in r["samples"]])'
sonde generate tiny "the cat" --max-tokens 5 --greedy --json >greedy
python3 - <<'END'
import json, subprocess
r = json.load(open("greedy"))["samples"][0]
ids = list(r["prompt_ids"])
for want in r["ids"]:
    line = ["sonde", "act", "tiny", "--ids", ",".join(map(str, ids)), "--top", "1", "--json"]
    got = json.loads(subprocess.run(line, check=True, capture_output=True).stdout)["top"][0]["next"][0]["id"]
    assert got == want, (got, want)
    ids.append(want)
print("greedy: as the likeliest next tokens")
END
sonde generate tiny "the cat" --max-tokens 12 --seed 3 --no-echo >d
test "$(printf 'the cat'; cat d)" = "$(cat a)" && echo "no echo: the continuation alone"
sonde generate "$GOLDEN/gpt2-plain" --ids 1,2,3 --max-tokens 4 --greedy | tr ',' '\n' | wc -l
sonde generate "$GOLDEN/gpt2-plain" --ids 1,2,3 --max-tokens 0 --greedy | tr ',' '\n' | wc -l
