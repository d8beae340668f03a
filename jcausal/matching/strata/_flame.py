"""FLAME: covariates are given up one by one."""

from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import Bool

from jcausal.data import whole
from jcausal.matching._matcher import Progress
from jcausal.matching.strata._almost_exact import AlmostExactMatcher, AlmostExactSearch
from jcausal.matching.strata._cells import Grouped
from jcausal.matching.strata._coarsening import Bins
from jcausal.surfaces import OutcomeModel, ResponseSurface, Ridge


class FLAME(AlmostExactMatcher):
    """Fast Large-scale Almost Matching Exactly: match, give up a covariate, match the others.

    First units are matched that agree in every covariate; then, again and again, the covariate j
    is given up for all who are unmatched that makes

        balance x BF(j) - PE(j)

    largest. BF is the share of the unmatched controls plus that of the unmatched treated who would
    be matched without j. PE is what ridge regressions on the covariates left, one an arm, do not
    foretell: (noise + mean squared residual), as a share of the same without any covariate. What
    they are regressions of is the outcome model's surface at the units at hand, trained on other
    rows: no outcome that is averaged is looked at. Where the surface is the least squares of
    training rows that are matched themselves, PE is the error of the regression of their outcomes.
    The last covariate is never given up, and who does not agree in it stays unmatched. A unit that
    lacks a value is not matched while that covariate counts. The group of a query are the units
    that agree with it when it is matched first.

    **Arguments:**

    - `bins`: how numbers are cut, as in `jc.CEM`; "quantile" (default) is fifths of the units.
      Binaries and the levels of categories are as they are.
    - `balance`: how much more matches count against a larger error.
    - `repeats`: True (default) lets a unit that is matched be a partner of later queries too; False
      takes it out, as the paper does.
    - `penalty`: of the squared slopes in PE's regressions on 0/1 features.
    - `stop_controls`, `stop_treated`: stop once at most this share of an arm is unmatched.
    - `stop_error`: stop before PE exceeds that of all covariates by this share (0.05: by 5%).
    - `stop_drops`: stop after so many covariates.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    **Source:** Wang, Morucci, Awan, Liu, Roy, Rudin and Volfovsky, "FLAME: A Fast Large-scale
    Almost Matching Exactly Approach to Causal Inference" (JMLR 2021); PE as a share, and of a
    surface instead of a held-out sample, is ours.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.FLAME(), key=0)
        >>> effects.share_matched > .9
        True
    """

    bins: Bins = "quantile"
    balance: float | int = 0.1
    repeats: bool = eqx.field(static=True, default=True)
    penalty: float | int = 0.1
    stop_controls: float | int = 0.0
    stop_treated: float | int = 0.0
    stop_error: float | int | None = None
    stop_drops: int | None = eqx.field(converter=whole, static=True, default=None)
    outcome: OutcomeModel | ResponseSurface | Callable = Ridge()

    def __check_init__(self) -> None:
        if self.balance < 0:
            raise ValueError(f"balance is {self.balance}: it must not be negative.")

    def search(self, state: AlmostExactSearch, progress: Progress | None) -> None:
        """Give up one covariate after another."""
        kept = np.ones(state.cells.codes.shape[1], bool)
        drop_one_by_one(state, kept, float(self.balance), 1, progress)


def drop_one_by_one(
    state: AlmostExactSearch,
    kept: Bool[np.ndarray, " c"],
    balance: float,
    fewest: int,
    progress: Progress | None,
) -> Bool[np.ndarray, " c"]:
    """Match and drop until `fewest` covariates are left, or it is time to stop; those left."""
    whole = int(kept.sum())
    while kept.sum() > fewest and not state.ends:
        if progress is not None:
            progress("giving up covariates", whole - int(kept.sum()), whole)
        tried = _without_one(kept)
        error = state.errors.without_one(kept)[kept]
        found = [state.grouped(one) for one in tried] if balance else []
        gain = [_share_matched(state, one) for one in found] if balance else np.zeros(len(tried))
        best = int(np.round(balance * np.asarray(gain) - error, 12).argmax())
        if state.too_far(float(error[best])):
            break
        kept, state.drops = tried[best], state.drops + 1
        state.match(kept, found[best] if balance else None)
    return kept


def _without_one(kept: Bool[np.ndarray, " c"]) -> Bool[np.ndarray, "s c"]:
    """The sets that lack one more covariate."""
    places = np.flatnonzero(kept)
    tried = np.tile(kept, (places.size, 1))
    tried[np.arange(places.size), places] = False
    return tried


def _share_matched(state: AlmostExactSearch, found: Grouped) -> float:
    """The share of the unmatched controls, plus that of the treated, who would be matched."""
    newly = found.cells[found.both]
    newly = newly[state.unmatched[newly]]
    left = state.left()
    return float((state.cells.counts[newly].sum(0) / np.maximum(left, 1)).sum())
