"""Budgets that may give way: slide to a quieter one, add a few groups, or accept a loss."""

from abc import abstractmethod
from typing import Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from jcausal.allocation._group_values import (
    GroupValues,
    as_effects,
    check_budget,
    check_rho,
)
from jcausal.allocation._threshold_counts import threshold_mass
from jcausal.data import Options, Shown, check_object, check_share

Test = Literal["certified", "claim", "heavy"]


class Coarse(NamedTuple):
    """Estimates in descending order, the budget asked for, their accuracy and the loss allowed."""

    t: Float[np.ndarray, " m"]
    budget: int
    rho: float
    eps: float

    def ratio(self, chosen: int, against: int) -> float:
        """The worst V(the `chosen` first) / V*(`against`) that errors up to rho leave, capped at 1.

        The chosen are worth max(0, t - rho), the others min(1, t + rho), and the best `against` of
        all these are the rival: no effects within rho of the estimates do worse.
        """
        low = np.maximum(self.t[:chosen] - self.rho, 0)
        high = np.minimum(self.t[chosen:] + self.rho, 1)
        rival = np.sort(np.concatenate([low, high]))[::-1][:against].sum()
        return min(1.0, float(low.sum() / rival)) if rival > 0 else 0.0


class ThresholdBounds(NamedTuple):
    """What estimates prove of claim 3.2's numbers for each K = 1 to M (or some).

    `near` groups at most in [tau_K, tau_K + 2 rho], `high_value` at least above, `threshold` at
    least.
    """

    near: Int[np.ndarray, " q"]
    high_value: Float[np.ndarray, " q"]
    threshold: Float[np.ndarray, " q"]


def threshold_bounds(coarse: Coarse, budgets: Int[np.ndarray, " q"]) -> ThresholdBounds:
    """One-sided bounds: an estimate of at least t_K + 4 rho is of an effect above tau_K + 2 rho."""
    at = coarse.t[budgets - 1]
    near = threshold_mass(coarse.t, budget=budgets, rho=coarse.rho).most
    sums = np.concatenate([[0], np.cumsum(np.maximum(coarse.t - coarse.rho, 0))])
    above = np.searchsorted(-coarse.t, -(at + 4 * coarse.rho), side="left")
    near = np.minimum(np.asarray(near), budgets)
    return ThresholdBounds(near, sums[above], np.maximum(at - coarse.rho, 0))


class Rebudget(Shown, eqx.Module):
    """A budget after giving way. Made by `jc.allocation.rebudget`.

    `asked` is K and `budget` what is to be treated now; `found` tells whether the test holds there
    (if not, `budget` is K). `ratio` is what is proven of V(budget) / V*(`against`), and `kappa` =
    (1 - ratio) / eps how many eps that is; `claimed` is what the paper's formula gives (see the
    method), NaN where it has none; `words` say what was done.
    """

    asked: int = eqx.field(static=True)
    budget: int = eqx.field(static=True)
    against: int = eqx.field(static=True)
    found: bool = eqx.field(static=True)
    ratio: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    claimed: float = eqx.field(static=True)
    words: str = eqx.field(static=True)

    @property
    def kappa(self) -> float:
        """The proven loss in units of eps."""
        return (1 - self.ratio) / self.eps

    def _said(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """What was done and what is proven, in words."""
        return (
            f"{self.words} Proven: at least {100 * self.ratio:.3g}% of the best value of "
            f"{self.against} groups ({self.kappa:.3g} eps may be lost)."
        )


class BudgetMethod(Options, eqx.Module):
    """A way to give way; holds hyperparameters only."""

    @abstractmethod
    def of(self, coarse: Coarse) -> Rebudget:
        """The new budget."""


class Slide(BudgetMethod):
    """Take the nearest budget K' at which few groups stand at the threshold.

    Tests for K', which compare with the best value of K' groups:

    - "certified" (default): the worst case of errors up to rho loses at most eps.
    - "claim": 4 rho near <= eps (high_value + (tau_K' + 2 rho) near), claim 3.2, with the one-sided
      bounds of the estimates: near <= #{estimates in [t_K' - 2 rho, t_K' + 4 rho]}. Also proven,
      and stricter.
    - "heavy": at most 1.6 times as many estimates in [t_K', t_K' + 2 rho] as equal spacing would
      put there, the rule of the paper's scripts. Proves nothing.

    **Arguments:** `under` for K' <= K only; `test`; `reach` the farthest |K - K'|, None for any.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 5.

    **Example:**

        >>> import jcausal as jc
        >>> t = [0.9, 0.88, 0.5, 0.49, 0.48, 0.1]
        >>> jc.allocation.rebudget(t, jc.allocation.Slide(), budget=3, rho=0.05, eps=0.02).budget
        2
    """

    under: bool = eqx.field(static=True, default=False)
    test: Test = eqx.field(static=True, default="certified")
    reach: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.reach is not None and self.reach < 0:
            raise ValueError(f"reach is {self.reach}: it must not be negative.")

    def of(self, coarse: Coarse) -> Rebudget:
        """The nearest budget that passes; of two as near the smaller."""
        k, m = coarse.budget, len(coarse.t)
        budgets = np.arange(1, (k if self.under else m) + 1)
        far = np.abs(budgets - k)
        if self.reach is not None:
            budgets = budgets[far <= self.reach]
        order = budgets[np.argsort(np.abs(budgets - k), kind="stable")]
        found = self._first(coarse, order)
        budget = k if found is None else found
        if found is None:
            told = f"No budget {'below' if self.under else 'near'} {k} passes the test"
        elif found == k:
            told = f"The budget of {k} groups passes the test"
        else:
            told = f"Treat {found} groups instead of {k}: the nearest budget to pass the test"
        return Rebudget(
            asked=k,
            budget=budget,
            against=budget,
            found=found is not None,
            ratio=coarse.ratio(budget, budget),
            eps=coarse.eps,
            claimed=float("nan"),
            words=f"{told} ({self.test!r}).",
        )

    def _first(self, coarse: Coarse, budgets: Int[np.ndarray, " q"]) -> int | None:
        """The first of these budgets that passes."""
        if self.test == "certified":
            fine = (k for k in budgets if coarse.ratio(int(k), int(k)) >= 1 - coarse.eps)
            first = next(fine, None)
            return None if first is None else int(first)
        if self.test == "claim":
            of = threshold_bounds(coarse, budgets)
            slack = 4 * coarse.rho - coarse.eps * (of.threshold + 2 * coarse.rho)
            passes = of.near * slack <= coarse.eps * of.high_value
        else:
            passes = ~threshold_mass(coarse.t, budget=budgets, rho=coarse.rho).heavy  # type: ignore[operator]
        return int(budgets[np.argmax(passes)]) if np.any(passes) else None


class Overspend(BudgetMethod):
    """Treat a few groups more, in the order of the estimates, until at most eps of V* at K is lost.

    The number is the smallest that is proven: with it no effects within rho of the estimates have a
    best value of K groups above V / (1 - eps). `claimed` is the paper's
    ((4 rho - eps (tau_K + 2 rho)) near - eps high_value) / (tau_K - 2 rho), with the one-sided
    bounds of the estimates, rounded up; it takes the groups added to be worth tau_K - 2 rho each,
    and is infinite where tau_K may be below 2 rho.

    **Arguments:** `most` groups to add; None for any number.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 5; the proven number is ours.

    **Example:**

        >>> import jcausal as jc
        >>> t = [0.9, 0.88, 0.5, 0.49, 0.48, 0.1]
        >>> method = jc.allocation.Overspend()
        >>> jc.allocation.rebudget(t, method, budget=3, rho=0.05, eps=0.02).budget
        4
    """

    most: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.most is not None and self.most < 0:
            raise ValueError(f"most is {self.most}: it must not be negative.")

    def of(self, coarse: Coarse) -> Rebudget:
        """The fewest groups to add, by bisection: the ratio grows with each."""
        k, m = coarse.budget, len(coarse.t)
        low, high = k, m if self.most is None else min(m, k + self.most)
        found = coarse.ratio(high, k) >= 1 - coarse.eps
        while found and low < high:
            middle = (low + high) // 2
            enough = coarse.ratio(middle, k) >= 1 - coarse.eps
            low, high = (low, middle) if enough else (middle + 1, high)
        budget = high if found else k
        if found and budget > k:
            words = f"Treat {budget} groups, {budget - k} more than {k}."
        elif found:
            words = f"The budget of {k} groups needs no more."
        else:
            words = f"Not even {high - k} groups more than {k} prove the loss to be at most eps."
        return Rebudget(
            asked=k,
            budget=budget,
            against=k,
            found=found,
            ratio=coarse.ratio(budget, k),
            eps=coarse.eps,
            claimed=self._claimed(coarse),
            words=words,
        )

    def _claimed(self, coarse: Coarse) -> float:
        """The paper's number of groups to add."""
        of = threshold_bounds(coarse, np.array([coarse.budget]))
        near, high_value, threshold = (a[0] for a in of)
        eps, rho = coarse.eps, coarse.rho
        lost = max(0.0, (4 * rho - eps * (threshold + 2 * rho))) * near - eps * high_value
        if lost <= 0:
            return 0.0
        each = threshold - 2 * rho
        return float(np.ceil(lost / each)) if each > 0 else float("inf")


class Accept(BudgetMethod):
    """Keep K if a loss of kappa eps is acceptable and no more is possible.

    `claimed` is the kappa of claim 3.2 with the one-sided bounds of the estimates,
    4 rho near / (high_value + (tau_K + 2 rho) near) / eps.

    **Arguments:** `kappa`: 4 is what a random choice between two close levels loses, 8 its worst
    case (the paper's two spikes).

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 5.

    **Example:**

        >>> import jcausal as jc
        >>> t = [0.9, 0.88, 0.5, 0.49, 0.48, 0.1]
        >>> method = jc.allocation.Accept(kappa=4.0)
        >>> jc.allocation.rebudget(t, method, budget=3, rho=0.05, eps=0.02).found
        True
    """

    kappa: float = eqx.field(static=True, default=8.0)

    def __check_init__(self) -> None:
        if not self.kappa > 0:
            raise ValueError(f"kappa is {self.kappa}: it must be a positive number.")

    def of(self, coarse: Coarse) -> Rebudget:
        """The budget as it is, with what it may lose."""
        k, eps, rho = coarse.budget, coarse.eps, coarse.rho
        ratio = coarse.ratio(k, k)
        near, high_value, threshold = (a[0] for a in threshold_bounds(coarse, np.array([k])))
        claimed = 4 * rho * near / (high_value + (threshold + 2 * rho) * near) / eps
        fine = ratio >= 1 - self.kappa * eps
        words = f"The budget stays {k}: a loss of {self.kappa:g} eps is accepted"
        return Rebudget(
            asked=k,
            budget=k,
            against=k,
            found=fine,
            ratio=ratio,
            eps=eps,
            claimed=float(claimed),
            words=f"{words}." if fine else f"{words}, and more may be lost.",
        )


def rebudget(
    estimates: GroupValues, method: BudgetMethod, *, budget: int, rho: float, eps: float
) -> Rebudget:
    """Let a budget of K groups give way, so that coarse estimates choose well enough.

    **Arguments:**

    - `estimates`: (M,) concrete, of effects in [0, 1] and within rho of all of them at once.
    - `method`: `jc.allocation.Slide`, `jc.allocation.Overspend` or `jc.allocation.Accept`.
    - `budget`: K.
    - `rho`: accuracy of the estimates (`jc.LEA(...).rho`).
    - `eps`: the share of the best value that may be lost.

    **Returns:** `Rebudget`. **Raises:** `DataError` for NaN and for estimates further than rho
    outside [0, 1]; ValueError for budget, rho or eps out of range.

    **Example:**

        >>> import jcausal as jc
        >>> t = [0.9, 0.88, 0.5, 0.49, 0.48, 0.1]
        >>> method = jc.allocation.Slide(under=True)
        >>> print(jc.allocation.rebudget(t, method, budget=3, rho=0.05, eps=0.02).summary())
        Treat 2 groups instead of 3: the nearest budget to pass the test ('certified'). Proven: \
at least 100% of the best value of 2 groups (0 eps may be lost).
    """
    check_object(method)
    if not isinstance(method, BudgetMethod):
        raise ValueError(
            f"{type(method).__name__} is no way to move a budget such as jc.allocation.Slide()."
        )
    check_rho(rho)
    check_share("eps", eps)
    found = np.asarray(as_effects("estimates", estimates, slack=rho))
    check_budget(budget, found.size)
    return method.of(Coarse(np.sort(found)[::-1].copy(), int(budget), float(rho), float(eps)))
