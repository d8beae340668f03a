"""Subclassification on the propensity score."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import (
    DataError,
    check_kind,
    number_in_words,
    rows_in_words,
    to_device,
    whole,
)
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching.strata._strata import Strata, hold_both_arms, strata_of, stratum_status
from jcausal.surfaces import LIKELIEST, Propensity, ResponseSurface, propensity_scores

APART = 0.1  # of the score: by how much arms of one group may differ before it is said


class ScoreRanges(NamedTuple):
    """The least and the largest score (s,) of each group."""

    low: Float[np.ndarray, " s"]
    high: Float[np.ndarray, " s"]

    def rule(self, stratum: int) -> str:
        """What a group asks of a unit: "propensity 0.12 to 0.25"."""
        low, high = (number_in_words(round(float(end[stratum]), 4)) for end in self)
        return f"propensity {low}" if low == high else f"propensity {low} to {high}"


class Subclassification(DesignMatcher):
    """Units are compared whose chances of treatment lie between the same quantiles.

    The chances are cut at the quantiles 1/k ... (k - 1)/k of those that the estimand queries: of
    the treated for "att", of controls for "atc", of all for "ate"; a cut itself belongs to the
    group above. A group that lacks an arm joins the smaller of its neighbours (of equal ones the
    lower), and the summary says so; no query is left out. Five groups remove about nine tenths of a
    bias that is linear in the score; what is left inside a group an outcome model can take:
    `jc.estimate(..., adjust=jc.Ridge())`.

    **Arguments:**

    - `groups`: k, the number of groups.
    - `propensity`: where the chances come from; by default a logistic regression
      with so small a penalty (1e-6) that it is maximum likelihood as far as anyone can see, and
      has a fit also where units are told apart (penalty=0 refuses those).

    **Source:** Rosenbaum and Rubin (1984), JASA 79; quantiles by estimand as in R MatchIt.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.Subclassification(groups=5))
        >>> effects.share_matched
        1.0
    """

    groups: int = eqx.field(converter=whole, static=True, default=6)
    propensity: Propensity = LIKELIEST

    def __check_init__(self) -> None:
        check_kind(self.propensity, Propensity, "Subclassification(propensity=)", "jc.Propensity()")
        if self.groups < 1:
            raise ValueError(f"groups is {self.groups}: it must be at least 1.")

    @property
    def traceable(self) -> bool:
        """Never: groups are merged on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Cut the scores, and merge groups that lack an arm.

        **Raises:** ValueError for points outside the sample and under jit, vmap or grad.
        """
        self.check_rows(task)
        sample = task.sample
        rows = np.flatnonzero(np.asarray(task.fold) >= 0)
        score = propensity_scores(sample, self.propensity, key=task.key)
        score = np.asarray(score, np.float64)[rows]
        _check_scores(score, rows)
        base = _base(task.estimand, np.asarray(sample.t)[rows])
        base &= np.asarray(sample.weight)[rows] > 0
        cut = _cut(score, base, self.groups)
        stratum = _merged(cut, lambda group, count: hold_both_arms(sample, rows, group, count))
        label = np.full(sample.n, -1, np.int32)
        label[rows] = stratum
        place = label[np.asarray(task.query)]
        count = int(stratum.max(initial=-1)) + 1
        ranges = _score_ranges(score, stratum, count)
        there = hold_both_arms(sample, rows, stratum, count)[place]
        return Strata(
            sample=sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            estimand=task.estimand,
            place=to_device(place),
            status=to_device(stratum_status(np, there, np.asarray(task.asked))),
            guide=ranges,
            caution=self._caution(
                ranges, _apart(score, stratum, np.asarray(sample.t)[rows], count)
            ),
            **strata_of(stratum, rows, count),
        )

    def _caution(self, ranges: ScoreRanges, apart: Float[np.ndarray, " s"]) -> str:
        """How many groups are left, and in which the arms are apart."""
        parts, count = [], apart.size
        if count < self.groups:
            parts.append(
                f"{count} of {self.groups} groups of the propensity score are left: those that "
                "lacked an arm, or had no score of their own, joined a neighbour"
            )
        worst = int(np.abs(apart).argmax())
        if abs(apart[worst]) > APART:
            parts.append(
                f"in the group {ranges.rule(worst)} the treated still have a mean propensity "
                f"{number_in_words(abs(apart[worst]))} {'above' if apart[worst] > 0 else 'below'} "
                "that of their controls: take more groups, or adjust=jc.Ridge()"
            )
        return "; ".join(parts)


def _apart(
    score: Float[np.ndarray, " m"],
    stratum: Int[np.ndarray, " m"],
    treated: Bool[np.ndarray, " m"],
    count: int,
) -> Float[np.ndarray, " s"]:
    """By how much the mean score of each group's treated exceeds that of its controls."""
    means = []
    for arm in (False, True):
        own = np.bincount(stratum[treated == arm], minlength=count)
        total = np.bincount(stratum[treated == arm], score[treated == arm], minlength=count)
        means.append(total / np.where(own > 0, own, 1))
    return means[1] - means[0]


def _check_scores(score: Float[np.ndarray, " m"], rows: Int[np.ndarray, " m"]) -> None:
    """Refuse scores by which nothing can be cut."""
    broken = rows[np.isnan(score)]
    if broken.size:
        raise DataError(
            f"the propensity is NaN in {broken.size} of {rows.size} rows ({rows_in_words(broken)}):"
            " give jc.Propensity() a penalty, or another model."
        )


def _base(estimand: Estimand, treated: Bool[np.ndarray, " m"]) -> Bool[np.ndarray, " m"]:
    """Whose quantiles cut the score."""
    return dict(att=treated, atc=~treated, ate=np.ones_like(treated))[estimand]


def _cut(
    score: Float[np.ndarray, " m"], base: Bool[np.ndarray, " m"], groups: int
) -> Int[np.ndarray, " m"]:
    """The group of each score, from 0, without gaps."""
    cuts = np.quantile(score[base], np.arange(1, groups) / groups)
    return np.unique(np.searchsorted(cuts, score, side="right"), return_inverse=True)[1]


HasBoth = Callable[[Int[np.ndarray, " m"], int], Bool[np.ndarray, " g"]]


def _merged(group: Int[np.ndarray, " m"], has_both: HasBoth) -> Int[np.ndarray, " m"]:
    """Groups that each hold both arms, where there are two: the lowest that lacks one joins first.

    It joins the neighbour with fewer units, of equal ones the lower.
    """
    while group.size:
        size = np.bincount(group)
        lacks = np.flatnonzero(~has_both(group, size.size))
        if not lacks.size or size.size == 1:
            break
        g = int(lacks[0])
        beside = [k for k in (g - 1, g + 1) if 0 <= k < size.size]
        upper = max(g, min(beside, key=lambda k: size[k]))
        group = group - (group >= upper)
    return group


def _score_ranges(
    score: Float[np.ndarray, " m"], stratum: Int[np.ndarray, " m"], count: int
) -> ScoreRanges:
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, stratum, score)
    np.maximum.at(high, stratum, score)
    return ScoreRanges(low, high)
