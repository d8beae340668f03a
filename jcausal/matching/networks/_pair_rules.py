"""Which units may be partners: what the user asks for, and what it comes to on a sample."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample, rows_in_words
from jcausal.matching._matching import MatchError
from jcausal.matching._order import groups_of, packed
from jcausal.matching.neighbors._points import NamedMetric, metric_points
from jcausal.matching.neighbors._space import columns_of
from jcausal.matching.networks._near_pairs import CaliperUnit, Space
from jcausal.surfaces import Propensity
from jcausal_kernels import MISSING


class PairRules(NamedTuple):
    """What a method asks of partners; each as in `jc.OptimalMatching`."""

    metric: NamedMetric
    propensity: Propensity
    caliper: float | None
    caliper_unit: CaliperUnit
    exact: tuple[str, ...]


def as_names(exact: Any) -> Any:
    """One name as a tuple, a list as a tuple; anything else as it is."""
    if isinstance(exact, str):
        return (exact,)
    return tuple(exact) if isinstance(exact, list) else exact


def check_rules(rules: PairRules, max_bytes: int) -> None:
    """Refuse options that no sample could fulfil.

    **Raises:** ValueError.
    """
    exact, caliper = rules.exact, rules.caliper
    if not isinstance(exact, tuple) or not all(isinstance(name, str) for name in exact):
        raise ValueError(f"exact is {exact!r}: use the names of covariates, such as ('race',).")
    if caliper is not None and not caliper > 0:
        raise ValueError(f"caliper is {caliper}: it must be positive, or None.")
    if caliper is not None and rules.caliper_unit == "sd" and rules.metric == "euclidean":
        raise ValueError(
            "caliper_unit='sd' has no meaning for metric='euclidean': pass caliper_unit='raw', or "
            "metric='scaled_euclidean'."
        )
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}: it must be at least 1.")


def space_of(sample: Sample, rules: PairRules, key: Any) -> Space:
    """Points, blocks and the largest distance.

    **Raises:** ValueError for `exact` columns that the sample lacks; `MatchError` for scores that
    are NaN.
    """
    block = exact_blocks(sample, rules.exact)
    points = metric_points(sample, rules.metric, rules.propensity, key)
    lost = np.flatnonzero(np.asarray(sample.valid) & ~np.isfinite(points).all(1))
    if lost.size:
        raise MatchError(
            f"the {rules.metric} of {lost.size} units is no number ({rows_in_words(lost)}): look "
            "at the covariates with jc.describe(sample), or use another metric."
        )
    spread = rules.caliper_unit == "sd" and rules.metric == "propensity"
    unit = _sd(points[:, 0], sample) if spread else 1.0
    width = np.inf if rules.caliper is None else float(rules.caliper) * unit
    return Space(points, block, width, unit)


def exact_blocks(sample: Sample, exact: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """The block of every unit: units that agree in all exact columns; missing is a value."""
    names = list(sample.schema.names)
    lacking = [name for name in exact if name not in names]
    if lacking:
        raise ValueError(
            f"exact names {', '.join(map(repr, lacking))}, which the sample has not: its "
            f"covariates are {', '.join(names)}."
        )
    if not exact:
        return np.zeros(sample.n, np.int64)
    codes = np.asarray(sample.codes)[:, [names.index(name) for name in exact]]
    known = codes != MISSING
    return groups_of(packed(np.where(known, codes, codes.max(where=known, initial=0) + 1)))[0]


def filled_words(sample: Sample, metric: NamedMetric) -> str:
    """What is to be said of missing values in distances, to be put behind a sentence; or nothing.

    The propensity knows them as missing.
    """
    filled = 0 if metric == "propensity" else columns_of(sample).filled
    if not filled:
        return ""
    return f"; {filled:,} missing values stand at the mean of the known, beside a 0/1 column"


def _sd(score: Float[np.ndarray, " n"], sample: Sample) -> float:
    """The weighted standard deviation of the units that count, over their number less 1."""
    weight = np.where(np.asarray(sample.valid), np.asarray(sample.weight, np.float64), 0)
    inside = weight > 0
    share, score = weight[inside] / weight[inside].mean(), score[inside]
    centred = score - np.average(score, weights=share)
    return float(np.sqrt((share * centred**2).sum() / max(share.size - 1, 1)))
