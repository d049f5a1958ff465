#!/usr/bin/env python3
"""Makes the reference pages from the public headers, and holds the headers to their own rule.

    tools/apidoc.py --update     writes docs/reference/api.md and docs/reference/statuses.md
    tools/apidoc.py --check      fails if a page is not current, an exported function lacks a part of its comment, or
                                 the headers declare something else than tests/abi/symbols.txt lists

A comment speaks for all declarations that follow it up to the next empty line. For exported functions it says what they
do, and has the sections Owns and Errors. Python's standard library only.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
SECTIONS = "Ties|Owns|Threads|Cost|Memory|Errors|Source|Reference|Since"
# One name or several: "Owns, Errors: as above."
SECTION = re.compile(rf"(?:(?<=^)|(?<=\s))((?:{SECTIONS})(?:, (?:{SECTIONS}))*):\s", re.M)
REQUIRED = ("Owns", "Errors")
EXPORTED = re.compile(r"SONDE_API[\w\s*]*?\b(sonde_\w+)\s*\(")


class Item:
    """A comment and the declarations that it speaks for, or a section's title (then there is no code)."""

    def __init__(self, comment, line):
        self.comment, self.line, self.code, self.title = comment, line, [], None

    def exported(self):
        return EXPORTED.findall("\n".join(self.code))


def comment_text(lines):
    """Text of a comment, without its stars."""
    text = "\n".join(lines).strip()
    text = text.removeprefix("/*").removesuffix("*/")
    return "\n".join(re.sub(r"^ \* ?", "", line).rstrip() for line in text.split("\n")).strip()


def wanted(code):
    """Declarations that belong in a reference: no guards, includes, language brackets, or helpers of lists."""
    return not re.match(r'#(ifndef|ifdef|if |else|endif|undef|include)|extern "C"|}$|#define SONDE_\w+_H$|#define SONDE_(\w+_ENUM|API|MUST_USE|PRINTF)\b', code)


def parse(text):
    """(head comment, items) of a header."""
    lines, items, head, i = text.split("\n"), [], None, 0
    item = None
    while i < len(lines):
        line = lines[i]
        if line.startswith("/*"):
            first = i
            while "*/" not in lines[i]:
                i += 1
            comment = comment_text(lines[first : i + 1])
            item = Item(comment, first + 1)
            banner = re.match(r"-{3,} (.*?) -{3,}$", comment)
            if head is None:
                head, item = comment, None
            elif banner:
                item.title, item.comment = banner.group(1), ""
                items.append(item)
                item = None
            else:
                items.append(item)
        elif not line.strip():
            item = None
        else:
            first = i
            # A declaration goes on to its last bracket; a #define to its last backslash.
            depth = line.count("{") + line.count("(") - line.count("}") - line.count(")")
            while (line.startswith("#") and lines[i].endswith("\\")) or (not line.startswith("#") and depth > 0
                                                                          and not line.startswith("extern")):
                i += 1
                depth += lines[i].count("{") + lines[i].count("(") - lines[i].count("}") - lines[i].count(")")
            code = "\n".join(lines[first : i + 1])
            if wanted(code):
                if item is None:
                    item = Item("", first + 1)
                    items.append(item)
                item.code.append(code)
        i += 1
    return head or "", items


def problems_of(path, items):
    for item in items:
        for name in item.exported():
            said = ", ".join(SECTION.findall(item.comment)).split(", ")
            what = SECTION.split(item.comment)[0].strip()
            lacks = [] if what else ["what it does"]
            lacks += [section for section in REQUIRED if section not in said]
            if lacks:
                yield f"{path.relative_to(ROOT)}:{item.line}: {name}: the comment lacks {', '.join(lacks)}"


def is_table(paragraph):
    """Aligned columns and formulas, which must keep their line breaks."""
    return any(re.search(r"\S {2,}\S|^ {2,}\S", line) for line in paragraph.split("\n"))


def as_markdown(comment):
    """Paragraphs flow, tables and formulas stay as they are, sections become a list."""
    out = []
    for paragraph in re.split(r"\n\s*\n", comment):
        words = SECTION.split(paragraph)
        if words[0].strip():
            body = words[0].rstrip("\n")
            out.append(f"```text\n{body}\n```" if is_table(body) else escape(" ".join(body.split())))
        bullets = [f"- **{name}:** {escape(' '.join(text.split()))}" for name, text in zip(words[1::2], words[2::2])]
        if bullets:
            out.append("\n".join(bullets))
    return "\n\n".join(out)


def escape(text):
    """Stars, bars and angle brackets mean themselves outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*<>|])", r"\\\1", p) for p in parts)


def item_title(item):
    code = "\n".join(item.code)
    names = item.exported() or re.findall(r"^#define (\w+)|^typedef .*?\b(sonde_\w+)(?:\(|;|\s*\{)|^enum \{ (\w+)", code, re.M)
    names = [n if isinstance(n, str) else next(filter(None, n)) for n in names]
    return ", ".join(f"`{n}`" for n in dict.fromkeys(names))


def api_page(headers):
    out = ["# The library, function by function",
           "Generated from the public headers by `make reference`; read them in this order, from easy to hard. "
           "What statuses mean is in [statuses.md](statuses.md)."]
    for path, head, items in headers:
        # The floor at the end of the first line is for the tree's own table.
        head = re.sub(r"\s+floor \d+: \w+", "", head, count=1)
        first, _, rest = head.partition("\n")
        out.append(f"## {escape(first.rstrip('.'))}")
        out.append(as_markdown(rest.strip()))
        for item in items:
            if item.title:
                out.append(f"### {item.title}")
            elif item.code:
                title = item_title(item)
                out.append(f"#### {title}" if title else "")
                out.append("```c\n" + "\n".join(item.code) + "\n```")
                out.append(as_markdown(item.comment))
    return "\n\n".join(part for part in out if part) + "\n"


def statuses_page():
    text = (ROOT / "include/sonde/base.h").read_text()
    rows = re.findall(r'X\((SONDE_\w+), (-?\d+), (\d+), "([^"]*)"\)', text)
    codes = {}
    for name, _, code, what in rows:
        codes.setdefault(int(code), []).append(f"{what} (`{name}`)")
    codes[1] = ["the answer is \"no\": nothing matched"]
    codes.setdefault(70, []).append("a bug of sonde's own")
    out = ["# Statuses and exit codes",
           "Generated from `SONDE_STATUS_LIST` in `include/sonde/base.h` by `make reference`.",
           "## What functions return\n",
           "| status | value | what it means | exit code |\n|---|---|---|---|\n"
           + "\n".join(f"| `{name}` | {value} | {what} | {code} |" for name, value, code, what in rows),
           "## What the program exits with\n",
           "| exit code | when |\n|---|---|\n"
           + "\n".join(f"| {code} | {'; '.join(codes[code])} |" for code in sorted(codes))]
    return "\n\n".join(part.rstrip("\n") for part in out) + "\n"


def main():
    # sonde.h includes the others in the order in which they are to be read.
    top = (ROOT / "include/sonde.h").read_text()
    names = re.findall(r"#include <(sonde/\w+\.h)>", top)
    files = [ROOT / "include" / name for name in names]
    headers = [(path, *parse(path.read_text())) for path in files]
    pages = {REFERENCE / "api.md": api_page(headers), REFERENCE / "statuses.md": statuses_page()}
    if "--update" in sys.argv:
        REFERENCE.mkdir(parents=True, exist_ok=True)
        for path, text in pages.items():
            path.write_text(text)

    problems = [line for path, _, items in headers for line in problems_of(path, items)]
    others = sorted(p.name for p in (ROOT / "include/sonde").glob("*.h") if p not in files)
    problems += [f"include/sonde.h:1: does not include sonde/{name}" for name in others]
    declared = {name for _, _, items in headers for item in items for name in item.exported()}
    listed = set((ROOT / "tests/abi/symbols.txt").read_text().split())
    problems += [f"{name}: declared, but not in tests/abi/symbols.txt (make symbols)" for name in sorted(declared - listed)]
    problems += [f"{name}: in tests/abi/symbols.txt, but in no public header" for name in sorted(listed - declared)]
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            problems.append(f"{path.relative_to(ROOT)}: not current (make reference)")
    for line in problems:
        print(line)
    print(f"apidoc: {len(declared)} functions in {len(headers)} headers, {len(problems)} problems")
    return 1 if problems or not declared else 0


if __name__ == "__main__":
    sys.exit(main())
