# Toy models: verdicts, which do not depend on the processor as their numbers do; what a run leaves; and what is refused.
sonde toy stages --steps 4800 --restarts 4 -o stages -q | grep -oE '^(stages: .* \(|  (PASS|FAIL|DIFFERS) )'
ls stages
python3 - <<'END'
import json, pathlib
run = json.loads(pathlib.Path("stages/results.json").read_text())
one = run["experiments"][0]
print(run["schema"], one["schema"], one["experiment"], [f["verdict"] for f in one["findings"]], sorted(one)[:3])
page = pathlib.Path("stages/report.html").read_text()
print(page.count("<figure>"), page.count("data:image/png;base64,"), "https://" in page)
END
sonde toy stages --steps 320 --restarts 2 --format svg -o early -q >early.txt
echo "status $?" && grep -oE '^  (PASS|FAIL|DIFFERS) ' early.txt && ls early
sonde toy nonuniform --steps 200 --restarts 2 --watch --watch-every 100 -o watched 2>&1 >/dev/null | grep -c '^nonuniform: step'
try() {
    sonde toy "$@" >&2
    echo "status $?" >&2
}
try nothing -o x
try stages --format gif -o x
try stages --batch 100 -o x
try stages --features 9 -o x
try stages -o early.txt
try stages -o nowhere/x
try basic --density 2 -o x
try energy --restarts 3 -o x
try geometry --instances 101 -o x
try stages --schedule linea -o x
try pca --features 3 -o x
try all --hidden 3 -o x
ls x
# all of them take what they have a use for; what differs from the paper with other steps is a failure, and no range is empty
sonde toy phase-3 --steps 1 --restarts 1 --grid 6 -o few -q | grep -cE '^  DIFFERS'
sonde toy dimensionality --steps 2 --instances 1 -o few -q | tail -1 | cut -d : -f 1
sonde toy energy --steps 3 -o few -q | tail -1 | cut -d : -f 1
