"""Figures to put beside ours.

PAPER: Morucci et al. (2020), table 2, mean absolute error of the treated's effects over ATT, ten
runs of 600 units, 400 of them for training. CODE: the authors' public R code, run by us on the
second reading (dbarts, 200 trees, first 40 treated of a run, 1 to 5 runs).
"""

from typing import NamedTuple


class Paper(NamedTuple):
    """A row of the paper's table 2."""

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
