"""What a reader must beware of."""

import numpy as np
import pandas as pd

from jcausal.effects import Average, careful_words, disagreement_words
from jcausal.inference import Interval
from jcausal.reports._results import Results

SMALL = 0.1  # |SMD| from which a covariate counts as unbalanced


def cautions(results: Results, second: Average | None) -> list[str]:
    """One sentence a matter, those first that decide whether to believe the average.

    `second`: the second opinion, where there is one.
    """
    effects, error = results.effects, error_of(results.average)
    words = careful_words(effects, error)
    if second is not None:
        words = [*second.notes(), *disagreement_words(effects, second, error), *words]
    words += [*unbalanced_words(results.balance), *effects.matching.notes(), *results.notes]
    return [one.removeprefix("beware: ") for one in words]


def error_of(interval: Interval) -> float:
    """The standard error of the average."""
    return float(np.asarray(interval.std_error))


def unbalanced(balance: pd.DataFrame, when: str) -> list[str]:
    """Rows of the table of balance whose |SMD| is not small, the largest first."""
    size = np.abs(balance[f"smd_{when}"].to_numpy(float))
    order = np.argsort(-np.nan_to_num(size), kind="stable")
    return [str(balance.index[k]) for k in order if size[k] >= SMALL]


def unbalanced_words(balance: pd.DataFrame | None) -> list[str]:
    """One sentence on covariates that stay unbalanced; [] without any, or without a table."""
    left = [] if balance is None else unbalanced(balance, "after")
    if balance is None or not left:
        return []
    listed = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
    worth = "; what that is worth for the outcome stands there" if "worth" in balance else ""
    return [
        f"{len(left)} of {len(balance)} rows of the balance table still differ by {SMALL:g} "
        f"standard deviations or more: {listed}{worth}"
    ]
