"""Overlap of the two arms in the chance of treatment."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    Sample,
    Shown,
    as_key,
    bucket,
    check_kind,
    like,
    number_in_words,
    pad_rows,
    rows_in_words,
    step_key,
)
from jcausal.diagnostics._compared import effective_size
from jcausal.diagnostics._overlap import common_area, weighted_quantiles
from jcausal.effects import EITHER, apart_words
from jcausal.matching import Estimand
from jcausal.surfaces import LOGISTIC, Propensity, chances_of, shares_beyond

QUANTILES = {"min": 0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
FEW = 30  # effective units of an arm
ARMS = ("controls", "treated")

_shares_beyond = jax.jit(shares_beyond)


class Overlap(Shown, eqx.Module):
    """How far the arms overlap in the chance of treatment. Made by `jc.overlap(sample)`.

    `scores` (n,), NaN for padding; `weights` (n,), what inverse probability weighting for the
    estimand gives each unit; `beyond` (2,), controls first, the share of an arm that the other one
    hardly reaches (controls below, treated above all but four of it, of a small arm one in 20);
    `slope` (k, f), standardised slopes of the model.
    """

    sample: Sample
    scores: Float[Array, " n"]
    weights: Float[np.ndarray, " n"]
    beyond: Float[Array, " 2"]
    slope: Float[Array, "k f"]
    estimand: Estimand = eqx.field(static=True)

    def of_arm(self, treated: bool) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Scores of one arm's units of positive weight, and their sampling weights."""
        weight = np.where(self.sample.valid, np.asarray(self.sample.weight, np.float64), 0)
        rows = (weight > 0) & (np.asarray(self.sample.t) == treated)
        return np.asarray(self.scores, np.float64)[rows], weight[rows]

    @property
    def effective(self) -> Float[np.ndarray, " 2"]:
        """Controls and treated, by the weights: (sum)^2 / sum of squares; NaN if they have none."""
        t, valid = np.asarray(self.sample.t), np.asarray(self.sample.valid)
        arms = [self.weights[valid & (t == arm)] for arm in (False, True)]
        return np.array([effective_size(w) if np.isfinite(w).all() else np.nan for w in arms])

    @property
    def shared(self) -> float:
        """The area that the arms' densities of the score share: 1 = equal, 0 = apart."""
        (low, one), (high, two) = self.of_arm(False), self.of_arm(True)
        treated = np.arange(len(low) + len(high)) >= len(low)
        return common_area(np.r_[low, high], treated, np.r_[one, two])

    def to_frame(self) -> Any:
        """By arm: units, quantiles of the score, share beyond the other arm, effective units.

        **Returns:** a frame of the kind that the sample was read from; `arm` is the index of a
        pandas frame, else the first column.
        """
        return like(self.sample.home, self._shown())

    def _shown(self) -> pd.DataFrame:
        rows = []
        for arm in (False, True):
            score, weight = self.of_arm(arm)
            found = weighted_quantiles(score, weight, list(QUANTILES.values()))
            row = dict(units=len(score)) | dict(zip(QUANTILES, found.tolist()))
            rows.append(row)
        table = pd.DataFrame(rows, index=pd.Index(ARMS, name="arm"))
        return table.assign(beyond=np.asarray(self.beyond), effective=self.effective)

    def summary(self) -> str:
        """Both arms' scores, what they share, what weighting leaves of them, and a warning."""
        table = self._shown()
        lines = [f"chance of treatment: the densities of the arms share {100 * self.shared:.0f}%"]
        for arm, row in zip(ARMS, table.to_dict("records")):
            low, middle, high = (number_in_words(row[name]) for name in ("q05", "median", "q95"))
            side = "above" if arm == "treated" else "below"
            other = ARMS[arm == "controls"]
            lines.append(
                f"{row['units']:,} {arm}: median {middle}, 90% within {low} to {high}; "
                f"{100 * row['beyond']:.0f}% {side} nearly all {other}"
            )
        return "\n".join([*lines, *self._weight_words()])

    def _weight_words(self) -> list[str]:
        """What the weights leave, weights that there are not, and arms that are apart."""
        lines = []
        name = self.estimand.upper()
        count = [number_in_words(round(float(e), 1)) for e in self.effective]
        endless = np.flatnonzero(np.isinf(self.weights))
        if endless.size:
            lines.append(
                f"no weights for {name}: the chance is 0 or 1 for {endless.size:,} units that "
                f"they divide by it ({rows_in_words(endless)})"
            )
        else:
            lines.append(
                f"weighted for {name} the controls are as good as {count[0]}, the treated as "
                f"{count[1]}"
            )
        few = [arm for arm, size in zip(ARMS, self.effective) if size < FEW]
        if few:
            lines.append(f"a weighted average rests on few {' and '.join(few)}")
        return lines + apart_words(self.sample, self.estimand, self.beyond, self.slope, EITHER)

    def _said(self) -> str:
        return self.summary()


def overlap(
    sample: Sample,
    *,
    propensity: Propensity = LOGISTIC,
    estimand: Estimand = "att",
    key: PRNGKeyArray | Array | int | None = None,
) -> Overlap:
    """Whether each arm's units have their like in the other: the chance of treatment by arm.

    **Arguments:** `sample`, whose outcome is not looked at; `propensity`, how the chance is found;
    `estimand` "att", "atc" or "ate", for the weights; `key`, for a propensity by folds.

    **Returns:** `Overlap`, which prints as its summary; `to_frame()` is the table by arm, and
    `jc.plot.overlap` the picture.

    **Raises:** `DataError` where an arm is empty; ValueError for an unknown estimand, or without a
    key for several folds.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.overlap(jc.datasets.lalonde("experiment"))
        >>> found.to_frame()["units"].tolist()
        [260, 185]

    **Source:** Crump, Hotz, Imbens and Mitnik (2009), Biometrika 96(1).
    """
    check_kind(sample, Sample, "overlap", FROM_FRAME)
    check_kind(propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
    if estimand not in ("att", "atc", "ate"):
        raise ValueError(f"estimand is {estimand!r}: use 'att', 'atc' or 'ate'.")
    made = None if key is None else step_key(as_key(key, "overlap"), "propensity")
    chances = chances_of(sample, propensity, made)
    score, t = np.asarray(chances.chance), np.asarray(sample.t)
    weight = np.where(np.asarray(sample.valid), np.asarray(sample.weight), 0)
    return Overlap(
        sample=sample,
        scores=chances.chance,
        weights=_weights(score.astype(np.float64), t, weight, estimand),
        beyond=_beyond(score, t, weight),
        slope=chances.slope,
        estimand=estimand,
    )


def _weights(
    score: Float[np.ndarray, " n"], t: np.ndarray, weight: np.ndarray, estimand: Estimand
) -> Float[np.ndarray, " n"]:
    """Sampling weight times the odds (or the inverse) of being in the arm that is averaged."""
    own = np.where(t, score, 1 - score)
    averaged = dict(att=t, atc=~t, ate=np.zeros_like(t))[estimand]
    over = 1.0 if estimand == "ate" else 1 - own
    with np.errstate(divide="ignore"):
        stands_for = np.where(averaged, 1, over / own)
    return np.where(weight > 0, weight * stands_for, 0)


def _beyond(
    score: Float[np.ndarray, " n"], t: np.ndarray, weight: np.ndarray
) -> Float[Array, " 2"]:
    """Padded to a bucket, so that near sizes share a program."""
    size = bucket(len(t))
    known = np.where(weight > 0, score, 0)
    padded = (pad_rows(a, size) for a in (known, t, weight.astype(score.dtype)))
    return _shares_beyond(*padded)
