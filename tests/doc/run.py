#!/usr/bin/env python3
"""Runs what the documents tell people to run.

    tests/doc/run.py BUILD docs     the ```sh blocks of README.md and docs/**/*.md
    tests/doc/run.py BUILD help     the examples of every `sonde COMMAND --help`
    tests/doc/run.py BUILD update   writes what the blocks print now into the pages

The blocks of a page run in order, each with sh -eu, in one folder made by tests/workplace.py (`models`, `stories15M`,
`stories.jsonl`, the program as `sonde` and as `build/sonde`, MODEL=models/stories); each must end with status 0. A comment
before a block says otherwise:

    <!-- not run: REASON -->        it is not run
    <!-- status: 1 -->              it must end with this status

and before a ```text or ```json block that follows one: <!-- printed --> what was printed must be that text, but that numbers
may differ by what kernels round.
"""
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.dont_write_bytecode = True
import workplace

TOLERANCE = 5e-3
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)^```$", re.M | re.S)


def run(command, folder, build):
    """(status, stdout, what to show) of shell text."""
    out, err, status = workplace.run(["sh", "-eu", "-c", command], folder, build)
    out, err = out.decode(errors="replace"), err.decode(errors="replace")
    return status, out, (out[-1500:] + err[-1500:]).strip()


def make_folder(folder, build):
    workplace.make(folder)
    (Path(folder) / "build").mkdir()
    (Path(folder) / "build" / "sonde").symlink_to(Path(build).resolve() / "sonde")


def check_page(path, build, updates):
    """(runs, problems) of one page; where it `updates`, what is printed is written into the page."""
    text, n, problems, printed = path.read_text(), 0, [], None
    page = text
    with tempfile.TemporaryDirectory(prefix="sonde-doc-") as folder:
        make_folder(folder, build)
        for block in BLOCK.finditer(text):
            place = f"{path.relative_to(workplace.ROOT)}:{text.count(chr(10), 0, block.start()) + 1}"
            mark, body = block["mark"] or "", block["body"]
            if block["kind"] in ("sh", "bash", "console") and not re.match(r"not run: \S", mark):
                want = int(mark.split(":")[1]) if mark.startswith("status:") else 0
                status, printed, shown = run(body, folder, build)
                n += 1
                if status != want:
                    problems.append(f"{place}: status {status}, want {want}\n{body}{shown}")
            elif mark == "printed" and printed is None:
                problems.append(f"{place}: nothing is run before it")
            elif mark == "printed" and workplace.differs(printed.rstrip().encode(), body.rstrip().encode(), TOLERANCE):
                if updates:
                    page = page.replace(block.group(), block.group().replace("\n" + body, "\n" + printed.rstrip() + "\n", 1))
                else:
                    problems.append(f"{place}: printed\n{printed}want\n{body}")
    if page != text:
        path.write_text(page)
    return n, problems


def check_docs(build, updates):
    pages = [workplace.ROOT / "README.md", *sorted((workplace.ROOT / "docs").rglob("*.md"))]
    n, problems = 0, []
    for path in pages:
        if path.exists():
            n_page, problems_page = check_page(path, build, updates)
            n += n_page
            problems += problems_page
    return n, problems


def commands_of(folder, build):
    """Commands that `sonde --help` lists: indented lines that begin with a name, as `  info    ...`."""
    _, text, _ = run("sonde --help", folder, build)
    names = re.findall(r"^ {1,4}([a-z][a-z-]+(?: [a-z]+)?)  +\S", text, re.M)
    return list(dict.fromkeys(name for name in names if not name.startswith("sonde")))


def check_help(build):
    n, problems = 0, []
    with tempfile.TemporaryDirectory(prefix="sonde-help-") as folder:
        make_folder(folder, build)
        commands = commands_of(folder, build)
        if len(commands) < 5:
            problems.append(f"'sonde --help' lists {len(commands)} commands: {commands}")
        for command in commands:
            status, text, shown = run(f"sonde {command} --help", folder, build)
            examples = re.findall(r"^  ((?:\w+=\S+ )*sonde .*)$", text, re.M)
            if status != 0 or len(examples) < 2:
                problems.append(f"sonde {command} --help: status {status}, {len(examples)} examples, want 2\n{shown}")
            for example in examples:
                status, _, shown = run(example, folder, build)
                n += 1
                if status != 0:
                    problems.append(f"{example}\nstatus {status}\n{shown}")
    return n, problems


def main():
    build, what = sys.argv[1:3]
    if not (Path(build) / "sonde").exists():
        sys.exit(f"no program at '{build}/sonde'")
    n, problems = check_help(build) if what == "help" else check_docs(build, what == "update")
    if not workplace.has_shared():
        print(f"skip: examples run on a tiny random model: no 'models/stories15M' in '{workplace.SHARED}'")
    for problem in problems:
        print(problem + "\n")
    print(f"{n} examples, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
