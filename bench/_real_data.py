"""Real data with an answer beside them: a published one, an experiment's, or the truth."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from bench import _lalonde, _m5_cdc
from bench._published import EXPERIMENT

DATA = Path(__file__).parents[2] / "shared" / "data"


class Question(NamedTuple):
    """A sample and what the answer should be.

    `published`: the smallest and the largest of the answers that an interval should meet (the truth
    twice where it is known); `accept`: estimates that agree with them, where that is wider;
    `partitions`: at most so many random partitions, where each takes long; `source`: the set that
    it is asked of.
    """

    name: str
    sample: jc.Sample
    truth: str
    published: tuple[float, float] | None
    accept: tuple[float, float] | None = None
    partitions: int | None = None
    source: str = ""


class Table(NamedTuple):
    """A frame and the part that its columns play, for `Sample.from_frame` and for the command."""

    frame: pd.DataFrame
    treatment: str
    outcome: str
    covariates: tuple[str, ...]
    categorical: tuple[str, ...]
    missing: str = "error"

    def sample(self) -> jc.Sample:
        """The table as a sample."""
        return jc.Sample.from_frame(
            self.frame,
            treatment=self.treatment,
            outcome=self.outcome,
            covariates=self.covariates,
            categorical=self.categorical,
            missing=self.missing,  # type: ignore[arg-type]
        )

    def words(self, file: Path) -> list[str]:
        """What follows `jcausal estimate` when the frame is that file."""
        roles = [str(file), "--treatment", self.treatment, "--outcome", self.outcome]
        several = ["--covariates", *self.covariates, "--categorical", *self.categorical]
        return [*roles, *several, "--missing", self.missing]


class Absent(Exception):
    """A file that is not beside the repository."""


def _read(name: str) -> pd.DataFrame:
    """A file of ../shared/data."""
    if not (DATA / name).exists():
        raise Absent(f"{name} is not in ../shared/data")
    return pd.read_csv(DATA / name, low_memory=False)


NHEFS = (
    *("sex", "race", "age", "education", "smokeintensity"),
    *("smokeyrs", "exercise", "active", "wt71"),
)


def nhefs() -> Table:
    """Quitting smoking and weight gained 1971 to 1982 (kg): the 1,566 people weighed twice."""
    frame = _read("nhefs.csv.gz")
    frame = frame.loc[frame["wt82_71"].notna(), ["qsmk", "wt82_71", *NHEFS]]
    categorical = ("education", "exercise", "active")
    return Table(frame.reset_index(drop=True), "qsmk", "wt82_71", NHEFS, categorical)


RHC_LATER = ("dschdte", "dthdte", "lstctdte", "death", "t3d30")  # known after the first day only
RHC_NAMES = ("sadmdte", "ptid")
RHC_LEVELS = ("cat1", "cat2", "ca", "sex", "ninsclas", "race", "income")


def rhc() -> Table:
    """Right heart catheterisation on the first day and death within 30 days.

    All 53 columns that are known on the first day: categories of disease and of diagnosis,
    comorbidities, physiology, persons; among them the two scores surv2md1 and das2d3pc and the two
    columns with most gaps, adld3p and urin1, as in Connors et al. (1996) and in Hirano and Imbens
    (2001). A weight of 0 kg is a gap. Yes and No are 1 and 0.
    """
    frame = _read("rhc.csv.gz")
    frame["swang1"] = (frame["swang1"] == "RHC").astype(int)
    frame["wtkilo1"] = frame["wtkilo1"].where(frame["wtkilo1"] > 0)
    for name in frame.columns:
        if set(frame[name].dropna().unique()) == {"Yes", "No"}:
            frame[name] = (frame[name] == "Yes").astype(int)
    apart = {*RHC_LATER, *RHC_NAMES, "dth30", "swang1"}
    covariates = tuple(name for name in frame.columns if name not in apart)
    return Table(frame, "swang1", "dth30", covariates, RHC_LEVELS, "indicator")


TWINS_DRAW = "expit(-1.2 - 0.6 gestat - 0.3 wtgain - 0.3 nprevist + 0.2 cigar), standardised"
ALIVE = 9999  # days: lived through the first year


def twins(seed: int = 0) -> tuple[jc.Sample, float]:
    """The heavier twin's death in the first year against the lighter's, one of each pair seen.

    Which one is seen is drawn: the heavier ("treated") with probability `TWINS_DRAW`. Codes 1, 2, 8
    (yes, no, not stated) and the kinds of place are categories. The truth is the mean difference
    over the pairs whose heavier twin is seen.
    """
    frame = _read("twins.csv.gz")
    covariates = [name for name in frame.columns if name not in ("days0", "days1")]
    scores = frame[covariates]
    z = (scores - scores.mean()) / scores.std()
    logit = -1.2 - 0.6 * z["gestat"] - 0.3 * z["wtgain"] - 0.3 * z["nprevist"] + 0.2 * z["cigar"]
    t = np.random.default_rng(seed).uniform(size=len(frame)) < 1 / (1 + np.exp(-logit))
    died = (frame[["days0", "days1"]] != ALIVE).to_numpy(float)
    frame = scores.assign(heavier=t.astype(int), died=np.where(t, died[:, 1], died[:, 0]))
    codes = [name for name in covariates if set(scores[name]) <= {1, 2, 8}]
    sample = jc.Sample.from_frame(
        frame, treatment="heavier", outcome="died", categorical=[*codes, "pldel", "resstatb"]
    )
    return sample, float((died[:, 1] - died[:, 0])[t].mean())


def _ask_nhefs() -> list[Question]:
    truth = "published: 3.4 to 3.5 kg (Hernan and Robins, What If), of everybody; 2.9 to 4.0 agrees"
    return [Question("NHEFS", nhefs().sample(), truth, (3.4, 3.5), (2.9, 4.0))]


def _ask_rhc() -> list[Question]:
    truth = "published: .04 to .07 more deaths"
    return [Question("RHC", rhc().sample(), truth, (0.04, 0.07), partitions=3)]


def _ask_twins() -> list[Question]:
    sample, att = twins()
    truth = f"{att:.4f}, known; treated drawn by {TWINS_DRAW}"
    return [Question("twins", sample, truth, (att, att), partitions=5)]


def _ask_cdc() -> list[Question]:
    if not _m5_cdc.FILE.exists():
        raise Absent(f"{_m5_cdc.FILE.name} is not in ../shared/data")
    sample = _m5_cdc.draw(_m5_cdc.read(), 0)
    truth = f"unknown. {_m5_cdc.NO_EFFECT} {_m5_cdc.TREATED} treated of the first draw"
    return [Question("CDC", sample, truth, None, partitions=2)]


def _ask_lalonde(controls: str) -> list[Question]:
    """The effect, which the experiment knows to 671 $ only, and two placebos."""
    agree = "; 900 to 2,700 agrees, and the distance ranks nothing"
    found = []
    for one in _lalonde.questions(controls):
        placebo = one.name.startswith("placebo")
        published = (0.0, 0.0) if placebo else (EXPERIMENT[0], EXPERIMENT[0])
        truth = "0, a placebo" if placebo else f"the experiment's {one.truth}{agree}"
        name = f"LaLonde {controls.upper()}, {one.name}"
        accept = None if placebo else (900.0, 2700.0)
        found.append(Question(name, one.sample, truth, published, accept))
    return found


ASK: dict[str, Callable[[], list[Question]]] = {
    "nhefs": _ask_nhefs,
    "psid": lambda: _ask_lalonde("psid"),
    "cps": lambda: _ask_lalonde("cps"),
    "rhc": _ask_rhc,
    "twins": _ask_twins,
    "cdc": _ask_cdc,
}


def questions(names: Sequence[str]) -> Iterator[Question]:
    """The questions of the sets that are there; for the others the reason is printed."""
    for name in names:
        try:
            asked = ASK[name]()
        except Absent as reason:
            print(f"  {name}: skipped, {reason}", flush=True)
        else:
            yield from (one._replace(source=name) for one in asked)
