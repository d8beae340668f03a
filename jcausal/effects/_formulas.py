"""Formulas of effects: by NumPy where nothing is traced."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from jcausal.data import add_at, on_host
from jcausal.matching import RESULTS, Estimand, code

ALONE = 1.01  # effective units below which an arm counts as one unit: the digits end there


@on_host
def first_columns(lib: Any, values: Array, j: int) -> Array:
    return values[..., :j]


@on_host
def treated_or_point(
    lib: Any, treated: Bool[Array, " q"], query: Int[Array, " q"]
) -> Bool[Array, " q"]:
    return treated | (query < 0)


@on_host
def group_means(
    lib: Any, totals: Float[Array, "q 2 3"], centre: Float[Array, ""], matched: Bool[Array, " q"]
) -> Float[Array, "q 2"]:
    """Group means; NaN without a match or without weight."""
    weight = totals[..., 0]
    mean = centre + totals[..., 1] / lib.where(weight > 0, weight, 1)
    return lib.where((weight > 0) & matched[:, None], mean, lib.nan)


@on_host
def with_own(
    lib: Any,
    means: Float[Array, "q 2"],
    query: Int[Array, " q"],
    matched: Bool[Array, " q"],
    t: Bool[Array, " n"],
    y: Float[Array, " n"],
    arm: int,
) -> Float[Array, " q"]:
    """The group's mean of one arm, or the query's own outcome where it is of that arm."""
    own = (query >= 0) & (t[query] == bool(arm)) & matched
    return lib.where(own, y[query], means[:, arm])


@on_host
def group_variances(
    lib: Any, totals: Float[Array, "q 2 3"], effective: Float[Array, "q 2"]
) -> Float[Array, "q 2"]:
    weight, square = totals[..., 0], totals[..., 2]
    spread = square / lib.where(weight > 0, weight, 1)
    known = effective >= ALONE
    return lib.where(known, spread * effective / lib.where(known, effective - 1, 1), lib.nan)


@on_host
def stands_alone(lib: Any, effective: Float[Array, "q 2"]) -> Bool[Array, "q 2"]:
    return (effective > 0) & (effective < ALONE)


@on_host
def shares_of(
    lib: Any,
    matched: Bool[Array, " q"],
    query: Int[Array, " q"],
    treated: Bool[Array, " q"],
    weight: Float[Array, " q"],
    wanted: Estimand,
) -> Float[Array, " q"]:
    arm = dict(att=treated, atc=~treated, ate=lib.ones_like(treated))[wanted]
    weight = lib.where(matched & (query >= 0) & arm, weight, 0)
    return weight / lib.where(weight.sum() > 0, weight.sum(), lib.nan)


@on_host
def shared_mean(
    lib: Any, share: Float[Array, " q"], values: Float[Array, " q"], status: Int[Array, " q"]
) -> Float[Array, ""]:
    """The sum of shares times values; NaN where a query failed."""
    bad = (status == code(RESULTS.bad_input)).any()
    return lib.where(bad, lib.nan, (share * lib.where(share > 0, values, 0)).sum())


@on_host
def all_binary(lib: Any, valid: Bool[Array, " n"], y: Float[Array, " n"]) -> Bool[Array, ""]:
    return (~valid | (y == 0) | (y == 1)).all()


@on_host
def where_true(lib: Any, true: Bool[Array, ""], value: Float[Array, ""]) -> Float[Array, ""]:
    return lib.where(true, value, lib.nan)


@on_host
def ratio(lib: Any, one: Float[Array, ""], zero: Float[Array, ""]) -> Float[Array, ""]:
    return lib.where(zero > 0, one / lib.where(zero > 0, zero, 1), lib.nan)


@on_host
def carried_by_partners(
    lib: Any, share: Float[Array, " q"], treated: Bool[Array, " q"], own: bool
) -> Float[Array, "q 2"]:
    """What each query carries of the means of its group: of the other arm's, or of both."""
    if not own:
        return lib.stack([share, share], axis=1)
    return lib.stack([lib.where(treated, share, 0), lib.where(treated, 0, share)], axis=1)


@on_host
def signed(
    lib: Any,
    partners: Float[Array, " n"],
    t: Bool[Array, " n"],
    query: Int[Array, " q"],
    matched: Bool[Array, " q"] | None,
    share: Float[Array, " q"],
    power: int,
) -> Float[Array, " n"]:
    """Coefficients with the queries' own share; minus for controls, unless they are squares."""
    if matched is not None:
        own = lib.where(matched, share, 0) ** power
        partners = partners + add_at(lib, partners.shape[0], query, own)
    return partners if power == 2 else lib.where(t, partners, -partners)
