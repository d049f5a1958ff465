# tolerance: 1e-4
# Packed and each; what is predicted is counted; per token it adds up; the same from ids and from text.
number() {
    python3 -c 'import json, sys
r = json.load(sys.stdin)
print(r["contexts_are"], r["tokens"], r["contexts"], r["bytes"], r["truncated_documents"], r["prepends_bos"], "%.5f %.5f" % (r["ce_nats"], r["ppl"]), r["bits_per_byte"])'
}
sonde loss tiny -f stories.jsonl --json -q | number
sonde loss tiny -f stories.jsonl --each --json -q | number
sonde loss tiny -f stories.jsonl --each --no-special --json -q | number
sonde loss tiny "the cat" --json -q | number
sonde loss tiny --ids 1,5,6 --json -q | number
sonde loss tiny "the cat sat" --per-token
sonde loss tiny -f stories.jsonl --each --per-token --json -q | python3 -c 'import json, math, sys
r = json.load(sys.stdin)
nats = [t["nats"] for t in r["per_token"]]
print(len(nats) == r["tokens"], abs(math.fsum(nats) / len(nats) - r["ce_nats"]) < 1e-12)'
sonde loss tiny --ids 5
echo "status $?" >&2
