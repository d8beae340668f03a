"""Figures to put beside ours.

PAPER: Morucci et al. (2020), table 2, mean absolute error of the treated's effects over ATT, ten
runs of 600 units, 400 of them for training; BINARY (table 5), CORRELATED (table 6) and MANY
(table 7) likewise. PRUNED: its table 4, mean absolute error and seconds to match 300 units. CODE:
the authors' public R code, run by us on the second reading (dbarts, 200 trees, first 40 treated of
a run, 1 to 5 runs).
"""

from math import nan
from typing import NamedTuple


class Paper(NamedTuple):
    """A row of the paper's tables of errors; NaN where it has none."""

    mip: float
    fast: float
    bart: float
    best_other: float


PAPER = {
    "none/const": Paper(0.09, 0.05, 0.04, 0.25),
    "box/const": Paper(0.11, 0.16, 0.24, 0.24),
    "linear/const": Paper(0.17, 0.22, 0.14, 0.23),
    "quad/const": Paper(0.10, 0.04, 0.08, 0.22),
    "quad/const+4": Paper(0.02, 0.02, 0.02, 0.04),
    "box/box": Paper(0.30, 0.45, 0.65, 0.58),
    "binary/const": Paper(0.02, 0.02, 0.02, 0.02),
    "binary/binary+6": Paper(0.06, 0.06, 0.09, 0.18),
    "mixed/const": Paper(0.07, 0.12, 0.06, 0.10),
}
BINARY = {  # by the number of covariates; the other method is CEM
    2: Paper(0.02, 0.02, nan, 0.02),
    3: Paper(0.01, 0.01, nan, 0.02),
    5: Paper(0.02, 0.02, nan, 0.04),
    8: Paper(0.02, 0.02, nan, 0.09),
    10: Paper(0.02, 0.02, nan, 0.13),
}
CORRELATED = {
    "linear/linear": Paper(0.80, 1.12, 0.18, 0.94),
    "box/box": Paper(0.12, 0.16, 0.07, 0.13),
    "quad/quad": Paper(0.09, 0.09, 0.06, 0.13),
}
MANY = {
    "2 of 20": Paper(0.09, 0.12, 0.08, 0.10),
    "all": Paper(0.15, 0.20, 0.07, 0.19),
}

# The other columns of the same tables, by row; the paper took the best of 1, 3, 5, 7, 10 partners
# where a method has a number of them, and NA where CEM matched nobody.
_OTHERS = ("best CF", "CEM", "full", "genetic", "Mahalanobis", "propensity", "prognostic")
COMPARED = {
    name: dict(zip(_OTHERS, values))
    for name, values in {
        "2: none/const": (0.25, 1.01, 0.32, 0.36, 0.34, 0.37, 0.25),
        "2: box/const": (0.24, 0.24, 3.03, 0.66, 0.62, 3.05, 0.29),
        "2: linear/const": (0.26, 0.23, 0.82, 0.38, 0.36, 0.91, 0.28),
        "2: quad/const": (0.25, 0.22, 0.42, 0.38, 0.37, 0.45, 0.27),
        "2: quad/const+4": (0.16, nan, 0.21, 0.12, 0.11, 0.24, 0.04),
        "2: box/box": (0.73, 0.58, 2.59, 2.37, 1.02, 2.30, 0.94),
        "2: binary/const": (0.09, 0.02, 0.12, 0.49, 0.10, 0.10, 0.09),
        "2: binary/binary+6": (0.17, 0.20, 0.71, 0.97, 0.27, 0.61, 0.18),
        "2: mixed/const": (0.09, 0.12, 0.48, 0.15, 0.15, 0.55, 0.10),
        **{f"5: p = {p}": (nan, one.best_other, *[nan] * 5) for p, one in BINARY.items()},
        "6: linear/linear": (1.12, 0.94, 4.33, 4.64, 1.51, 3.81, 1.12),
        "6: box/box": (0.12, 0.22, 0.34, 0.16, 0.14, 0.15, 0.13),
        "6: quad/quad": (0.12, 0.22, 0.34, 0.13, 0.14, 0.15, 0.13),
        "7: 2 of 20": (0.08, nan, 0.44, 0.36, 0.22, 0.38, 0.10),
        "7: all": (0.17, nan, 0.29, 0.29, 0.22, 0.26, 0.19),
    }.items()
}
LALONDE = {  # its table 3: the ATT by each method against (CPS, PSID), $
    "AHB": (1720.0, 1762.0),
    "difference of means": (-7729.0, -14797.0),
    "full": (708.0, 816.0),
    "prognostic": (1319.0, 2224.0),
    "CEM": (3744.0, -2293.0),
    "Mahalanobis": (1181.0, -804.0),
    "propensity": (1576.0, 2144.0),
}


class Pruned(NamedTuple):
    """Error and seconds of the paper's table 4, by what is looked at."""

    everybody: tuple[float, float]
    nearest: tuple[float, float]  # 50 treated and 50 controls
    alike: tuple[float, float]  # predictions at most .4 apart
    near: tuple[float, float]  # every covariate at most .5 apart


PRUNED = {
    "linear/const": Pruned((0.063, 112.7), (0.070, 26.2), (0.066, 51.2), (0.063, 76.1)),
    "quad/const": Pruned((0.065, 100.3), (0.065, 12.5), (0.064, 26.1), (0.066, 48.9)),
    "box/const": Pruned((0.030, 66.6), (0.051, 4.5), (0.061, 6.7), (0.033, 36.5)),
}


class Code(NamedTuple):
    """The public code's errors: BART, Fast by the scripts, Fast by the package."""

    bart: float
    fast_scripts: float
    fast_package: float


CODE = {
    "none/const": Code(0.022, 0.010, 0.144),
    "box/const": Code(0.067, 0.122, 0.116),
    "linear/const": Code(0.047, 0.121, 0.115),
    "quad/const": Code(0.058, 0.115, 0.127),
    "binary/binary+6": Code(0.090, 0.056, 0.192),
}

EXPERIMENT = (1794.34, 671.0)  # LaLonde: the experiment's difference of means and its error, $
STACKED = {"psid": 1762.0, "cps": 1720.0}  # its table 3: the ATT against three files as one, $

# CPU seconds per treated unit of the authors' scripts (Fast, BART of 100 draws of 200 trees), one
# thread, by units matched and covariates; run by us.
SCRIPTS_SECONDS = {
    (100, 2): 0.22,
    (200, 2): 0.30,
    (400, 2): 0.59,
    (800, 2): 1.9,
    (200, 5): 6.2,
    (200, 10): 21.5,
    (200, 20): 69.0,
}

# CPU seconds per treated unit of the exact boxes of the authors' R package (GLPK), one thread, by
# units matched and covariates; run by us. With 200 units of 10 covariates it takes over 60.
GLPK_SECONDS = {(100, 2): 0.08, (200, 2): 0.53, (400, 2): 4.7, (200, 5): 22.6}

# Yang and Noor-E-Alam (arXiv 2604.27307), section 8: after matching, means over 30 draws of |SMD|
# and variance ratio of three covariates; mean CPU seconds of a draw by M5C_MF and M5C_M.
CDC_BALANCE = {
    "HighBP": (0.005420, 0.994167),
    "HighChol": (0.009771, 0.992210),
    "HvyAlcoholConsump": (0.000208, 1.001186),
}
CDC_SECONDS = {"M5Match": 117.827, "M5Model": 44.046}
