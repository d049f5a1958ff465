# tolerance: 1e-2
# What features respond to: a database, what it has, the page of it, and the features of a text; and what is refused.
export SOURCE_DATE_EPOCH=0
sonde features models/stories sae -f stories.jsonl -o features.db --examples 3 --documents 2 -q
sonde features models/stories sae -f stories.jsonl -o again.db --examples 3 --documents 2 -q --threads 1 --json
python3 - <<'END'
import sqlite3
a, b = (sqlite3.connect(name) for name in ("features.db", "again.db"))
tables = "token feature histogram logit neighbour neuron top_token before_token class feature_class example document active".split()
for table in tables:
    rows = a.execute(f"SELECT * FROM {table}").fetchall()
    print(table, len(rows), "same" if rows == b.execute(f"SELECT * FROM {table}").fetchall() else "DIFFERS")
print(a.execute("PRAGMA integrity_check").fetchone()[0], a.execute("SELECT value FROM meta WHERE key = 'command'").fetchone()[0])
END
sonde dash features.db -o page.html
sonde dash features.db -o page.html --examples 4 --documents 0 --json -q
grep -c '<script id="b-f0"' page.html
sonde features export features.db --sae sae -o neuronpedia
sonde features export features.db --model-id mine --set res-x -o neuronpedia --json
cat neuronpedia/*.jsonl && ls neuronpedia/*
gzip -dc neuronpedia/activations/batch-0.jsonl.gz | head -1 | cut -c1-120
sonde explain models/stories sae "Once upon a time" --db features.db --top 2
sonde explain models/stories sae --ids 5,6 --bos never --top 1 --json
try() {
    "$@" >&2
    echo "status $?" >&2
}
try sonde dash nowhere.db -o x.html
try sonde dash stories.jsonl -o x.html
try sonde dash page.html -o x.html
try sonde features export page.html -o x.folder
try sonde features export features.db -o stories.jsonl
try sonde features export features.db -o nowhere/x
sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --width 32 --batch 64 --steps 1 -o other -q >/dev/null
try sonde features export features.db --sae other -o x.folder
# one of as many features, and another hook point; and a page in place of its database
sonde sae train models/stories --data stories.jsonl --hook blocks.3.hook_resid_post --width 64 --batch 64 --steps 1 -o same-width -q >/dev/null
try sonde features export features.db --sae same-width -o x.folder
try sonde explain models/stories same-width "Once" --db features.db
try sonde explain models/stories sae "Once" --db features.db --hook blocks.2.hook_resid_post
try sonde dash features.db -o features.db
mkdir blocked && : >blocked/features
try sonde features export features.db -o blocked
ls blocked
mkdir folder
try sonde features models/stories sae -f stories.jsonl -o folder
try sonde features models/stories sae -f stories.jsonl -o nowhere/x.db
try sonde features models/stories sae -f stories.jsonl --hook blocks.3.mlp.hook_post -o x.db
try sonde features tiny sae -f stories.jsonl -o x.db
try sonde explain models/stories sae "Once" --db page.html
try sonde explain models/stories sae "Once" --db nowhere.db
python3 - <<'END'
import sqlite3
db = sqlite3.connect("again.db")
db.execute("PRAGMA user_version = 2")
db.commit()
END
try sonde dash again.db -o x.html
head -c 30000 features.db >cut.db
try sonde dash cut.db -o x.html
ls x.* nowhere 2>&1 | wc -l
