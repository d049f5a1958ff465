"""Golden numbers for include/sonde/analysis.h: statistics and similarities by numpy and scipy.

Writes tests/golden/analysis.json. Inputs are float32. Statistics are computed in exact fractions and compared with numpy and
scipy, whose definitions they are; similarities are scipy's in float64. What is not defined is null.

    python tests/oracle/analysis_golden.py
"""
import json
import math
import pathlib
import warnings
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import scipy
from scipy import spatial, stats

warnings.simplefilter("ignore")
THRESHOLD = 1e-3
rng = np.random.default_rng(7)


def number(x):
    return float(x) if math.isfinite(x) else None


def power_mean(x, centre, k):
    return sum((v - centre) ** k for v in x) / len(x)


def root(fraction):
    """The square root of a fraction, correct to the last bit of a double."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -9999, 9999
        return float((Decimal(fraction.numerator) / Decimal(fraction.denominator)).sqrt())


def series(name, values):
    x32 = np.asarray(values, dtype=np.float32)
    x = [Fraction(float(v)) for v in x32]
    mean = power_mean(x, 0, 1)
    m2, m3, m4 = (power_mean(x, mean, k) for k in (2, 3, 4))
    row = {
        "name": name,
        "x": [float(v) for v in x32],
        "mean": float(mean),
        "std": root(m2),
        "min": float(min(x)),
        "max": float(max(x)),
        "l2": root(sum(v * v for v in x)),
        "rms": root(power_mean(x, 0, 2)),
        "mean_abs": float(power_mean([abs(v) for v in x], 0, 1)),
        "sparsity": sum(v == 0 for v in x) / len(x),
        "below": sum(abs(v) < Fraction(THRESHOLD) for v in x) / len(x),
        "skewness": math.copysign(root(m3 * m3 / m2**3), m3) if m2 else None,
        "kurtosis": float(m4 / m2**2 - 3) if m2 else None,
    }
    against_numpy(row, x32.astype(np.float64))
    return row


def against_numpy(row, x):
    """The definitions are numpy's and scipy's; their own sums are off by up to 5e-10 for the mean of 1e6."""
    theirs = {"mean": x.mean(), "std": x.std(), "l2": np.linalg.norm(x), "sparsity": (x == 0).mean(),
              "skewness": stats.skew(x, bias=True), "kurtosis": stats.kurtosis(x, fisher=True, bias=True)}
    for which, value in theirs.items():
        if row[which] is not None and not abs(row[which] - value) <= 1e-8 * max(1.0, abs(row[which])):
            raise AssertionError(f"{row['name']}, {which}: {row[which]}, numpy has {value}")


def pair(name, a, b):
    a32, b32 = np.asarray(a, np.float32), np.asarray(b, np.float32)
    a, b = a32.astype(np.float64), b32.astype(np.float64)
    zero = not a.any() or not b.any()
    constant = a.min() == a.max() or b.min() == b.max()
    return {
        "name": name,
        "a": [float(v) for v in a32],
        "b": [float(v) for v in b32],
        "cosine": None if zero else number(1.0 - spatial.distance.cosine(a, b)),
        "pearson": None if constant else number(stats.pearsonr(a, b).statistic),
        "l2": number(np.linalg.norm(b - a)),
        "relative": number(np.linalg.norm(b - a) / np.linalg.norm(a)) if a.any() else None,
    }


normal = rng.normal(size=64)
golden = {
    "made_by": f"numpy {np.__version__}, scipy {scipy.__version__}",
    "threshold": THRESHOLD,
    "series": [
        series("normal", normal),
        series("one value", [2.5]),
        series("two values", [-1.0, 4.0]),
        series("constant", [0.1] * 17),
        series("zeros", [0.0, -0.0, 0.0]),
        series("mean 1e6, deviation 0.1", 1e6 + 0.1 * rng.normal(size=100)),
        series("one outlier", [0.0] * 99 + [1000.0]),
        series("ends of float", [3.4e38, -3.4e38, 1e-38, 1e-45, 0.0]),
        series("relu", np.maximum(rng.normal(size=101), 0.0)),
        series("around the threshold", [1e-3, -1e-3, 9.99e-4, -9.99e-4, 0.0, 1.0]),
        series("heavy tail", rng.standard_t(2, size=97)),
        series("skewed", rng.exponential(size=90) - 5.0),
    ],
    "pairs": [
        pair(f"normal {n}", rng.normal(size=n), rng.normal(size=n)) for n in (2, 3, 7, 8, 9, 16, 61)
    ] + [
        pair("alike", normal, normal + 1e-3 * rng.normal(size=64)),
        pair("far from 0, alike", normal + 1000.0, normal + 1000.0 + 0.01 * rng.normal(size=64)),
        pair("opposite", normal, -normal),
        pair("zero", [0.0, 0.0], [1.0, 2.0]),
        pair("to zero", [1.0, 2.0], [0.0, 0.0]),
        pair("constant", [3.0, 3.0, 3.0], [1.0, 2.0, 3.0]),
        pair("large", [3e38, -1e38, 2e37], [2e38, 1e38, 0.0]),
        pair("small", [3e-42, -1e-42, 2e-43], [2e-42, 1e-42, 0.0]),
    ],
}
path = pathlib.Path(__file__).parents[1] / "golden" / "analysis.json"
path.write_text(json.dumps(golden, indent=0) + "\n")
print(f"{path}: {path.stat().st_size} bytes")
