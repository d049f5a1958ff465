#!/usr/bin/env python3
"""Runs command-line cases: tests/cli/NAME.sh with what it must print and how it must end.

    tests/cli/run.py BUILD NAME...             runs cases with the program of a build folder
    tests/cli/run.py --update BUILD [NAME...]  writes what they print now as what is expected (all cases where none is named)

A case is a shell script, run by sh -u in a folder of its own with what tests/workplace.py makes: models `stories15M` and
`tiny`, `stories.jsonl`, the program `sonde` on the PATH, the golden models in $GOLDEN. Beside it lie NAME.stdout,
NAME.stderr (absent means empty) and NAME.status (absent means 0). Lines of the script say more:

    # needs: shared        skipped where the real models are not there
    # tolerance: 1e-4      numbers of stdout and stderr may differ by this much relatively; texts may not
    # stderr: any          what goes to stderr is not compared
    # sanitizer: REASON    not run under AddressSanitizer, where it takes minutes

The folder's own path is written as $PWD in what is expected, the repository's as $ROOT.
"""
import difflib
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
import workplace

HERE = Path(__file__).resolve().parent


def says(script, name):
    found = re.search(rf"^# {name}: (.*)$", script, re.M)
    return found.group(1).strip() if found else None


def run(build, script, model):
    """(stdout, stderr, status) of a case in a new folder."""
    with tempfile.TemporaryDirectory(prefix="sonde-cli-") as folder:
        folder = str(Path(folder).resolve())
        workplace.make(folder, model)
        out, err, status = workplace.run(["sh", "-u", str(script)], folder, build)
        cleaned = [text.replace(str(model).encode(), b"tiny").replace(folder.encode(), b"$PWD").replace(str(workplace.ROOT).encode(), b"$ROOT")
                   for text in (out, err)]
        return cleaned[0], cleaned[1], str(status).encode() + b"\n"


def expected(script, kind):
    path = script.with_suffix("." + kind)
    return path.read_bytes() if path.exists() else (b"0\n" if kind == "status" else b"")


def update(script, results):
    for kind, got in zip(("stdout", "stderr", "status"), results):
        path = script.with_suffix("." + kind)
        if got == (b"0\n" if kind == "status" else b"") or (kind == "stderr" and says(script.read_text(), "stderr") == "any"):
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(got)


def complaints(script, results):
    """What is not as expected, as text; "" if all is."""
    text, lines = script.read_text(), []
    tolerance = says(text, "tolerance")
    for kind, got in zip(("stdout", "stderr", "status"), results):
        want = expected(script, kind)
        if kind == "stderr" and says(text, "stderr") == "any":
            continue
        if workplace.differs(got, want, float(tolerance) if tolerance else None):
            texts = [text.decode(errors="backslashreplace").splitlines() for text in (want, got)]
            lines += difflib.unified_diff(*texts, f"{script.stem}.{kind}", "what came", lineterm="", n=1)
    return "\n".join(lines)


def is_sanitized(build):
    cache = Path(build) / "CMakeCache.txt"
    return cache.exists() and re.search(r"^SONDE_SANITIZE:BOOL=(ON|1)$", cache.read_text(), re.M) is not None


def main():
    words = [w for w in sys.argv[1:] if w != "--update"]
    build, names = words[0], words[1:]
    scripts = [HERE / f"{name}.sh" for name in names] or sorted(HERE.glob("*.sh"))
    skipped = [s for s in scripts if says(s.read_text(), "needs") == "shared" and not workplace.has_shared()]
    scripts = [s for s in scripts if s not in skipped]
    for script in skipped:
        print(f"skip: cli/{script.stem}: no models in '{workplace.SHARED}'")
    if not names and is_sanitized(build):
        scripts = [s for s in scripts if not says(s.read_text(), "sanitizer")]
    with tempfile.TemporaryDirectory(prefix="sonde-cli-") as folder, ThreadPoolExecutor(2) as pool:
        model = Path(folder).resolve() / "tiny"
        workplace.write_model(model)
        results = list(pool.map(lambda script: run(build, script, model), scripts))
    if "--update" in sys.argv:
        for script, result in zip(scripts, results):
            update(script, result)
        return 0
    failed = [text for text in map(complaints, scripts, results) if text]
    print("\n".join(failed))
    print(f"{len(scripts)} cases, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0 if scripts else 77


if __name__ == "__main__":
    sys.exit(main())
