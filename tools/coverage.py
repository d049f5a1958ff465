#!/usr/bin/env python3
"""Prints the line coverage of each file of src/ and cli/, least covered first, from the .gcda files of a build folder.

    tools/coverage.py build-coverage
"""
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def lines_of(data):
    """(file, line, count) of one .gcda file, through gcov's JSON."""
    out = subprocess.run(["gcov", "--json-format", "--stdout", data], capture_output=True, text=True, cwd=data.parent, check=True)
    for text in out.stdout.splitlines():
        for file in json.loads(text)["files"]:
            for line in file["lines"]:
                yield file["file"], line["line_number"], line["count"]


def main():
    hits = {}
    for data in Path(sys.argv[1]).resolve().rglob("*.gcda"):
        for name, line, count in lines_of(data):
            path = Path(name)
            if path.is_absolute() and path.is_relative_to(ROOT):
                path = path.relative_to(ROOT)
            if path.parts[0] in ("src", "cli"):
                lines = hits.setdefault(str(path), {})
                lines[line] = lines.get(line, 0) + count
    rows = sorted((sum(c > 0 for c in lines.values()) / len(lines), len(lines), path) for path, lines in hits.items() if lines)
    for share, n, path in rows:
        print(f"{100 * share:6.1f} %  {n:5d} lines  {path}")
    total = sum(n for _, n, _ in rows)
    print(f"{100 * sum(share * n for share, n, _ in rows) / max(total, 1):6.1f} %  {total:5d} lines  in all")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
