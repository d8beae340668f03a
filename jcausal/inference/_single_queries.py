"""What intervals for single queries share: whose means are used, and how outcomes vary in them."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import bucket, first_rows, is_traced, on_host, pad_rows, to_device
from jcausal.effects import Effects
from jcausal.inference._abadie_imbens import means_in_use
from jcausal.inference._neighbor_noise import NEAREST, noise_variance

USED = "whose mean is used"


class Means(NamedTuple):
    """The arms' means of each of q queries.

    - `used` (q, 2): the mean of controls, and of treated, is a part of the effect.
    - `enough` (q,): the query is matched, and every mean that is used has the units it needs.
    """

    used: Bool[Array, "q 2"]
    enough: Bool[Array, " q"]

    def wanted(self) -> Bool[Array, "q 2"]:
        """The means whose variance is asked for."""
        return _both(self.used, self.enough)


class OwnOutcomes(NamedTuple):
    """Queries' own outcomes in their effects: their variance (q,), 0 for none, and if pooled."""

    variance: Float[Array, " q"]
    pooled: Bool[Array, " q"]


def check_groups(effects: Effects, name: str) -> None:
    """Refuse regressions, whose groups have no mean to vary.

    **Raises:** ValueError.
    """
    smoother = effects.matching.smoother()
    if smoother is not None:
        raise ValueError(
            f"{name} is for means of groups, and these effects come from {smoother}: use "
            "jc.AbadieImbens() or jc.Bootstrap() for averages, and by= for those of groups, such "
            "as by=effects.matching.leaf."
        )


def check_no_clusters(effects: Effects, name: str) -> None:
    """Refuse clusters, which groups cut apart.

    **Raises:** ValueError.
    """
    if effects.sample.cluster is not None:
        raise ValueError(
            f"{name} would ignore the sample's clusters, and no method knows them for single "
            "queries: use jc.Bootstrap() for averages, or a sample without cluster=."
        )


def usable_means(effects: Effects, least: int, name: str) -> Means:
    """Which arms' means are used, and which queries have `least` units in each of them.

    **Raises:** ValueError with the counts when no query has, for regressions and for clusters.
    """
    check_groups(effects, name)
    check_no_clusters(effects, name)
    matching, sizes = effects.matching, effects.effective
    used = means_in_use(matching.query, matching.query_treated, effects.effect)
    enough = _enough(used, sizes, effects.matched, least)
    if not is_traced(enough) and not np.asarray(enough).any():
        smallest = np.where(np.asarray(used), np.asarray(sizes), np.inf).min(1)
        largest = float(np.where(np.asarray(effects.matched), smallest, 0).max())
        raise ValueError(
            f"none of the {np.asarray(effects.matched).sum()} matched queries has {least} "
            f"{units_in_words(effects)} in every arm {USED} (the most is {largest:.3g}): ask for "
            f"larger groups with min_controls={least}, or use jc.ConservativeNormal()."
        )
    return Means(used, enough)


def too_few(effects: Effects, least: int) -> str:
    """Why a query has no bounds."""
    return f"fewer than {least} {units_in_words(effects)} in an arm of the group {USED}"


def units_in_words(effects: Effects) -> str:
    """What is counted, for readers: units, or effective units where weights may differ."""
    sample = effects.sample
    if is_traced(sample.weight, sample.valid):
        return "effective units"
    weight = np.asarray(sample.weight)[np.asarray(sample.valid)]
    return "units" if (weight == weight[0]).all() else "effective units"


def own_outcomes(effects: Effects, enough: Bool[Array, " q"]) -> OwnOutcomes:
    """The noise of the queries' own outcomes under effect "own": their arm's variance in the group.

    Pooled over all groups where the query is alone in its arm.
    """
    own = own_or_pooled(effects)[0] if effects.effect == "own" else None
    matching = effects.matching
    return OwnOutcomes(
        *_own(
            own, effects.alone, effects.effective, (matching.query, matching.query_treated), enough
        )
    )


def own_draws(
    effects: Effects, own: OwnOutcomes, key: PRNGKeyArray, draws: int
) -> Float[Array, "q b"]:
    """Normal draws of the noise of the queries' own outcomes; they follow the row's identity."""
    words = query_words(effects)
    if not is_traced(own) and not np.asarray(own.variance).any():
        return to_device(np.zeros((words.shape[0], draws), own.variance.dtype))
    if is_traced(words, key, own):
        return _normal_draws(words, own.variance, key, draws)
    size = bucket(words.shape[0])
    padded = (pad_rows(np.asarray(a), size) for a in (words, own.variance))
    return first_rows(_normal_draws(*padded, key, draws), words.shape[0])


def query_words(effects: Effects) -> Array:
    """Two words (q, 2) that name each query: its row's, or its place for points."""
    return _query_words(effects.sample.row, effects.matching.query)


def own_or_pooled(effects: Effects) -> tuple[Float[Array, "q 2"], Bool[Array, " q"]]:
    """Variances by query and arm, pooled where an arm has one unit, and which those are.

    Pooled over the groups that hold two units and more of the arm; where none does, over the arm's
    units from the nearest of the same arm.

    **Raises:** ValueError when the sample has one unit of an arm.
    """
    sample = effects.sample
    variance, pooled, lacking = _pooled(
        effects.variances, effects.effective, effects.alone, effects.matched
    )
    if not is_traced(lacking) and not np.asarray(lacking).any():
        return variance, pooled
    wanted = _of_arms(sample.t, sample.valid, sample.weight, lacking)
    noise = noise_variance(sample, effects.residual, NEAREST, wanted)
    return _from_neighbors(variance, lacking, noise, sample.t, sample.weight), pooled


@on_host
def _both(lib: Any, used: Bool[Array, "q 2"], enough: Bool[Array, " q"]) -> Bool[Array, "q 2"]:
    return used & enough[:, None]


@on_host
def _enough(
    lib: Any,
    used: Bool[Array, "q 2"],
    sizes: Float[Array, "q 2"],
    matched: Bool[Array, " q"],
    least: int,
) -> Bool[Array, " q"]:
    return matched & ((sizes >= least * (1 - 1e-4)) | ~used).all(1)


@on_host
def _own(
    lib: Any,
    own: Float[Array, "q 2"] | None,
    alone: Bool[Array, "q 2"],
    like: Float[Array, "q 2"],
    queries: tuple[Int[Array, " q"], Bool[Array, " q"]],
    enough: Bool[Array, " q"],
) -> tuple[Float[Array, " q"], Bool[Array, " q"]]:
    query, treated = queries
    if own is None:
        return lib.zeros_like(like[:, 0]), lib.zeros_like(enough)
    row = (query >= 0) & enough
    place = np.arange(query.shape[0]), treated.astype(lib.int32)
    return lib.where(row, own[place], 0), row & alone[place]


@on_host
def _query_words(lib: Any, words: Array, query: Int[Array, " q"]) -> Array:
    place = lib.arange(query.shape[0]).astype(lib.uint32)
    outside = lib.stack([place, lib.full_like(place, 2**32 - 1)], axis=1)
    return lib.where((query >= 0)[:, None], words[query], outside)


@partial(jax.jit, static_argnums=3)
def _normal_draws(
    words: Array, variance: Float[Array, " q"], key: PRNGKeyArray, draws: int
) -> Float[Array, "q b"]:
    def one(word: Array, square: Array) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(key, word[0]), word[1])
        return square**0.5 * jax.random.normal(own, (draws,), square.dtype)

    return jax.vmap(one)(words, variance)


@on_host
def _pooled(
    lib: Any,
    own: Float[Array, "q 2"],
    effective: Float[Array, "q 2"],
    alone: Bool[Array, "q 2"],
    matched: Bool[Array, " q"],
) -> tuple[Float[Array, "q 2"], Bool[Array, " q"], Bool[Array, " 2"]]:
    """Variances, which are pooled, and the arms in which there is nothing to pool (NaN)."""
    matched = matched[:, None]
    usable, alone = ~lib.isnan(own) & matched, alone & matched
    df = lib.where(usable, effective - 1, 0)
    known = usable.any(0)
    total = lib.where(known, df.sum(0), 1)
    pool = lib.where(known, (lib.where(usable, own, 0) * df).sum(0) / total, lib.nan)
    return lib.where(alone, pool, own), alone.any(1), alone.any(0) & ~known


@on_host
def _of_arms(
    lib: Any,
    t: Bool[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
    arms: Bool[Array, " 2"],
) -> Bool[Array, " n"]:
    return valid & (weight > 0) & arms[t.astype(lib.int32)]


@on_host
def _from_neighbors(
    lib: Any,
    variance: Float[Array, "q 2"],
    lacking: Bool[Array, " 2"],
    noise: Float[Array, " n"],
    t: Bool[Array, " n"],
    weight: Float[Array, " n"],
) -> Float[Array, "q 2"]:
    """The weighted mean of the noise of an arm's units, where nothing else is known of the arm."""
    w = lib.stack([lib.where(t == arm, weight, 0) for arm in (False, True)])
    total = w.sum(1)
    mean = (w * noise).sum(1) / lib.where(total > 0, total, 1)
    return lib.where(lacking & lib.isnan(variance), mean, variance)
