"""The data that `bench methods` asks of: simulated by the papers, or real with a known effect."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd

import jcausal as jc
from bench import _real_data
from bench._methods_ask import Case
from bench._published import COMPARED
from bench._real_data import DATA, Absent
from bench._tables import ROWS
from jcausal.simulate import Simulated

READING = "scripts"


class Suite(NamedTuple):
    """Rows of data sets and how many runs of each are asked.

    `rows`: their names; `draw`: a data set of a row and a seed; `truth`: whether single effects
    are known; `again`: whether another seed gives other data, not only another partition.
    """

    rows: tuple[str, ...]
    draw: Callable[[str, int], Case]
    runs: int
    said: str
    truth: bool = True
    again: bool = True


def _simulated(suite: str, draw: Callable[[str, int], Simulated]) -> Callable[[str, int], Case]:
    def case(row: str, seed: int) -> Case:
        data = draw(row, seed)
        return Case(suite, row, seed, data.sample, data)

    return case


def _ahb(row: str, seed: int) -> Simulated:
    return ROWS[row].draw(key=seed, reading=READING)


M5 = ("s1/conf", "s1/rand", "s2", "s3")


def _m5(row: str, seed: int) -> Simulated:
    return jc.simulate.m5(row, key=seed)


def _file(name: str) -> str:
    if not (DATA / name).exists():
        raise Absent(f"{name} is not in ../shared/data")
    return str(DATA / name)


def _ihdp(row: str, seed: int) -> Simulated:
    files = _file("ihdp_covariates.csv"), _file("ihdp_npci_50_outcomes.csv.gz")
    return jc.datasets.ihdp(*files, replication=seed + 1)


def _acic(row: str, seed: int) -> Simulated:
    files = _file("acic2016_covariates.csv.gz"), _file("acic2016_outcomes.csv.gz")
    return jc.datasets.acic2016(*files, replication=int(row))


@functools.cache
def _asked(name: str) -> tuple[_real_data.Question, ...]:
    return tuple(_real_data.ASK[name]())


REAL = ("psid", "cps", "nhefs", "rhc")


def real_rows() -> dict[str, _real_data.Question]:
    """The questions of the sets that are there, by name."""
    found = {}
    for name in REAL:
        try:
            found |= {question.name: question for question in _asked(name)}
        except Absent as reason:
            print(f"  {name}: skipped, {reason}", flush=True)
    return found


def _real(row: str, seed: int) -> Case:
    return Case("real", row, seed, real_rows()[row].sample, None)


def suites() -> dict[str, Suite]:
    """All of them, by the word of `--parts`."""
    tables = (
        f"Tables 2, 5, 6 and 7 of the AHB paper, in the reading '{READING}' of `jc.simulate`, 600 "
        "units each"
    )
    trees = (
        "S1 to S3, in place of the data of the M5 paper: 200 of 20,000 units treated, 20 covariates"
    )
    coverage = "Linear/Const and Quad/Const of the AHB paper's Table 2, 600 units"
    lalonde = "LaLonde's men with two placebos, NHEFS, RHC: seeds are partitions into folds"
    return {
        "ahb": Suite(tuple(COMPARED), _simulated("ahb", _ahb), 10, tables),
        "m5": Suite(M5, _simulated("m5", _m5), 30, trees),
        "ihdp": Suite(("IHDP",), _simulated("ihdp", _ihdp), 50, "IHDP, 747 infants, 25 covariates"),
        "acic": Suite(
            tuple(str(k) for k in range(1, 11)),
            _simulated("acic", _acic),
            1,
            "ACIC 2016, ten of its settings, 4,802 units with 58 covariates",
        ),
        "coverage": Suite(
            ("2: linear/const", "2: quad/const"), _simulated("coverage", _ahb), 200, coverage
        ),
        "real": Suite(tuple(real_rows()), _real, 100, lalonde, truth=False, again=False),
    }


def quick_cases() -> Iterator[Case]:
    """One small data set of each kind."""
    data = jc.simulate.ahb_table2("quad/const", key=0, n=300, reading=READING)
    yield Case("ahb", "2: quad/const", 0, data.sample, data)


def answers(row: str) -> str:
    """What the answer of a real question should be."""
    return real_rows()[row].truth


def paper_figures(row: str) -> pd.Series:
    """The AHB paper's errors of single effects over |ATT| in a row of its tables."""
    theirs = ROWS[row].paper
    return pd.Series(COMPARED[row] | dict(mip=theirs.mip, fast=theirs.fast, bart=theirs.bart))
