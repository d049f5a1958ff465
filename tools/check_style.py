#!/usr/bin/env python3
"""Checks the style bar in numbers: lengths of functions and files, share of comments, words that may not stand in the tree.

    tools/check_style.py [--list] [ROOT]     ROOT is the folder that has src/ (default: this repository)

Functions of src/ and cli/: median <= 15 lines, 90th percentile <= 45, none over 100 (signature and braces counted).
Files: none over 1000 lines. A file whose first line says "generated" or "SIMD" is exempt from both.
Comment lines of src/ and of cli/: 15 to 30 % of the lines that are not empty.
The library (src/ without src/base/) prints nothing, exits nowhere, takes memory and files through base/ alone.

Prints a line for each problem, what can be clicked on first, and exits 1 if there is any; --list adds the longest
functions and files. Python's standard library only.
"""
import re
import sys
from pathlib import Path

MEDIAN, P90, HARD, FILE_TARGET, FILE_HARD = 15, 45, 100, 400, 1000
COMMENTS = (0.15, 0.30)

# A comment, a string or a character constant; comments win over the quotes inside them, and the reverse.
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
EXEMPT = re.compile(r"\b(generated|SIMD)\b", re.I)
FLOOR = re.compile(r"\bfloor (\d+): (\w+)")
# Words are spelt in two halves, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|#\s*if 0\b|\b(not imple" r"mented|unimple" r"mented|place"
                        r"holder|simplified ver" r"sion|for no" r"w)\b")
FAST_MATH = re.compile(r"-ffast-" r"math|-Ofa" r"st\b")
CALLS = re.compile(r"(?<![\w.>])(v?f?printf|puts|putchar|perror|exit|_exit|quick_exit|abort|malloc|calloc|realloc|free|strdup|"
                   r"strndup|fopen|open|creat|setlocale|signal|sigaction)\s*\(")


def is_exempt(text):
    return bool(EXEMPT.search(text.split("\n", 1)[0]))


def blank(match):
    """A comment or string as spaces of the same lines; quotes stay."""
    body = re.sub(r"[^\n]", " ", match.group())
    return body if match.group()[0] == "/" else '"' + body[2:] + '"'


def comment_lines(text):
    lines = set()
    for match in TOKEN.finditer(text):
        if match.group()[0] == "/":
            first = text.count("\n", 0, match.start())
            lines.update(range(first, first + match.group().count("\n") + 1))
    return len(lines)


def functions(text):
    """(name, first line, number of lines) of each function. clang-format puts its braces, and only those, alone in column 0."""
    lines = TOKEN.sub(blank, text).split("\n")
    start = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{":
            start = i - 1
            while start > 0 and lines[start][:1] in (" ", "\t") and lines[start].strip():
                start -= 1
        elif line.startswith("}") and start is not None:
            signature = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", " ".join(lines[start:i]))
            name = re.search(r"(\w+)\s*\(", signature)
            yield (name.group(1) if name else "?", start + 1, i - start + 1)
            start = None


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))] if sorted_values else 0


def read_floors():
    floors = {}
    for line in (Path(__file__).parent / "floors.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["floor"]:
            floors[words[2]] = words[1]
    return floors


def check_text(path, text, floors):
    """What is wrong in one C file, whatever the others are."""
    lines = text.split("\n")
    if not lines[0].startswith("/* "):
        yield f"{path}:1: line 1 is not a comment that says what the file is"
    said = FLOOR.search(lines[0])
    if said and floors.get(said.group(2)) != said.group(1):
        yield f"{path}:1: says floor {said.group(1)}: {said.group(2)}, which tools/floors.txt does not"
    if len(lines) - 1 > FILE_HARD and not is_exempt(text):
        yield f"{path}:1: {len(lines) - 1} lines, more than {FILE_HARD}"
    if not is_exempt(text):
        for name, line, n in functions(text):
            if n > HARD:
                yield f"{path}:{line}: {name} has {n} lines, more than {HARD}"
    for number, line in enumerate(lines, 1):
        found = UNFINISHED.search(line)
        if found:
            yield f"{path}:{number}: '{found.group().strip()}'"
    if path.parts[0] == "src" and path.parts[1] != "base":
        for number, line in enumerate(TOKEN.sub(blank, text).split("\n"), 1):
            for found in CALLS.finditer(line):
                yield f"{path}:{number}: calls {found.group(1)}(): the library goes through base/ for that"


def check_lengths(tree, texts):
    lengths = sorted(n for path, text in texts if not is_exempt(text) for _, _, n in functions(text))
    median, p90 = percentile(lengths, 0.5), percentile(lengths, 0.9)
    print(f"style: {tree}: {len(lengths)} functions, median {median} lines, 90th percentile {p90}, "
          f"longest {lengths[-1] if lengths else 0}")
    if median > MEDIAN:
        yield f"{tree}: half of the functions have more than {MEDIAN} lines: median {median}"
    if p90 > P90:
        yield f"{tree}: a tenth of the functions has more than {P90} lines: 90th percentile {p90}"


def check_comments(tree, texts):
    handwritten = [text for _, text in texts if not re.search(r"\bgenerated\b", text.split("\n", 1)[0], re.I)]
    written = sum(1 for text in handwritten for line in text.split("\n") if line.strip())
    share = sum(map(comment_lines, handwritten)) / max(written, 1)
    print(f"style: {tree}: {written} lines, {100 * share:.1f} % of them with comments")
    if not COMMENTS[0] <= share <= COMMENTS[1]:
        yield f"{tree}: {100 * share:.1f} % of the lines have comments, outside {COMMENTS[0]:.0%} to {COMMENTS[1]:.0%}"


def check_flags(root):
    files = [root / "CMakeLists.txt", root / "CMakePresets.json", root / "Makefile"]
    for path in files + sorted(root.glob("cmake/*")) + sorted(root.glob("*/CMakeLists.txt")) + sorted(root.glob("src/**/*.[ch]")):
        if path.is_file():
            for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
                if FAST_MATH.search(line):
                    yield f"{path.relative_to(root)}:{number}: '{FAST_MATH.search(line).group()}' makes NaN pass isnan"


def list_longest(texts):
    """What to work on: the longest functions and files, and each folder's share of comments."""
    folders = {}
    for path, text in texts:
        folders.setdefault(path.parent, []).append(text)
    for folder, inside in sorted(folders.items()):
        written = sum(1 for text in inside for line in text.split("\n") if line.strip())
        print(f"  {100 * sum(map(comment_lines, inside)) / written:4.1f} % comments in {written} lines  {folder}")
    found = sorted(((n, f"{path}:{line}: {name}") for path, text in texts for name, line, n in functions(text)), reverse=True)
    for n, place in found[:20]:
        print(f"  {n:4d} lines  {place}")
    for n, path in sorted(((text.count(chr(10)), path) for path, text in texts), reverse=True):
        if n > FILE_TARGET:
            print(f"  {n:4d} lines  {path} (aim: {FILE_TARGET})")


def main():
    words = [w for w in sys.argv[1:] if w != "--list"]
    root = Path(words[0] if words else Path(__file__).parent.parent).resolve()
    floors, problems, everything = read_floors(), [], []
    for tree in ("include", "src", "cli"):
        files = sorted(p for p in (root / tree).rglob("*") if p.suffix in (".c", ".h"))
        texts = [(p.relative_to(root), p.read_text(errors="replace")) for p in files]
        everything += texts
        for path, text in texts:
            problems += check_text(path, text, floors)
        if tree != "include" and texts:
            problems += check_lengths(tree, texts)
            problems += check_comments(tree, texts)
    problems += check_flags(root)
    if "--list" in sys.argv:
        list_longest(everything)
    for line in problems:
        print(line)
    print(f"style: {len(everything)} files, {len(problems)} problems")
    return 1 if problems or not everything else 0


if __name__ == "__main__":
    sys.exit(main())
