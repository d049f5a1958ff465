# Every command's --json is JSON that names its schema, and nothing but JSON.
check() {
    sonde "$@" --json -q | python3 -c 'import json, sys
for line in sys.stdin:
    r = json.loads(line, parse_constant=lambda x: sys.exit("not JSON: " + x))
    print(r["schema"], sorted(r))'
}
check info tiny
check info "$GOLDEN/gpt2-plain" --hook resid_post0
check tokenize tiny "the cat"
check act tiny "the cat" --hook embed --top 2
check loss tiny "the cat sat" --per-token
check generate tiny "the cat" --max-tokens 2
check bench forward tiny --tokens 8 --repeat 1 --hook embed
check doctor
