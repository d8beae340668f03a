"""What a table of balance compares: the weights of one or several matchings and weightings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from jcausal.data import Sample, check_kind, to_device
from jcausal.effects import Average, Effects, Population
from jcausal.matching import Matching, Prognosis, check_same_rows


class Compared(NamedTuple):
    """One matching or weighting.

    - `name`: what it is called among several.
    - `after` (n,): the weights that it gives; `share` of the queries that are matched.
    - `estimand`: whom they stand for.
    - `fold` (n,): -1 for rows that count nothing.
    - `prognosis`, `effects`, `matching`: where there are any.
    """

    name: str
    after: Float[np.ndarray, " n"]
    share: float
    estimand: Population
    fold: Int[Array, " n"]
    prognosis: Prognosis | None
    effects: Effects | None
    matching: Matching | None


Weighed = Matching | Effects | Average


def compared(test: Sample, given: Any) -> list[Compared]:
    """One entry for a matching; for a mapping of names to matchings one each.

    **Raises:** ValueError for anything else, for other rows, and for an empty mapping.
    """
    if not isinstance(given, Mapping):
        return [_compared(test, given, "")]
    if not given:
        raise ValueError("balance got an empty mapping: give {'name': matching}.")
    for name in given:
        if not isinstance(name, str):
            raise ValueError(f"a matching is named {name!r}: name it by a word.")
    return [_compared(test, one, name) for name, one in given.items()]


def _compared(test: Sample, given: Any, name: str) -> Compared:
    if isinstance(given, Average):
        return _of_average(test, given, name)
    effects, mass = None, None
    if isinstance(given, Effects):
        effects, mass = given, to_device(np.asarray(given.totals)[..., 0])
        prognosis, matching = given.prognosis, given.matching
    else:
        what = f"balance of {name!r}" if name else "balance"
        check_kind(given, Matching, what, "pass what jc.match returns, or effects")
        prognosis, matching = given.prognosis, given
    check_same_rows(test, matching)
    after = np.asarray(matching.matched_weights(mass), np.float64)
    share = float(np.asarray(matching.matched)[np.asarray(matching.asked)].mean())
    about = (name, after, share, matching.estimand, matching.fold)
    return Compared(*about, prognosis, effects, matching)


def _of_average(test: Sample, average: Average, name: str) -> Compared:
    """What each unit counts in the mean of its arm."""
    if average.unit_weight is None:
        raise ValueError(
            f"balance: {average.method} is no difference of two weighted means, so that no weights "
            "could be balanced; jc.overlap(sample) shows the arms."
        )
    if average.sample.n != test.n or not np.array_equal(average.sample.row, test.row):
        raise ValueError("the average was made on other rows than those given: pass its sample.")
    after = np.asarray(average.unit_weight, np.float64)
    return Compared(name, after, 1.0, average.estimand, average.fold, None, None, None)


def sampling_weights(sample: Sample) -> Float[np.ndarray, " n"]:
    """The sampling weights, 0 for padding."""
    return np.where(np.asarray(sample.valid), np.asarray(sample.weight, np.float64), 0)


def effective_size(weights: Float[np.ndarray, " n"]) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted units say as much. 0 without weight."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0
