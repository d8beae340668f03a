"""What a reader must beware of."""

import numpy as np

from jcausal.data import DataError
from jcausal.effects import Average, Effects, careful_words, second_words
from jcausal.inference import Interval
from jcausal.reports._results import Results

SMALL = 0.1  # |SMD| from which a covariate counts as unbalanced


def cautions(results: Results) -> list[str]:
    """One sentence a matter, those first that decide whether to believe the average."""
    effects, error = results.effects, error_of(results.average)
    words = [*second_words(effects, error)[1:], *careful_words(effects, error)]
    words += [*unbalanced_words(results), *effects.matching.notes(), *results.notes]
    return [one.removeprefix("beware: ") for one in words]


def error_of(interval: Interval) -> float:
    """The standard error of the average."""
    return float(np.asarray(interval.std_error))


def unbalanced(results: Results, when: str) -> list[str]:
    """Rows of the table of balance whose |SMD| is not small, the largest first."""
    size = results.balance[f"smd_{when}"].abs()
    names = size[size >= SMALL].sort_values(ascending=False, kind="stable").index
    return [str(name) for name in names]


def unbalanced_words(results: Results) -> list[str]:
    """One sentence on covariates that stay unbalanced."""
    left = unbalanced(results, "after")
    if not left:
        return []
    listed = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    count = len(results.balance)
    return [
        f"{len(left)} of {count} rows of the balance table differ by {SMALL:g} standard deviations "
        f"or more after matching: {listed}"
    ]


def second_opinion(effects: Effects) -> Average | None:
    """The second opinion, where there is one; `summary` tells why there is none."""
    try:
        return effects.second_opinion()
    except DataError:
        return None
