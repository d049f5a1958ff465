# Similarities computed again from the activations; tables; files; mistakes.
# tolerance: 1e-3
cat >check.py <<'END'
import array, json, math, subprocess

A, B = "1,403,407,261,378,22,99", "1,403,407,300,12,9,8"
MEASURES = ("cosine", "pearson", "l2", "relative")

def sonde(*arguments):
    return subprocess.run(["sonde", *arguments, "-q"], check=True, stdout=subprocess.PIPE).stdout

def rows(ids):
    sonde("act", "tiny", "--ids", ids, "--hook", "blocks.*.hook_resid_post", "-o", "act.json")
    t = json.load(open("act.json"))["tensors"]
    return [[array.array("f", t[name]["data"][i * 48 : i * 48 + 48]).tolist() for i in range(7)] for name in sorted(t) if name.startswith("blocks")]

def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b)) / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))

def measure(which, a, b):
    if which == "cosine":
        return cosine(a, b)
    if which == "pearson":
        return cosine([x - math.fsum(a) / 48 for x in a], [y - math.fsum(b) / 48 for y in b])
    return math.dist(a, b) / (math.hypot(*a) if which == "relative" else 1)

def close(got, want):
    assert abs(got - want) <= 1e-12 * (1 + abs(want)), (got, want)

def compare(*arguments):
    return json.loads(sonde("compare", "tiny", *arguments, "--json"))

a, b = rows(A), rows(B)
r = compare("--ids", A)
assert r["hooks"] == ["blocks.2.hook_resid_post"]
for which in MEASURES:
    for i in range(7):
        for j in range(7):
            close(r["matrices"][0][which][i][j], measure(which, a[2][i], a[2][j]))
r = compare("--ids", A, "--ids", B, "--hook", "resid_post1", "--pos", "3,-1")
for which in MEASURES:
    close(r["matrices"][0][which][0][1], measure(which, a[1][3], b[1][6]))
for second, other, step in ((), a, 1), (("--ids", B), b, 0):
    r = compare("--ids", A, *second, "--by", "layer")
    assert len(r["steps"]) == 6 - step
    for which in MEASURES:
        for i in range(6):
            for j in range(6):
                close(r["matrices"][0][which][i][j], sum(measure(which, a[i][t], other[j][t]) for t in range(7)) / 7)
            if i + step < 6:
                assert r["steps"][i][which] == r["matrices"][0][which][i][i + step]
print("all close")
END
python3 check.py
sonde compare tiny --kernel ref --ids 1,403,407,403 --exclude-bos --top 2
sonde compare tiny --kernel ref --ids 1,403,407 --by layer --hook 'blocks.{0,1,2}.hook_resid_post' --measure l2
sonde compare tiny --kernel ref --ids 1,403,407 --ids 403,9 --by layer --hook resid_post4 --hook resid_post5
for ending in npy npz json safetensors png; do
    sonde compare tiny --ids 1,403,407,403 -o matrix.$ending
done
python3 -c '
import json
j = json.load(open("matrix.json"))["tensors"]
print({name: t["shape"] for name, t in j.items()})
n = open("matrix.npy", "rb").read()
import array
print(list(j.values())[0]["data"] == array.array("d", n[-128:]).tolist())'
try() {
    sonde compare tiny "$@"
    echo "status $?" >&2
}
try --ids 1,2 --ids 1,3 --ids 1,4
try --ids 1,2 --pos 2
try --ids 1,2 --by layer --hook resid_post1 --hook mlp_post1
try --ids 1,2,3 --hook 'blocks.*.hook_resid_post' -o many.npy
try --ids 1,2,3 -o matrix.gif
try --ids 1,2,3 --hook attn_scores1
