#!/usr/bin/env python3
"""The checks of the house must turn red: each is given a small tree with one thing wrong, and one tree with nothing wrong."""
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"
HEAD = "/* good.c - a file that keeps the rules.                          floor 3: text */\n"
# Trees are judged on their share of comments and their median function, so this file stands beside each bad one.
GOOD = HEAD + "\n".join(f"/* Says what part_{i} gives. */\nint part_{i}(void)\n{{\n    int x = {i};\n    return x;\n}}\n"
                        for i in range(20))


def function(n_lines):
    lines = ["    x++; /* once more */" if i % 5 == 0 else "    x++;" for i in range(n_lines - 4)]
    return "\n".join(["int long_one(int x)", "{"] + lines + ["    return x;", "}", ""])


# (tool, file, its text, what the tool must say; "" where it must be content)
CASES = [
    ("check_floors.py", "src/text/good.c", '#include "base/base.h"\n', ""),
    ("check_floors.py", "src/text/bad.c", '#include "model/model.h"\n', "'model/model.h' is on floor 5, text on floor 3"),
    ("check_floors.py", "src/text/bad.c", "#  include <sonde/run.h>\n", "'sonde/run.h' is on floor 6, text on floor 3"),
    ("check_floors.py", "src/format/bad.c", '#include "kernel/kernel.h"\n', "on floor 2, format on floor 2"),
    ("check_floors.py", "src/model/bad.c", "#include <cblas.h>\n", "'cblas.h' is for kernel alone, not for model"),
    ("check_floors.py", "include/sonde/text.h", "#include <sonde/model.h>\n", "on floor 5, text on floor 3"),
    ("check_floors.py", "cli/bad.c", '#include "model/model.h"\n', "is private to the library"),
    ("check_floors.py", "src/attic/bad.c", "\n", "module 'attic' is not in tools/floors.txt"),
    ("check_style.py", "src/text/good.c", GOOD, ""),
    ("check_style.py", "src/text/bad.c", HEAD + function(101), "long_one has 101 lines, more than 100"),
    ("check_style.py", "src/text/good2.c", HEAD + function(100), ""),
    ("check_style.py", "src/text/bad.c", HEAD + "\n" * 1000, "1001 lines, more than 1000"),
    ("check_style.py", "src/text/good2.c", HEAD.replace("a file", "generated: a file") + "\n" * 1000, ""),
    ("check_style.py", "src/text/bad.c", HEAD + "/* TO" "DO: the rest */\n", "'TO" "DO'"),
    ("check_style.py", "src/text/bad.c", HEAD + "#if" " 0\n#endif\n", "'#if" " 0'"),
    ("check_style.py", "src/text/bad.c", HEAD + "void *p = malloc(1);\n", "calls malloc()"),
    ("check_style.py", "src/text/bad.c", HEAD + 'void f(void)\n{\n    fprintf(stderr, "x");\n}\n', "calls fprintf()"),
    ("check_style.py", "src/text/good2.c", HEAD + 'int n = snprintf(0, 0, "free(");\n', ""),
    ("check_style.py", "src/base/good2.c", HEAD.replace("3: text", "0: base") + "void *p = malloc(1);\n", ""),
    ("check_style.py", "src/text/bad.c", HEAD.replace("floor 3", "floor 4"), "says floor 4: text"),
    ("check_style.py", "src/text/bad.c", "int x;\n", "line 1 is not a comment"),
    ("check_style.py", "src/text/bad.c", HEAD + "int x;\n" * 900, "of the lines have comments, outside"),
    ("check_style.py", "src/text/bad.c", HEAD + (function(20) * 30).replace("long_one", "one"), "median 20"),
    ("check_style.py", "src/text/bad.c", HEAD + function(50) * 5, "90th percentile 50"),
    ("check_style.py", "CMakeLists.txt", "set(CMAKE_C_FLAGS -ffast-" "math)\n", "makes NaN pass isnan"),
]


def run(tool, name, text):
    with tempfile.TemporaryDirectory() as folder:
        for path, content in (("src/text/good.c", GOOD), (name, text)):
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_text(content)
        return subprocess.run([sys.executable, TOOLS / tool, folder], capture_output=True, text=True)


def main():
    failed = 0
    for tool, name, text, want in CASES:
        got = run(tool, name, text)
        is_right = got.returncode == 0 if want == "" else got.returncode == 1 and want in got.stdout
        if not is_right:
            failed += 1
            print(f"{tool} on {name}: want {want or 'no complaint'!r}, status {got.returncode}:\n{got.stdout}{got.stderr}")
    empty = subprocess.run([sys.executable, TOOLS / "check_floors.py", "/nonexistent"], capture_output=True)
    failed += empty.returncode == 0
    print(f"{len(CASES) + 1} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
