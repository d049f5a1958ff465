#!/usr/bin/env python3
"""Checks every #include of src/, cli/ and include/ against tools/floors.txt.

    tools/check_floors.py [ROOT]     ROOT is the folder that has src/ (default: this repository)

Prints one line for each include that reaches up, and exits 1 if there is any. Python's standard library only.
"""
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def read_table(path):
    """(module -> floor, header prefix -> modules) of floors.txt."""
    floors, parts = {}, {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "floor" and len(words) == 3:
            floors[words[2]] = int(words[1])
        elif words[0] == "part" and len(words) >= 3:
            parts[words[1]] = set(words[2:])
        else:
            sys.exit(f"{path}:{number}: neither a floor nor a part: '{line}'")
    return floors, parts


def module_of(path):
    """Module of a file of the tree: src/text/bpe.c -> text, include/sonde/text.h -> text, cli/main.c -> cli."""
    words = path.parts
    if words[0] == "src":
        return words[1] if len(words) > 2 else None
    if words[0] == "include":
        return path.stem
    return words[0]


def included_module(name, path, root, floors):
    """Module of an included header of ours; None for a header of the system or of another part."""
    if name == "sonde.h":
        return "sonde"
    if name.startswith("sonde/"):
        return Path(name).stem
    head = name.split("/")[0]
    if "/" in name and head in floors:
        return head
    if (root / path.parent / name).exists():
        return module_of(path)
    return None


def check_file(path, root, floors, parts):
    module = module_of(path)
    if module not in floors:
        yield f"{path}:1: module '{module}' is not in tools/floors.txt"
        return
    for number, line in enumerate((root / path).read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, name = match.groups()
        other = included_module(name, path, root, floors)
        place = f"{path}:{number}: '{name}'"
        if other is None:
            owners = next((who for prefix, who in parts.items() if name.startswith(prefix)), None)
            if owners is not None and module not in owners:
                yield f"{place} is for {', '.join(sorted(owners))} alone, not for {module}"
            elif bracket == '"':
                yield f"{place} is not a header of this tree"
        elif other not in floors:
            yield f"{place}: module '{other}' is not in tools/floors.txt"
        elif module == "cli" and "/" in name and not name.startswith("sonde/"):
            yield f"{place} is private to the library: the program stands on the public headers"
        elif other != module and floors[other] >= floors[module]:
            yield f"{place} is on floor {floors[other]}, {module} on floor {floors[module]}"
        elif other == module and path.parts[0] == "include" and bracket == '"':
            yield f"{place}: a public header includes <sonde/...>"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    floors, parts = read_table(Path(__file__).parent / "floors.txt")
    files = sorted(p for top in ("include", "src", "cli") for p in (root / top).rglob("*") if p.suffix in (".c", ".h"))
    problems = [line for p in files for line in check_file(p.relative_to(root), root, floors, parts)]
    for line in problems:
        print(line)
    print(f"floors: {len(files)} files, {len(problems)} includes that reach up")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
