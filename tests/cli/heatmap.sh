# What is drawn follows from the hooks; pictures are files of their kind; without -o text; mistakes are named.
check() {
    sonde heatmap tiny "$@" --json -q | python3 -c 'import json, sys
r = json.load(sys.stdin)
p = r["panels"]
print(r["kind"], r["value"], len(p), len(p[0]["values"]), len(p[0]["values"][0]), p[0]["rows"][:2], p[0]["columns"][:2])'
}
check "the cat sat" --hook resid_post1
check "the cat sat" --hook resid_post1 --neurons 0-3,7 --exclude-bos
check "the cat sat" --hook z1 --neurons top:5
check "the cat sat" --hook 'blocks.*.hook_resid_post'
check "the cat sat" --hook resid_post1 --stat kurtosis
check "the cat sat" --hook attn1
check "the cat sat" --hook attn_scores1 --head 0,2
check "the cat sat" --hook attn1 --hook attn2 --head 3 --exclude-bos
check "the cat sat" --hook attn1 --stat max
check --ids 5,6 --hook embed --bos never
for ending in png svg pdf; do
    sonde heatmap tiny "the cat sat" --hook resid_post1 --neurons top:8 -o picture.$ending
done
python3 -c '
for name, magic in ("picture.png", b"\x89PNG\r\n"), ("picture.pdf", b"%PDF-"), ("picture.svg", b"<?xml"):
    assert open(name, "rb").read(len(magic)) == magic, name'
sonde heatmap tiny "the cat sat" --hook attn1 --head 1 --kernel ref
try() {
    sonde heatmap tiny "$@"
    echo "status $?" >&2
}
try "the cat" --hook embed -o picture.gif
try "the cat" --hook embed --neurons 40-48
try "the cat" --hook embed --neurons top:0
try "the cat" --hook embed --neurons 3-
try "the cat" --hook embed --head 1
try "the cat" --hook attn1 --neurons 1
try "the cat" --hook attn1 --head 4
try "the cat" --hook embed --stat mode
try "the cat" --hook embed --range 3,1
try "the cat"
try "" --hook embed --no-special
try -f stories.jsonl --hook embed
try "the cat" --hook embed -o no/such/folder.png
