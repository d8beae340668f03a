"""The linear form of an average, taken apart by unit, for the bootstrap."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    add_at,
    difference,
    is_traced,
    on_host,
    to_device,
)
from jcausal.effects import Effects
from jcausal.inference._neighbor_noise import NEAREST, noise_variance
from jcausal.matching import EffectKind, Matching, UnitResiduals


class Parts(NamedTuple):
    """By unit, unsigned: residual sums, and coefficients in all, alone, own, squared and added."""

    residual: Float[Array, " n"]
    total: Float[Array, " n"]
    lone: Float[Array, " n"]
    own: Float[Array, " n"]
    single: Float[Array, " n"]


def parts_of(effects: Effects, share: Float[Array, " q"]) -> Parts:
    """The linear form of an average, taken apart by adding up over the groups of each unit."""
    matching = effects.matching
    if matching.smoother() is not None:
        return _regression_parts(effects, share)
    groups = _Groups(
        effects.totals,
        _lift(effects.effective, effects.heavy, effects.alone),
        effects.alone,
        matching.query,
        matching.query_treated,
    )
    columns, square = _partners(groups, share, effects.effect)
    sums = _scattered(matching, columns)
    single = matching.scatter(square, power=2)
    y = difference(effects.residual, effects.centre)
    return _added_up(groups, y, share, sums, single, effects.effect)


class LoneUnits(NamedTuple):
    """What stands in for units that are alone: a residual of each arm (2,), a sign (n,) each."""

    stand_in: Float[Array, " 2"]
    sign: Float[Array, " n"]


class QueryGaps(NamedTuple):
    """The queries' rows (q,), and how far the effect of each is from the average, by its share."""

    row: Int[Array, " q"]
    gap: Float[Array, " q"]


class _Groups(NamedTuple):
    """What is asked of the groups: totals, lifts, who is alone; and their queries."""

    totals: Float[Array, "q 2 e"]
    lift: Float[Array, "q 2"]
    alone: Bool[Array, "q 2"]
    query: Int[Array, " q"]
    treated: Bool[Array, " q"]

    def means(self, lib: Any) -> tuple[Any, Any]:
        """Weight of each group by arm (1 where there is none), and mean."""
        weight = self.totals[..., 0]
        safe = lib.where(weight > 0, weight, 1)
        return safe, self.totals[..., 1] / safe


@on_host
def _partners(
    lib: Any, groups: _Groups, share: Float[Array, " q"], effect: EffectKind
) -> tuple[list[Array], Float[Array, "q 2"]]:
    """What is scattered over the units: with lift, with lift and mean, plain, lone; and squared."""
    safe, mean = groups.means(lib)
    controls = share if effect == "group" else lib.where(groups.treated, share, 0)
    treated = share if effect == "group" else lib.where(groups.treated, 0, share)
    partner = lib.stack([controls, treated], axis=1) / safe
    lifted = partner * groups.lift
    return [lifted, lifted * mean, partner, partner * groups.alone], partner**2


def _scattered(matching: Matching, columns: list[Array]) -> list[Array]:
    """Each column over the units; at once under tracing."""
    if not is_traced(columns, matching):
        return [matching.scatter(column) for column in columns]
    found = jax.vmap(matching.scatter, in_axes=-1, out_axes=0)(jnp.stack(columns, axis=-1))
    return list(found)


@on_host
def _added_up(
    lib: Any,
    groups: _Groups,
    y: Float[Array, " n"],
    share: Float[Array, " q"],
    sums: list[Array],
    single: Float[Array, " n"],
    effect: EffectKind,
) -> Parts:
    """The parts of every unit from what is scattered, and of the queries' own outcomes."""
    residual, total, lone = sums[0] * y - sums[1], sums[2], sums[3]
    own = lib.zeros_like(total)
    if effect == "own":
        row, n = groups.query, total.shape[0]
        place = np.arange(row.shape[0]), groups.treated.astype(lib.int32)
        gap = (y[row] - groups.means(lib)[1][place]) * groups.lift[place]
        residual = residual + add_at(lib, n, row, share * lib.where(share > 0, gap, 0))
        lone = lone + add_at(lib, n, row, lib.where(groups.alone[place], share, 0))
        own = add_at(lib, n, row, share)
    return Parts(residual, total + own, lone, own, single)


def _regression_parts(effects: Effects, share: Float[Array, " q"]) -> Parts:
    """The same where predictions are averaged: a control's residual is that of its regression.

    It is lifted by 1 / sqrt(1 - leverage), so that its square has the expectation sigma^2; where
    the leverage is near 1 the leaf's standard deviation stands for it. A treated unit stands alone.
    """
    y, sample = effects.sample.y, effects.sample
    assert y is not None
    matching = effects.matching
    found = matching.unit_residuals(difference(y, effects.centre))
    assert found is not None
    partner, square = _by_weight(effects.totals, share)
    total, single = matching.scatter(partner), matching.scatter(square, power=2)
    lifted = _lifted(found, sample.t)
    return _of_regressions(total, single, lifted, matching.query, effects.matched, share)


@on_host
def _by_weight(
    lib: Any, totals: Float[Array, "q 2 e"], share: Float[Array, " q"]
) -> tuple[Float[Array, "q 2"], Float[Array, "q 2"]]:
    """What the controls of a group carry by weight, and its square."""
    weight = totals[:, 0, 0]
    partner = lib.where(weight > 0, share / lib.where(weight > 0, weight, 1), 0)
    partner = lib.stack([partner, lib.zeros_like(partner)], axis=1)
    return partner, partner**2


@on_host
def _lifted(lib: Any, found: UnitResiduals, t: Bool[Array, " n"]) -> Float[Array, " n"]:
    """Residuals of the controls, each as large as its noise is expected to be."""
    free = found.leverage < 0.99
    lifted = found.residual / lib.sqrt(lib.where(free, 1 - found.leverage, 1))
    return lib.where(t, 0, lib.where(free, lifted, lib.sqrt(found.variance)))


@on_host
def _of_regressions(
    lib: Any,
    total: Float[Array, " n"],
    single: Float[Array, " n"],
    lifted: Float[Array, " n"],
    query: Int[Array, " q"],
    matched: Bool[Array, " q"],
    share: Float[Array, " q"],
) -> Parts:
    own = add_at(lib, total.shape[0], query, lib.where(matched, share, 0))
    return Parts(total * lifted, lib.abs(total) + own, own, own, single)


@on_host
def _lift(
    lib: Any, n: Float[Array, "q 2"], heavy: Float[Array, "q 2"], alone: Bool[Array, "q 2"]
) -> Float[Array, "q 2"]:
    """What a residual of a group's arm is multiplied by; 0 where a unit is alone.

    With S_p = sum w^p and n = S_1^2 / S_2, E sum (w_k / S_1)^2 (y_k - mean)^2 is the variance of
    the mean times 1 - 2 S_3 / (S_1 S_2) + S_2 / S_1^2. Its inverse would be the unbiased square of
    the lift in one group. n / (n - 1) more is for the products over groups that share few units.
    """
    left = 1 - 2 * heavy + 1 / lib.where(n > 0, n, 1)
    known = (n > 0) & ~alone & (left > 0)
    more = n / lib.where(known, n - 1, 1)
    return lib.where(known, lib.sqrt(more / lib.where(known, left, 1)), 0)


@on_host
def scores_of(
    lib: Any,
    parts: Parts,
    scale: Float[Array, " 2"],
    t: Bool[Array, " n"],
    lone: LoneUnits,
    queries: QueryGaps,
    target: Literal["population", "sample"],
) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """s_k of every unit, and whether a pooled residual had a part in it.

    A unit's own residual goes with its outcome as a query, a stand-in does not, and has to hold the
    whole of what is missing.
    """
    side = lib.where(parts.residual == 0, lone.sign, lib.sign(parts.residual))
    stand_in = side * parts.lone * lone.stand_in[t.astype(lib.int32)]
    direction = lib.where(t, scale[1], -scale[0])
    if target == "sample":
        return (parts.residual + stand_in) * direction, (parts.lone > 0).any()
    square, total = parts.total**2 - parts.single, lib.where(parts.total > 0, parts.total, 1)
    kept = lib.maximum(lib.sqrt(lib.maximum(square, 0)) - parts.own, 0) / total
    kept_alone = lib.sqrt(lib.maximum(square - parts.own**2, 0)) / total
    scores = (parts.residual * kept + stand_in * kept_alone) * direction
    scores = scores + add_at(lib, t.shape[0], queries.row, queries.gap)
    return scores, ((parts.lone > 0) & (kept_alone > 0.01)).any()


def stand_in_of(
    effects: Effects, parts: Parts, target: Literal["population", "sample"]
) -> Float[Array, " 2"]:
    """The pooled residual of each arm's lone units; 0 where there are none.

    For a population only of units with a part in V: partners of two queries, or also queried.
    """
    sample, lone = effects.sample, _lone(parts, target)
    if not is_traced(sample, lone) and not (np.asarray(lone) > 0).any():
        return to_device(np.zeros(2, lone.dtype))
    noise = noise_variance(sample, effects.residual, NEAREST, _positive(lone))
    return _pooled(lone, noise, sample.t)


@on_host
def _lone(lib: Any, parts: Parts, target: Literal["population", "sample"]) -> Float[Array, " n"]:
    if target == "sample":
        return parts.lone
    square = (parts.total - parts.own) ** 2
    shared = square - parts.single > 1e-4 * square
    return lib.where(shared | ((square > 0) & (parts.own > 0)), parts.lone, 0)


@on_host
def _positive(lib: Any, lone: Float[Array, " n"]) -> Bool[Array, " n"]:
    return lone > 0


@on_host
def _pooled(
    lib: Any, lone: Float[Array, " n"], noise: Float[Array, " n"], t: Bool[Array, " n"]
) -> Float[Array, " 2"]:
    square = lib.stack([lib.where(t == arm, lone**2, 0) for arm in (False, True)])
    total = square.sum(1)
    return lib.sqrt((square * noise).sum(1) / lib.where(total > 0, total, 1))
