#!/usr/bin/env python3
"""Writes src/text/unicode_table.c and src/text/unicode_forms.c: Unicode as the `tokenizers` library sees it.

    tools/make_unicode_table.py [FOLDER]        needs tokenizers==0.23.3; about three minutes

The library stands on several Unicode databases of different versions: Oniguruma's for regular expressions, Rust's for
white space, numbers and lower case, an old one for normal forms, an older one for punctuation. So nothing is taken from a
published table: each property of each of the 1,112,064 code points is asked of the library itself, through its own
components, and what it answers is written down. A new version of the library means running this again.
"""
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

PINNED = "0.23.3"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERY = "".join(map(chr, POINTS))
STEP = 1 << 15
CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co").split()
# Sets that patterns name and that do not follow from the categories.
NAMED = ("Han Hiragana Katakana Hangul Bopomofo Latin Greek Cyrillic Armenian Hebrew Arabic Devanagari Bengali Gurmukhi Gujarati "
         "Oriya Tamil Telugu Kannada Malayalam Sinhala Thai Lao Tibetan Myanmar Georgian Ethiopic Khmer Mongolian Common "
         "Inherited Alphabetic Uppercase Lowercase Emoji Extended_Pictographic Punct").split()
POSIX = "alpha digit alnum upper lower punct space cntrl graph print xdigit word blank ascii".split()
# Flags of a code point, in the order of their bits.
FLAGS = "WORD REGEX_WORD SPACE NUMERIC PUNCTUATION MARK COMPOSED DECOMPOSED".split()


def kept(splitter, text=EVERY, points=POINTS):
    """The code points that a pre-tokenizer does not remove."""
    found = set()
    for base in range(0, len(points), STEP):
        for _, (start, end) in splitter.pre_tokenize_str(text[base:base + STEP]):
            found.update(points[base + start:base + end])
    return found


def matching(pattern):
    return kept(pre_tokenizers.Split(Regex(pattern), "removed", invert=True))


def regex_words():
    r"""\w of the other regular expressions (Rust's regex crate): what Whitespace joins to a letter."""
    found = set()
    for base in range(0, len(POINTS), STEP):
        chunk = POINTS[base:base + STEP]
        pieces = pre_tokenizers.Whitespace().pre_tokenize_str("".join("a" + chr(c) + "\n" for c in chunk))
        found.update(chunk[start // 3] for _, (start, end) in pieces if start % 3 == 0 and end == start + 2)
    return found


def alone(splitter):
    """The code points that an isolating pre-tokenizer splits off a letter."""
    found = set()
    for base in range(0, len(POINTS), STEP):
        chunk = POINTS[base:base + STEP]
        pieces = splitter.pre_tokenize_str("".join("a" + chr(c) for c in chunk))
        found.update(chunk[start // 2] for _, (start, end) in pieces if start % 2 == 1)
    return found


def changed(normalizer):
    """What a normalizer makes of each single code point, where that is something else."""
    out = {}
    for c in POINTS:
        result = normalizer.normalize_str(chr(c))
        if result != chr(c):
            out[c] = [ord(r) for r in result]
    return out


def combining_classes(nfd):
    """Combining classes from how NFD orders pairs of marks; a class is numbered by its order, the lowest that is not 0 is 1."""
    order = normalizers.NFD()
    swaps = lambda a, b: order.normalize_str(chr(a) + chr(b)) == chr(b) + chr(a)
    low, high = 0x334, 0x345  # an overlay (the lowest class) and the iota below (the highest)
    marks = [c for c in POINTS if c not in nfd and (swaps(high, c) or swaps(c, low) or c in (low, high))]
    groups = []  # sorted: one list of marks a class
    for mark in marks:
        at, stop = 0, len(groups)
        while at < stop:
            middle = (at + stop) // 2
            if swaps(mark, groups[middle][0]):
                at = middle + 1
            elif swaps(groups[middle][0], mark):
                stop = middle
            else:
                at = stop = middle
                groups[middle].append(mark)
                break
        else:
            groups.insert(at, [mark])
    return {mark: number + 1 for number, group in enumerate(groups) for mark in group}


def compositions(nfd):
    """(first, second) -> composed, from the decompositions that NFC takes back. Hangul is arithmetic and left out."""
    nfc, pairs = normalizers.NFC(), {}
    for c, parts in nfd.items():
        text = "".join(map(chr, parts))
        if len(parts) > 1 and not 0xAC00 <= c < 0xD7A4 and nfc.normalize_str(text) == chr(c):
            first = nfc.normalize_str(text[:-1])
            assert len(first) == 1, hex(c)
            pairs[ord(first), parts[-1]] = c
    return pairs


def orbits(categories):
    """Next code point of those that (?i) takes for the same, in a ring."""
    points = sorted(set().union(*(categories[k] for k in "Lu Ll Lt Lm Lo Mn Nl So".split())) - set(range(0x3400, 0x9FFF))
                    - set(range(0xAC00, 0xD7A4)) - set(range(0x17000, 0x18D00)) - set(range(0x20000, 0x110000)))
    text, spread, ring, seen = "\n".join(map(chr, points)), [p for c in points for p in (c, 0)], {}, set()
    cased = [c for c in points if chr(c).lower() != chr(c) or chr(c).upper() != chr(c) or chr(c).casefold() != chr(c)
             or 0x10D50 <= c < 0x10D90 or 0x1C80 <= c < 0x1C90 or 0xA7C0 <= c < 0xA7E0 or 0x16EA0 <= c < 0x16EE0]
    for c in cased:
        if c in seen:
            continue
        group = sorted(kept(pre_tokenizers.Split(Regex("(?i:\\x{%x})" % c), "removed", invert=True), text, spread) - {0})
        seen.update(group)
        if len(group) > 1:
            ring.update(zip(group, group[1:] + group[:1]))
    return ring


def ranges(points):
    out = []
    for c in sorted(points):
        if out and (out[-1][1] == c - 1 or (c == 0xE000 and out[-1][1] == 0xD7FF)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def array(ctype, name, values, form="%d", size=""):
    lines, line = [], "   "
    for value in values:
        text = " " + form % value + ","
        if len(line) + len(text) > 124:
            lines.append(line)
            line = "   "
        line += text
    return "%s %s[%s] = {\n%s\n};\n" % (ctype, name, size, "\n".join(lines + [line]))


HEAD = """/* %s - generated by tools/make_unicode_table.py from tokenizers %s: do not edit.   floor 3: text
 *
 * %s
 */
/* clang-format off */
#include "text/unicode.h"

"""


def write_table(folder, categories, flags, classes, ring):
    kinds, blocks, block_of, kind_of_block = {}, {}, [], []
    for base in range(0, 0x110000, 256):
        block = []
        for c in range(base, base + 256):
            kind = (categories.get(c, 28), flags.get(c, 0), classes.get(c, 0))
            block.append(kinds.setdefault(kind, len(kinds)))
        block_of.append(blocks.setdefault(tuple(block), len(blocks)))
    assert len(kinds) <= 256 and len(blocks) <= 65536
    for block in blocks:
        kind_of_block.extend(block)
    named = [(name, ranges(matching(r"[\p{%s}]+" % name))) for name in NAMED]
    named += [(name, ranges(matching("[[:%s:]]+" % name))) for name in POSIX]
    pool = [r for _, rows in named for r in rows]
    text = HEAD % ("unicode_table.c", PINNED, "Kinds of code points in blocks of 256, named sets as ranges, rings of letters that differ in case.")
    text += array("const uint16_t", "sondep_unicode_blocks", block_of, size="SONDEP_UNICODE_BLOCKS")
    text += "\n" + array("const uint8_t", "sondep_unicode_kinds", kind_of_block)
    text += "\nconst int sondep_unicode_n_kinds = %d;\n" % len(kinds)
    text += "const sondep_unicode_kind sondep_unicode_records[256] = {\n"
    text += "".join("    {%d, 0x%02x, %d},\n" % kind for kind in kinds) + "};\n"
    text += "\n" + array("const sondep_unicode_range", "sondep_unicode_ranges", [tuple(r) for r in pool], "{0x%x, 0x%x}")
    text += "\nconst int sondep_unicode_n_sets = %d, sondep_unicode_first_posix = %d;\n" % (len(named), len(NAMED))
    text += "const sondep_unicode_set sondep_unicode_sets[] = {\n"
    at = 0
    for name, rows in named:
        text += '    {"%s", %d, %d},\n' % (name, at, len(rows))
        at += len(rows)
    text += "};\n\nconst int sondep_unicode_n_cased = %d;\n" % len(ring)
    text += array("const sondep_unicode_range", "sondep_unicode_cased", sorted(ring.items()), "{0x%x, 0x%x}")
    (folder / "unicode_table.c").write_text(text)


def mapping(name, table):
    """A sorted table of code points, each with its replacement in a pool; the lengths are the differences of the starts."""
    keys, starts, pool = sorted(table), [], []
    for key in keys:
        starts.append(len(pool))
        pool.extend(table[key])
    assert len(pool) < 65536
    return ("\n" + array("static const uint32_t", name + "_keys", keys, "0x%x")
            + array("static const uint16_t", name + "_starts", starts + [len(pool)])
            + array("static const uint32_t", name + "_pool", pool, "0x%x")
            + "const sondep_unicode_map sondep_unicode_%s = {%d, %s_keys, %s_starts, %s_pool};\n" % (name, len(keys), name, name, name))


def write_forms(folder, nfd, nfkd, lower, pairs):
    hangul = lambda table: {c: v for c, v in table.items() if not 0xAC00 <= c < 0xD7A4}
    text = HEAD % ("unicode_forms.c", PINNED, "Full decompositions, compositions of pairs (Hangul is arithmetic) and lower case.")
    text += "const int sondep_unicode_n_pairs = %d;\n" % len(pairs)
    text += array("const sondep_unicode_pair", "sondep_unicode_pairs", [(a, b, c) for (a, b), c in sorted(pairs.items())], "{0x%x, 0x%x, 0x%x}")
    text += mapping("canonical", hangul(nfd)) + mapping("compatible", hangul(nfkd)) + mapping("lower", lower)
    (folder / "unicode_forms.c").write_text(text)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "src/text")
    if tokenizers.__version__ != PINNED:
        sys.exit("needs tokenizers %s, this is %s" % (PINNED, tokenizers.__version__))
    members = {k: matching(r"[\p{%s}]+" % k) for k in CATEGORIES}
    assert sum(map(len, members.values())) == len(POINTS)
    for major in "LMNPSZC":  # \p{L} is what its parts are
        assert matching(r"[\p{%s}]+" % major) == set().union(*(v for k, v in members.items() if k[0] == major))
    space = set(POINTS) - kept(pre_tokenizers.WhitespaceSplit())
    assert space == matching(r"[\s]+") and matching(r"[\d]+") == members["Nd"]
    nfd, nfkd, lower = (changed(n()) for n in (normalizers.NFD, normalizers.NFKD, normalizers.Lowercase))
    classes, pairs = combining_classes(nfd), compositions(nfd)
    seconds = {b for _, b in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    nfc = changed(normalizers.NFC())
    bits = [matching(r"[\w]+"), regex_words(), space, alone(pre_tokenizers.Digits(individual_digits=True)),
            alone(pre_tokenizers.Punctuation()), {c for c, v in changed(normalizers.StripAccents()).items() if not v},
            set(classes) | set(nfc) | seconds, set(classes) | set(nfkd)]
    assert set(nfd) <= bits[7]
    categories = {c: i for i, k in enumerate(CATEGORIES) for c in members[k]}
    flags = {}
    for i, points in enumerate(bits):
        for c in points:
            flags[c] = flags.get(c, 0) | 1 << i
    write_table(folder, categories, flags, classes, orbits(members))
    write_forms(folder, nfd, nfkd, lower, pairs)
    print("%d marks in %d classes, %d pairs, %d canonical, %d compatible, %d lower" %
          (len(classes), max(classes.values()), len(pairs), len(nfd), len(nfkd), len(lower)))


if __name__ == "__main__":
    main()
