"""The verb `allocate`: which groups to treat, and how much value is lost at most."""

from collections.abc import Sequence
from math import inf, sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, PRNGKeyArray

from jcausal.allocation._allocation import Allocation, Bounds, Numbers, Value, clipped
from jcausal.allocation._certificate import Chosen, Scalar, certify, one_sided
from jcausal.allocation._estimates import GroupEstimates, Halves, Vector
from jcausal.allocation._half_widths import Rho, half_widths
from jcausal.allocation._top_k import Best, Budget, Marks, Rows, any_group
from jcausal.data import (
    By,
    DataError,
    Sample,
    check_number,
    check_object,
    check_share,
    is_traced,
)
from jcausal.effects import Effects
from jcausal.inference import Interval

Source = GroupEstimates | Effects | Interval | Sample | Vector | Sequence[float] | pd.Series


def allocate(
    estimates: Source,
    budget: Budget,
    *,
    rho: Rho = None,
    delta: float = 0.05,
    bounds: tuple[float | None, float | None] = (None, None),
    by: By | None = None,
    key: PRNGKeyArray | Array | int | None = None,
) -> Allocation:
    """Choose the groups to treat within a budget, and certify the value.

    The groups with the largest estimates are chosen, as the budget allows. If every estimate is
    within rho of the true effect, their value V and the best value V* of a set with the same budget
    satisfy V >= kept, V* - V <= lost and V / V* >= kept / (kept + lost), where, with effects at
    their lower end in the chosen groups and at their upper end elsewhere, kept is the chosen
    groups' value and lost what the best set has more. No larger ratio holds for all effects within
    rho.

    **Arguments:**

    - `estimates`: `jc.GroupEstimates`, or what they are made from: effects or a randomised trial
      (`Sample`) with `by=` a covariate's name or labels (n,), an `Interval` made with `by=`, or
      plain numbers (k,) with `rho`.
    - `budget`: `jc.TopK(K)`, or `jc.Knapsack(...)` for unequal costs, floors and caps.
    - `rho`: how far each estimate may be off, a number or (k,), of pandas by the groups' labels; it
      must hold for all groups at once, with probability 1 - delta. None takes the quantile at
      1 - delta / (2 k) of the errors.
    - `bounds`: what effects are known to lie between, such as (0, 1); None where nothing is known.
      When the lower one is at least 0 no group can be harmed, and none is left out as not positive.
    - `key`: a JAX key or an int, for halves: random halves of a trial's units, or normal thinning
      of estimates with errors. Without it (and without halves in the estimates) no value is split.

    **Returns:** `Allocation`. With `TopK` and estimates or rho that are traced, under jit, vmap or
    grad; NaN among them makes every number NaN there.

    **Raises:** `DataError` for NaN, groups with an empty arm or without an error, no rho and no
    errors, estimates that contradict the bounds; ValueError for budgets that do not fit, delta
    outside (0, 1).

    **Source:** Casacuberta and Hardt, "Good Allocations from Bad Estimates" (arXiv 2601.05597),
    algorithm 1; the certificate for unequal errors is ours. In the paper effects lie in [0, 1] and
    exactly K groups are treated: `bounds=(0, 1)`, `TopK(K, at_most=False)`.

    **Example:**

        >>> import jcausal as jc
        >>> estimates = jc.GroupEstimates([0.9, 0.2, 0.6, 0.5], std_error=[0.05, 0.02, 0.04, 0.03])
        >>> found = jc.allocate(estimates, jc.TopK(budget=2))
        >>> found.chosen.tolist(), round(float(found.guaranteed_ratio), 3)
        ([True, False, True, False], 0.945)
    """
    check_object(budget)
    if not isinstance(budget, Budget):
        raise ValueError(f"{type(budget).__name__} is no budget such as jc.TopK(3).")
    delta = check_share("delta", delta)
    low, high = _ends(bounds)
    found = _as_estimates(estimates, by, key)
    traced = is_traced(found, budget, rho)
    if traced and not budget.traceable:
        raise ValueError(f"{type(budget).__name__} is solved on the host: allocate outside of jit.")
    if traced:
        found = jax.tree.map(jnp.asarray, found)
    budget = budget.in_order(found.index)
    budget.check(found.groups)
    wide = half_widths(found, rho, delta)
    if not traced:
        _check_bounds(found, wide, (low, high))
    return _allocated(found, budget, wide, (low, high), delta, rho is not None)


def _allocated(
    estimates: GroupEstimates,
    budget: Budget,
    rho: Vector,
    bounds: Bounds,
    delta: float,
    given: bool,
) -> Allocation:
    """Choose, value and certify."""
    best = _choose(budget, estimates.value[None], rho, bounds)
    lower, upper = (clipped(estimates.value + s * rho, bounds) for s in (-1, 1))
    chosen = best.chosen[0]
    sure = certify(budget, lower, upper, chosen)
    spread = _between(estimates)
    value = Value(
        naive=_over(chosen, estimates.value),
        split=_split(budget, estimates.halves, rho, bounds),
        shrunk=None if spread is None else _over(chosen, _shrunk(estimates, spread[0])),
    )
    found = Allocation(
        estimates=estimates,
        budget=budget,
        rho=rho,
        chosen=chosen,
        contested=sure.contested,
        value=value,
        kept=sure.kept,
        lost=sure.lost,
        paper_ratio=one_sided(budget, estimates.value, rho, lower, chosen),
        gap=best.gap[0],
        reliability=None if spread is None else spread[1],
        given_rho=given,
        delta=delta,
        bounds=bounds,
    )
    return _nan_if_bad(found) if is_traced(estimates, rho, budget) else found


def _numbers(found: Allocation) -> tuple:
    return found.value, found.kept, found.lost, found.paper_ratio, found.gap, found.reliability


def _nan_if_bad(found: Allocation) -> Allocation:
    """Under tracing: NaN for every number when an estimate or rho is NaN, and nothing chosen."""
    bad = jnp.isnan(found.estimates.value).any() | jnp.isnan(found.rho).any()
    numbers = jax.tree.map(lambda a: jnp.where(bad, jnp.nan, a), _numbers(found))
    chosen = found.chosen & ~bad
    found = eqx.tree_at(_numbers, found, numbers, is_leaf=lambda leaf: leaf is None)
    return eqx.tree_at(lambda a: a.chosen, found, chosen)


def _choose(budget: Budget, values: Rows, rho: Vector, bounds: Bounds) -> Best:
    """The best sets by estimates (b, k), from the groups that may be treated."""
    lower = clipped(values - rho, bounds)
    allowed = any_group(values)
    if budget.needs_positive and bounds[0] < 0:
        allowed = lower > 0
    return budget.best(lower if budget.robust else values, allowed)


def _split(budget: Budget, halves: Halves | None, rho: Vector, bounds: Bounds) -> Scalar | None:
    """Chosen by one half, valued by the other; half of the units are off by sqrt(2) as much."""
    if halves is None:
        return None
    chooses = halves.reshape(-1, halves.shape[2])
    values = halves[:, ::-1].reshape(chooses.shape)
    try:
        chosen = _choose(budget, chooses, sqrt(2) * rho, bounds).chosen
    except DataError as error:
        raise DataError(
            f"in a half of the data, where errors are larger: {error} Or allocate without halves."
        ) from error
    return _over(chosen, values) / chooses.shape[0]


def _over(chosen: Chosen | Marks, values: Numbers) -> Scalar:
    """The sum over the chosen."""
    return values.__array_namespace__().where(chosen, values, 0).sum()


def _between(estimates: GroupEstimates) -> tuple[Scalar, Scalar] | None:
    """Variance of the true effects and its share of that of the estimates; None without errors.

    variance = max(0, s^2 - mean std_error^2), with s^2 the estimates' variance (k - 1).
    """
    if estimates.std_error is None or estimates.groups < 2:
        return None
    xp = estimates.value.__array_namespace__()
    total = xp.var(estimates.value, ddof=1)
    between = xp.maximum(total - (estimates.std_error**2).mean(), 0)
    return between, between / xp.where(total > 0, total, 1)


def _shrunk(estimates: GroupEstimates, between: Scalar) -> Vector:
    """Posterior means m + b / (b + e^2) (value - m), m the mean weighted by 1 / (b + e^2).

    b is `between`, e a group's standard error.

    **Source:** Morris (1983), JASA 78(381).
    """
    xp = estimates.value.__array_namespace__()
    assert estimates.std_error is not None
    total = between + estimates.std_error**2
    known = total > 0
    weight = xp.where(known, 1 / xp.where(known, total, 1), 0)
    all_exact = (~known).any()
    weight = xp.where(all_exact, (~known).astype(weight.dtype), weight)
    mean = (weight * estimates.value).sum() / weight.sum()
    share = xp.where(known, between / xp.where(known, total, 1), 1)
    return mean + share * (estimates.value - mean)


def _as_estimates(
    source: Source, by: By | None, key: PRNGKeyArray | Array | int | None
) -> GroupEstimates:
    """Estimates by group of whatever was given, with halves if there is a key."""
    if isinstance(source, Sample):
        if by is None:
            raise ValueError("by= is missing: name the covariate or give the labels of the groups.")
        return GroupEstimates.from_trial(source, by=by, key=key)
    if isinstance(source, Effects | Interval):
        source = GroupEstimates.from_effects(source, by=by)
    elif by is not None:
        raise ValueError("by= is for effects and samples: these estimates have their groups.")
    found = source if isinstance(source, GroupEstimates) else GroupEstimates(source)
    if key is None:
        return found
    if found.halves is not None:
        raise ValueError("key= draws halves, and the estimates have some already.")
    return found.thinned(key=key)


def _ends(bounds: tuple[float | None, float | None]) -> Bounds:
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ValueError(f"bounds is {bounds!r}: give two numbers, or None for one.")
    low = -inf if bounds[0] is None else check_number("the lower of bounds", bounds[0])
    high = inf if bounds[1] is None else check_number("the upper of bounds", bounds[1])
    if not low < high:
        raise ValueError(f"bounds are {bounds}: the first must be below the second.")
    return low, high


def _check_bounds(estimates: GroupEstimates, rho: Vector, bounds: Bounds) -> None:
    """Refuse estimates that are too far outside of the bounds for their rho."""
    value = np.asarray(estimates.value)
    bad = np.flatnonzero((value + rho < bounds[0]) | (value - rho > bounds[1]))
    if bad.size:
        raise DataError(
            f"the estimate of group {estimates.names(bad)} is more than rho outside of the bounds "
            f"{bounds[0]:g} to {bounds[1]:g} ({bad.size} of {estimates.groups}): widen rho or the "
            "bounds."
        )
