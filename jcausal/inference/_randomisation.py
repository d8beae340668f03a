"""Fisher's test within matched sets, and the interval of effects that it does not reject."""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jcausal.data import Sample, as_key, is_traced, to_device
from jcausal.effects import Effects
from jcausal.inference._interval import About, Interval, IntervalMethod, interval_between
from jcausal.matching import Matching

AT_ONCE = 2**21  # random numbers


class Randomisation(IntervalMethod):
    """Interval of a constant effect by the treatments that might have been, within matched sets.

    Under the sharp null that the treatment adds tau to every outcome, y - tau t is fixed, and only
    who was treated is random: within each matched set every choice of as many treated is as likely.
    The statistic is the average itself, the sets' differences of means by the queries'
    shares. The p-value (of tau = 0, printed) is (1 + draws at least as large in size) / (1 +
    draws). The interval holds the tau that are not rejected: a draw's statistic is a line in tau,
    so that each draw rejects outside of two roots, and the ends are order statistics of these.

    It needs no model, no sampling of units and no large numbers; it takes the sets to hold units
    that were as likely to be treated, and the effect to be the same for all. Where a model
    adjusts the effects, outcomes are its residuals: y - f0(x) for "att", y - f1(x) for "atc". Of
    300 samples of 60 pairs 96% of 95% intervals held the effect.

    **Arguments:** `draws`; `level`. Concrete arrays only.

    **Raises:** ValueError for groups that overlap without being the same (matching with
    replacement, boxes), for units of a group that weigh differently, for regressions, and for a
    sample with clusters.

    **Source:** Fisher (1935), The Design of Experiments; Rosenbaum (2002), Statistical Science
    17(3), for residuals and the inversion of the test.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.NearestNeighbors(replace=False))
        >>> bounds = jc.interval(effects, jc.Randomisation(draws=500), key=0)
        >>> bool(bounds.lower < effects.att) and bool(effects.att < bounds.upper)
        True
    """

    draws: int = eqx.field(static=True, default=2000)
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}: use at least 1.")

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """The interval of the estimand's average, and the p-value of no effect."""
        if is_traced(effects):
            raise ValueError("jc.Randomisation needs concrete arrays: use it outside of jit.")
        key = as_key(key, "jc.Randomisation")
        sets, observed = _sets_of(effects)
        seed = np.asarray(jax.random.key_data(key)).ravel().astype(np.uint64).tolist()
        drawn = _drawn(sets, self.draws, np.random.default_rng(np.random.SeedSequence(seed)))
        lower, upper = _not_rejected(*drawn, observed, 1 - self.level)
        p_value = (1 + (np.abs(drawn[0]) >= abs(observed) * (1 - 1e-9)).sum()) / (1 + self.draws)
        dtype = effects.sample.x.dtype
        error = np.sqrt(np.mean(drawn[0] ** 2))
        numbers = (to_device(np.asarray(v, dtype)) for v in (observed, error, lower, upper))
        words = f"randomisation, {self.draws:,} draws within {sets.number:,} matched sets"
        about = About(self.level, "constant effect", words, "too few draws for the level")
        found = interval_between(*numbers, about=about)
        return dataclasses.replace(found, p_value=to_device(np.asarray(p_value, dtype)))


class _RandomisedSets(NamedTuple):
    """Units of matched sets, set by set: outcome, treated, weight, set, and the sets' shares.

    `y`, `t`, `weight` (m,) and `label` (m,) codes in order; `share` (s,) of each set.
    """

    y: Float[np.ndarray, " m"]
    t: Bool[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]
    label: Int[np.ndarray, " m"]
    share: Float[np.ndarray, " s"]

    @property
    def number(self) -> int:
        """How many sets."""
        return self.share.size


def _sets_of(effects: Effects) -> tuple[_RandomisedSets, float]:
    """The sets with outcomes as adjusted, in the order of their units' identity; the average.

    **Raises:** ValueError where the average is none of differences within sets.
    """
    sample, matching = effects.sample, effects.matching
    if sample.cluster is not None:
        raise ValueError(
            "jc.Randomisation draws who is treated unit by unit, and this sample's units are in "
            "clusters: use jc.Bootstrap() or jc.Sandwich(), or a sample without cluster=."
        )
    smoother = matching.smoother()
    label = None if smoother is not None else matching.matched_sets()
    if label is None:
        raise ValueError(
            "jc.Randomisation needs matched sets, and "
            + (smoother or "some units are in two groups that are not the same")
            + ": use a matching without replacement or by strata, or jc.AbadieImbens()."
        )
    _check_even(sample, matching)
    y = _outcomes(effects)
    words = np.asarray(sample.row)
    order = np.lexsort((words[:, 1], words[:, 0]))
    order = order[label[order] >= 0]
    first = np.full(label.max() + 1, -1)
    places = label[order]
    first[places[::-1]] = np.arange(places.size)[::-1]
    ranked = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    codes = ranked[places]
    order = order[np.argsort(codes, kind="stable")]
    codes = np.sort(codes, kind="stable")
    share, query = np.asarray(effects.share(), np.float64), np.asarray(matching.query)
    asked = share > 0
    if (query[asked] < 0).any():
        raise ValueError("jc.Randomisation averages over units, and points were queried.")
    by_set = np.bincount(ranked[label[query[asked]]], share[asked], ranked.size)
    t, weight = np.asarray(sample.t)[order], np.asarray(sample.weight)[order]
    sets = _RandomisedSets(y[order], t, weight, codes, by_set)
    found = float(_statistic(sets, sets.t[None], sets.y)[0])
    average = float(effects.average)
    scale = max(abs(average), float(np.abs(sets.y).max()), 1e-30)
    if not abs(found - average) <= 1e-4 * scale:
        raise ValueError(
            "the average is none of differences of means within the matched sets (units of a group "
            "weigh differently, or only some of a set are queried): use jc.AbadieImbens() or "
            "jc.Bootstrap()."
        )
    return sets, found


def _check_even(sample: Sample, matching: Matching) -> None:
    """Refuse weights of a matching's own within groups: they were not drawn.

    **Raises:** ValueError.
    """
    weight = np.asarray(sample.weight)[np.asarray(sample.valid)]
    if (weight == weight[0]).all() and matching.has_weights:
        raise ValueError(
            "jc.Randomisation takes any of a set's units to be treated as likely, and units of "
            "these groups weigh differently: use jc.AbadieImbens() or jc.Bootstrap()."
        )


def _outcomes(effects: Effects) -> Float[np.ndarray, " n"]:
    """Outcomes, less what the model foretells for everyone without (or with) the treatment."""
    y = np.asarray(effects.sample.y, np.float64)
    if effects.prognosis is None or not effects.adjusted:
        return y
    if effects.estimand == "ate" or effects.effect == "group":
        raise ValueError(
            "of effects adjusted by a model jc.Randomisation knows those of estimand 'att' or "
            "'atc' with effect='own': pass adjust=None to jc.estimate."
        )
    arm = 0 if effects.estimand == "att" else 1
    told = np.asarray(effects.prognosis.units, np.float64)[:, arm]
    return y - np.where(np.isfinite(told), told, 0)


def _statistic(
    sets: _RandomisedSets, treated: Bool[np.ndarray, "b m"], y: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " b"]:
    """The shares' mean of the sets' differences, of each assignment."""
    starts = np.flatnonzero(np.diff(sets.label, prepend=-1))
    means = []
    for arm in (treated, ~treated):
        weight = arm * sets.weight
        total = np.add.reduceat(weight, starts, axis=1)
        means.append(np.add.reduceat(weight * y, starts, axis=1) / total)
    return (means[0] - means[1]) @ sets.share


def _drawn(
    sets: _RandomisedSets, draws: int, random: np.random.Generator
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """The statistic of outcomes, and of the treatments that there were, under drawn treatments."""
    m = sets.label.size
    place = np.arange(m) - np.flatnonzero(np.diff(sets.label, prepend=-1))[sets.label]
    count = np.bincount(sets.label, sets.t)
    block, parts = max(1, AT_ONCE // m), []
    for start in range(0, draws, block):
        some = min(block, draws - start)
        marks = sets.label + random.random((some, m))
        order = np.argsort(marks, axis=1)
        treated = np.zeros((some, m), bool)
        chosen = np.broadcast_to(place < count[sets.label], (some, m))
        np.put_along_axis(treated, order, chosen, axis=1)
        values = (_statistic(sets, treated, v) for v in (sets.y, sets.t.astype(float)))
        parts.append(np.stack(list(values)))
    found = np.concatenate(parts, axis=1)
    return found[0], found[1]


def _not_rejected(
    of_y: Float[np.ndarray, " b"],
    of_t: Float[np.ndarray, " b"],
    observed: float,
    error: float,
) -> tuple[float, float]:
    """The smallest and largest tau whose p-value is above `error`.

    A draw is as large as what was seen while |of_y - tau of_t| >= |observed - tau|: between
    (observed - of_y) / (1 - of_t) and (observed + of_y) / (1 + of_t).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (observed - of_y) / (1 - of_t), (observed + of_y) / (1 + of_t)
    low, high = np.minimum(one, two), np.maximum(one, two)
    same = np.isclose(np.abs(of_t), 1, rtol=0, atol=1e-9)  # what was seen, or its mirror: always
    low, high = np.where(same, -np.inf, low), np.where(same, np.inf, high)
    needed = int(np.floor(error * (1 + of_y.size) + 1e-9))  # as many draws, itself included, reject
    if needed < 1:
        return float("nan"), float("nan")
    lower, upper = np.sort(low)[needed - 1], np.sort(high)[::-1][needed - 1]
    return (lower, upper) if np.isfinite([lower, upper]).all() else (float("nan"), float("nan"))
