"""Matched sets and their rank statistics under hidden bias."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.effects import Effects


class MatchedSets(NamedTuple):
    """Units of sets that share none, set by set: outcomes so signed that a rise favours treatment.

    - `y` (m,): outcomes, or residuals where effects are adjusted; of a set around a control minus
      these, so that in each set the one unit that stands alone plays the treated.
    - `alone` (m,): the unit that stands alone in its arm.
    - `start` (s,): where each set begins.
    """

    y: Float[np.ndarray, " m"]
    alone: Bool[np.ndarray, " m"]
    start: Int[np.ndarray, " s"]

    @property
    def sizes(self) -> Int[np.ndarray, " s"]:
        """Units of each set."""
        return np.diff(np.append(self.start, self.y.size))

    @property
    def pairs(self) -> bool:
        """Whether all sets are pairs."""
        return bool((self.sizes == 2).all())

    def shifted(self, effect: float) -> "MatchedSets":
        """The outcomes without an effect of that size."""
        return self._replace(y=self.y - np.where(self.alone, effect, 0))


def matched_sets(effects: Effects) -> MatchedSets:
    """The sets of a matching: its groups where they share no unit, or its strata.

    **Raises:** ValueError for groups that overlap, sets of several units of both arms, units of
    unequal weight, clusters, and regressions, with the reason.
    """
    _check(effects)
    label = _labels(effects)
    rows = np.flatnonzero(label >= 0)
    rows = rows[np.argsort(label[rows], kind="stable")]
    start = np.flatnonzero(np.diff(label[rows], prepend=-1))
    size = np.diff(np.append(start, rows.size))
    t = np.asarray(effects.sample.t)[rows]
    treated = np.add.reduceat(t.astype(int), start)
    if (np.minimum(treated, size - treated) != 1).any():
        several = int((np.minimum(treated, size - treated) != 1).sum())
        raise ValueError(
            "Rosenbaum bounds are of sets of one unit of an arm and some of the other, and "
            f"{several:,} of {start.size:,} sets are of several of both{ELSE}"
        )
    arm = treated == 1  # whom one stands alone of; of a pair the treated
    y = np.asarray(effects.residual, np.float64)[rows] * np.repeat(np.where(arm, 1.0, -1.0), size)
    return MatchedSets(y, t == np.repeat(arm, size), start)


def _check(effects: Effects) -> None:
    matching = effects.matching
    smoother = matching.smoother()
    if smoother is not None:
        raise ValueError(f"Rosenbaum bounds are of matched sets, and these are {smoother}{ELSE}")
    if effects.sample.cluster is not None:
        raise ValueError(
            "Rosenbaum bounds take assignments of units for separate draws, and the sample has "
            f"clusters{ELSE}"
        )
    matched = np.asarray(matching.matched)
    if matching.has_weights or np.ptp(np.asarray(matching.query_weight)[matched]) > 0:
        raise ValueError(
            "Rosenbaum bounds count units alike, and here they have unequal weights: use a sample "
            f"without weight={INSTEAD}"
        )


def _labels(effects: Effects) -> Int[np.ndarray, " n"]:
    """The number of each unit's set, -1 for units of none."""
    label = effects.matching.matched_sets()
    if label is None:
        raise ValueError(
            "Rosenbaum bounds need sets that share no unit, and here units are in several groups, "
            "so that the assignments of groups are no separate draws: match without replacement "
            f"(jc.NearestNeighbors(replace=False), jc.OptimalMatching()){INSTEAD}"
        )
    held = np.asarray(effects.matching.matched_weights()) != 0
    return np.where(held, label, -1)


INSTEAD = ", or use jc.OmittedVariable()."  # after other advice
ELSE = ": use jc.OmittedVariable()."


class SetScores(NamedTuple):
    """Scores of sets of one size, rising within each set (s, j); `of_alone` (s,), the observed."""

    scores: Float[np.ndarray, "s j"]
    of_alone: Float[np.ndarray, " s"]


def scores_of_sets(sets: MatchedSets, binary: bool) -> list[SetScores]:
    """The statistic's scores, by size of set.

    Of pairs Wilcoxon's signed ranks (Pratt's: a difference of 0 has a rank and scores none); of
    larger sets the ranks of outcomes less their set's mean (Hodges and Lehmann's aligned ranks);
    of binary outcomes these themselves (McNemar, Mantel and Haenszel).
    """
    q = sets.y
    if not binary:
        q = _signed_ranks(sets) if sets.pairs else _aligned_ranks(sets)
    found, sizes = [], sets.sizes
    for size in np.unique(sizes):
        begin = sets.start[sizes == size]
        places = begin[:, None] + np.arange(size)
        values, alone = q[places], sets.alone[places]
        found.append(SetScores(np.sort(values, axis=1), (values * alone).sum(1)))
    return found


def _signed_ranks(sets: MatchedSets) -> Float[np.ndarray, " m"]:
    """In each pair the rank of the difference for the larger outcome, 0 for the other."""
    both = sets.y.reshape(-1, 2)
    gap = both[:, 0] - both[:, 1]
    rank = midranks(np.abs(gap))
    return np.stack([rank * (gap > 0), rank * (gap < 0)], axis=1).ravel()


def _aligned_ranks(sets: MatchedSets) -> Float[np.ndarray, " m"]:
    mean = np.add.reduceat(sets.y, sets.start) / sets.sizes
    apart = sets.y - np.repeat(mean, sets.sizes)
    scale = np.abs(sets.y).max(initial=0.0)
    return midranks(np.where(np.abs(apart) <= 1e-12 * scale, 0, apart))


def midranks(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Ranks from 1, ties sharing their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    return (end - (count - 1) / 2)[place]


def largest_moments(
    sets: list[SetScores], gamma: Float[np.ndarray, " g"]
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """Mean and variance of the statistic under the hidden bias that makes its mean the largest.

    In a set of j the a units of the highest scores are each Gamma times as likely to be treated as
    the others; a is the one of the largest mean, and of the largest variance among equals.

    **Source:** Gastwirth, Krieger and Rosenbaum (2000), JRSS B 62(3).
    """
    mean, variance = np.zeros(gamma.size), np.zeros(gamma.size)
    for scores, _ in sets:
        j = scores.shape[1]
        top, top2 = (np.cumsum(v[:, ::-1], axis=1)[:, :-1] for v in (scores, scores**2))
        every, every2 = (v.sum(1, keepdims=True) for v in (scores, scores**2))
        a = np.arange(1, j)
        for g, factor in enumerate(gamma):
            total = (j - a) + factor * a
            mu = (every + (factor - 1) * top) / total
            nu = (every2 + (factor - 1) * top2) / total - mu**2
            best = mu.max(1, keepdims=True)
            near = mu >= best - 1e-12 * np.abs(best)
            mean[g] += best.sum()
            variance[g] += np.where(near, nu, -np.inf).max(1).sum()
    return mean, np.maximum(variance, 0)
