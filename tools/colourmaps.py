#!/usr/bin/env python3
"""Makes src/plot/colour_tables.c: the two colour maps of plot, as 257 sRGB triples each.

    python3 tools/colourmaps.py > src/plot/colour_tables.c

Both are curves in OKLab (Ottosson 2020, "A perceptual color space for image processing"), walked in steps of equal
length, so that equal steps of a value look equal:

    sequential   lightness rises in a straight line from 0.22 to 0.94 while the hue turns from violet-blue through teal and
                 green to yellow; most of the way lies along blue-yellow, which people who do not tell red from green see
    diverging    two arms from one neutral point (entry 128) to blue and to red-orange, with the same lightness
                 and the same chroma at the same distance from it; blue against orange is the pair that colour-blind people tell

The numbers at the top are the whole design. `--check` prints lightness, steps and the steps as a deuteranope sees them
(Machado, Oliveira and Fernandes 2009, severity 1). Only the standard library is used.
"""

import math
import sys

N = 257  # odd, so that the middle of the diverging map is an entry

SEQUENTIAL = {"lightness": (0.22, 0.94), "hue": (282.0, 104.0), "chroma": (0.100, 0.050, 0.165)}
DIVERGING = {"lightness": (0.43, 0.965), "hue": (256.0, 38.0), "chroma": (0.0, 0.205, 0.132)}


def srgb_to_linear(c):
    return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4


def linear_to_srgb(c):
    return 12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055


def oklab_to_linear(L, a, b):
    l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (L - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )


def linear_to_oklab(r, g, b):
    l = max(0.0, 0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    m = max(0.0, 0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    s = max(0.0, 0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
        1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
        0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
    )


def deuteranope(r, g, b):
    return (
        0.367322 * r + 0.860646 * g - 0.227968 * b,
        0.280085 * r + 0.672501 * g + 0.047413 * b,
        -0.011820 * r + 0.042940 * g + 0.968881 * b,
    )


def polar(L, C, h):
    return (L, C * math.cos(math.radians(h)), C * math.sin(math.radians(h)))


def mix(ends, t):
    return ends[0] + (ends[1] - ends[0]) * t


def bezier(c, t):
    return (1 - t) ** 2 * c[0] + 2 * t * (1 - t) * c[1] + t * t * c[2]


def sequential(t):
    return polar(mix(SEQUENTIAL["lightness"], t), bezier(SEQUENTIAL["chroma"], t), mix(SEQUENTIAL["hue"], t))


def diverging(t):
    far = abs(2 * t - 1)
    dark, light = DIVERGING["lightness"]
    return polar(light + (dark - light) * far, bezier(DIVERGING["chroma"], far), DIVERGING["hue"][t > 0.5])


def distance(p, q):
    return math.dist(p, q)


def equal_steps(curve):
    """The curve at N places that lie equally far from each other along it."""
    fine = [curve(i / 8192) for i in range(8193)]
    along = [0.0]
    for p, q in zip(fine, fine[1:]):
        along.append(along[-1] + distance(p, q))
    points, i = [], 0
    for k in range(N):
        want = along[-1] * k / (N - 1)
        while i < 8191 and along[i + 1] < want:
            i += 1
        part = (want - along[i]) / (along[i + 1] - along[i])
        points.append(curve((i + min(part, 1.0)) / 8192))
    return points


def to_bytes(lab):
    rgb = [linear_to_srgb(max(c, 0.0)) for c in oklab_to_linear(*lab)]
    outside = max(max(-min(oklab_to_linear(*lab)), 0.0), max(rgb) - 1.0)
    if outside > 0.004:  # half a step of 8 bits
        raise SystemExit(f"colour {lab} is outside sRGB by {outside:.4f}")
    return [min(255, max(0, round(255 * c))) for c in rgb]


def check(name, table):
    linear = [[srgb_to_linear(c / 255) for c in rgb] for rgb in table]
    for who, labs in (("all", [linear_to_oklab(*c) for c in linear]),
                      ("deuteranope", [linear_to_oklab(*[min(1, max(0, x)) for x in deuteranope(*c)]) for c in linear])):
        steps = [distance(labs[i], labs[i + 16]) for i in range(0, N - 1, 16)]
        mean = sum(steps) / len(steps)
        print(f"{name} {who}: steps {min(steps) / mean:.3f} to {max(steps) / mean:.3f} of the mean {mean:.4f}; lightness "
              + " ".join(f"{labs[i][0]:.3f}" for i in range(0, N, 32)))


def main():
    tables = [("sequential", equal_steps(sequential)), ("diverging", equal_steps(diverging))]
    tables = [(name, [to_bytes(lab) for lab in points]) for name, points in tables]
    if "--check" in sys.argv:
        for name, table in tables:
            check(name, table)
        return
    print("/* colour_tables.c - generated by tools/colourmaps.py, which says how; do not edit. floor 2: plot */")
    print('#include "plot/colour.h"')
    for name, table in tables:
        print(f"\nconst unsigned char sondep_{name}_table[SONDEP_N_COLOURS][3] = {{")
        for i in range(0, N, 8):
            print("    " + " ".join("{%d, %d, %d}," % tuple(rgb) for rgb in table[i:i + 8]))
        print("};")


main()
