"""Real covariates with outcomes whose effect is known: IHDP, the ACIC challenges, twins."""

from os import PathLike
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import DataError, Sample, as_key, to_device
from jcausal.datasets._read import read_table
from jcausal.simulate import Simulated

ALIVE = 9999  # days: lived through the first year
CODED = ("pldel", "resstatb")  # of the twins: kinds, beside the codes 1, 2 and 8 (not stated)
SLOPES = dict(gestat=-0.6, wtgain=-0.3, nprevist=-0.3, cigar=0.2)
INTERCEPT = -1.2


def ihdp(
    covariates: str | PathLike, outcomes: str | PathLike, *, replication: int = 1
) -> Simulated:
    """The Infant Health and Development Program: real covariates, one of the NPCI's outcomes.

    747 infants, 139 treated, 25 covariates of child and mother; outcomes drawn by response surface
    B (effects that differ; ATT 4 in each replication).

    **Arguments:**

    - `covariates`: a CSV file with `unit`, `treatment`, x1 to x25.
    - `outcomes`: one with `rep`, `unit`, `y_factual`, `y_cfactual`, `mu0`, `mu1`.
    - `replication`: which `rep`.

    **Returns:** `jc.simulate.Simulated`: `ite` is mu1 - mu0.

    **Raises:** `DataError` for other columns, units or replications; OSError.

    **Source:** Hill (2011), Journal of Computational and Graphical Statistics 20(1).
    """
    names = [f"x{j}" for j in range(1, 26)]
    frame, drawn = _joined(
        "IHDP",
        (covariates, ["unit", "treatment", *names]),
        (outcomes, ["rep", "unit", "y_factual", "y_cfactual", "mu0", "mu1"]),
        replication,
    )
    t = frame["treatment"].to_numpy(bool)
    seen, other = (drawn[name].to_numpy() for name in ("y_factual", "y_cfactual"))
    both = np.where(t, other, seen), np.where(t, seen, other)
    sample = _sample(frame[names], t, seen)
    return _with_truth(sample, *both, (drawn["mu1"] - drawn["mu0"]).to_numpy())


def acic2016(
    covariates: str | PathLike, outcomes: str | PathLike, *, replication: int = 1
) -> Simulated:
    """The 2016 challenge of the Atlantic Causal Inference Conference, one of its data sets.

    4,802 births with 58 covariates, three of them categories; treatment and outcomes drawn.

    **Arguments:**

    - `covariates`: a CSV file with `unit`, x_1 to x_58.
    - `outcomes`: one with `rep`, `unit`, `z`, `y0`, `y1`, `mu0`, `mu1`.
    - `replication`: which `rep`.

    **Returns:** `jc.simulate.Simulated`: `ite` is mu1 - mu0.

    **Raises:** `DataError` for other columns, units or replications; OSError.

    **Source:** Dorie, Hill, Shalit, Scott and Cervone (2019), Statistical Science 34(1).
    """
    frame, drawn = _joined(
        "ACIC 2016",
        (covariates, ["unit", *_acic_names()]),
        (outcomes, ["rep", "unit", "z", "y0", "y1", "mu0", "mu1"]),
        replication,
    )
    t = drawn["z"].to_numpy(bool)
    y0, y1 = (drawn[name].to_numpy() for name in ("y0", "y1"))
    sample = _sample(frame[_acic_names()], t, np.where(t, y1, y0))
    return _with_truth(sample, y0, y1, (drawn["mu1"] - drawn["mu0"]).to_numpy())


def acic2017(
    covariates: str | PathLike, outcomes: str | PathLike, *, setting: int = 1
) -> Simulated:
    """The 2017 challenge of the Atlantic Causal Inference Conference, one of its 32 settings.

    4,302 births with 58 covariates, seven of them categories; treatment and outcomes drawn from
    eight of them.

    **Arguments:**

    - `covariates`: a CSV file with `unit`, x_1 to x_58.
    - `outcomes`: one with `setting`, `unit`, `z`, `y`, `y_cf`, `alpha` (the unit's effect).
    - `setting`: 1 to 32.

    **Returns:** `jc.simulate.Simulated`: `ite` is alpha.

    **Raises:** `DataError` for other columns, units or settings; OSError.

    **Source:** Hahn, Dorie and Murray (2019), arXiv 1905.09515.
    """
    frame, drawn = _joined(
        "ACIC 2017",
        (covariates, ["unit", *_acic_names()]),
        (outcomes, ["setting", "unit", "z", "y", "y_cf", "alpha"]),
        setting,
    )
    t = drawn["z"].to_numpy(bool)
    seen, other = (drawn[name].to_numpy() for name in ("y", "y_cf"))
    both = np.where(t, other, seen), np.where(t, seen, other)
    return _with_truth(_sample(frame[_acic_names()], t, seen), *both, drawn["alpha"].to_numpy())


def twins(path: str | PathLike, *, key: PRNGKeyArray | Array | int = 0) -> Simulated:
    """Twin births: the heavier twin's death in the first year against the lighter's.

    11,400 pairs of the same sex under 2 kg, 30 covariates of the pregnancy. Of each pair one twin
    is seen: the heavier ("treated") with the probability expit(-1.2 - .6 gestat - .3 wtgain - .3
    nprevist + .2 cigar), covariates standardised, drawn by `key`. Codes 1, 2, 8 (yes, no, not
    stated) and the kinds of place are categories.

    **Arguments:** `path`: a CSV file with the 30 covariates, `days0`, `days1`: age at death of the
    lighter and the heavier twin in days, 9999 for those who lived through the first year.

    **Returns:** `jc.simulate.Simulated`: outcomes 0 and 1, `ite` the difference in each pair.

    **Raises:** `DataError` for other columns; OSError.

    **Source:** Almond, Chay and Lee (2005), Quarterly Journal of Economics 120(3); as a benchmark
    Louizos et al. (2017), NeurIPS 30.
    """
    frame = read_table(path, "twins", [*SLOPES, *CODED, "days0", "days1"])
    table = frame[[name for name in frame.columns if name not in ("days0", "days1")]]
    columns = table[list(SLOPES)].to_numpy(float)
    z = (columns - columns.mean(0)) / columns.std(0, ddof=1)
    logit = INTERCEPT + z @ np.array(list(SLOPES.values()))
    draw = np.asarray(jax.random.uniform(as_key(key, "twins"), (len(frame),)), np.float64)
    t = draw < 1 / (1 + np.exp(-logit))
    died = (frame[["days0", "days1"]] != ALIVE).to_numpy(float)
    codes = [name for name in table.columns if set(table[name]) <= {1, 2, 8}]
    sample = _sample(table, t, np.where(t, died[:, 1], died[:, 0]), [*codes, *CODED])
    return _with_truth(sample, died[:, 0], died[:, 1], died[:, 1] - died[:, 0])


def _acic_names() -> list[str]:
    return [f"x_{j}" for j in range(1, 59)]


def _joined(
    what: str,
    covariates: tuple[str | PathLike, list[str]],
    outcomes: tuple[str | PathLike, list[str]],
    which: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The covariates, and the outcomes of one draw, unit by unit.

    **Raises:** `DataError` when the draw is not there, or is of other units.
    """
    frame = read_table(covariates[0], what, covariates[1])
    every = read_table(outcomes[0], what, outcomes[1])
    word = outcomes[1][0]
    drawn = every[every[word] == which]
    if drawn.empty:
        known = sorted(every[word].unique().tolist())
        raise DataError(f"{outcomes[0]} has no {word} {which!r}: it has {known[0]} to {known[-1]}.")
    drawn = drawn.set_index("unit").reindex(frame["unit"])
    lost = int(drawn[outcomes[1][2]].isna().sum())
    if lost:
        raise DataError(f"{lost} of {len(frame)} units have no outcome in {word} {which}.")
    return frame, drawn


def _sample(
    table: Any, t: np.ndarray, y: np.ndarray, categorical: list[str] | None = None
) -> Sample:
    """The covariates but for those that do not vary, with what is seen; text is a category."""
    varies = [name for name in table.columns if table[name].nunique() > 1]
    frame = table[varies].assign(treatment=t.astype(int), outcome=y)
    said = categorical or [name for name in varies if table[name].dtype.kind not in "iufb"]
    kinds = [name for name in said if name in varies]
    return Sample.from_frame(frame, treatment="treatment", outcome="outcome", categorical=kinds)


def _with_truth(
    sample: Sample,
    y0: Float[np.ndarray, " n"],
    y1: Float[np.ndarray, " n"],
    ite: Float[np.ndarray, " n"],
) -> Simulated:
    dtype = sample.x.dtype
    parts = dict(ite=ite, y0=y0, y1=y1)
    return Simulated(sample, **{n: to_device(np.asarray(a, dtype)) for n, a in parts.items()})
