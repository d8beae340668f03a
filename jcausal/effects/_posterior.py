"""What posterior draws tell of effects: intervals of the average and of every unit."""

import inspect
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Float32

from jcausal.data import Sample, bucket, number_in_words, pad_rows, to_device
from jcausal.surfaces import split_rhat, split_rhats

MOST_POINTS = 4096  # that are evaluated at a time
MIXED = 1.05  # R-hat of the average, from which the chains do not tell the same


class EffectForest(eqx.Module):
    """The kept draws of the effect as a function of the covariates."""

    @abstractmethod
    def effects(self, x: Float[Array, "m p"]) -> Float32[Array, "b m"]:
        """The effect at points (m, p) under every kept draw, chain after chain."""


class EffectPosterior(eqx.Module):
    """Posterior draws of the effects, c chains of s draws each, b = c s.

    - `average` (c, s): of the average over the units of the sample that are asked for, in the
      outcome's units.
    - `noise` (c, s, k): of the outcome's standard deviation around its mean; of controls and of
      treated (k = 2) where they have models apart.
    - `units` (b, n): the effect at each unit, 0 for rows that count nothing; None where that would
      take more than `max_bytes`: intervals of units are then made anew from the trees.
    - `unit_rhat` (n,): split R-hat of each unit's effect; NaN for rows that count nothing.
    - `forest`: the effect at any point under each draw.
    """

    average: Float[np.ndarray, "c s"]
    noise: Float[np.ndarray, "c s k"]
    units: Float32[np.ndarray, "b n"] | None
    unit_rhat: Float[np.ndarray, " n"]
    forest: EffectForest
    max_bytes: int = eqx.field(static=True)

    @property
    def rhat(self) -> float:
        """Split R-hat of the average; NaN for fewer than 4 draws a chain."""
        return split_rhat(np.asarray(self.average))

    def bounds(self, level: float) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The posterior quantiles (1 -+ level) / 2 of the average."""
        low, high = np.quantile(np.asarray(self.average), _ends(level))
        dtype = np.asarray(self.average).dtype
        return to_device(low.astype(dtype)), to_device(high.astype(dtype))

    def bounds_at(
        self, x: Float[Array, "m p"], level: float
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Those of the effect at each of m points."""
        out = np.empty((2, x.shape[0]), np.float32)
        for place, draws in in_blocks(self.forest, x, self.average.size, self.max_bytes):
            out[:, place] = np.quantile(draws, _ends(level), axis=0)
        return out[0], out[1]

    def unit_bounds(
        self, sample: Sample, level: float
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Those of the effect at each unit of the sample."""
        if self.units is None:
            return self.bounds_at(sample.x, level)
        low, high = np.quantile(np.asarray(self.units), _ends(level), axis=0)
        return low, high

    def mean_at(self, x: Float[Array, "m p"]) -> Float32[np.ndarray, " m"]:
        """The mean of the draws at each of m points."""
        out = np.empty(x.shape[0], np.float32)
        for place, draws in in_blocks(self.forest, x, self.average.size, self.max_bytes):
            out[place] = draws.mean(0, dtype=np.float64)
        return out

    def words(self) -> list[str]:
        """How the draws were made, whether the chains agree, and what is not kept."""
        chains, draws = self.average.shape
        known = self.unit_rhat[np.isfinite(self.unit_rhat)]
        mixed = "R-hat needs 4 draws a chain"
        if known.size:
            mixed = f"R-hat {self.rhat:.2f} of the average, {known.max():.2f} at most of a unit's"
        plural = "chain" if chains == 1 else "chains"
        lines = [f"posterior of {chains} {plural} of {draws:,} draws: {mixed} effect"]
        if self.rhat > MIXED:
            lines.append(
                f"beware: R-hat of the average is above {MIXED}: the chains do not tell the same; "
                "burn longer, or draw more"
            )
        if self.units is None:
            size = number_in_words(4e-9 * self.average.size * self.unit_rhat.size)
            lines.append(
                f"the draws of all units would take {size} GB and are not kept (max_bytes): "
                "intervals of units are made anew from the trees when they are asked for"
            )
        return lines


class UnitDraws(NamedTuple):
    """What one pass over a sample's units finds.

    `average` (c, s) of the units that are averaged; `mean` and `rhat` (n,) of each unit that
    counts; `units` (b, n) or None, as in `EffectPosterior`.
    """

    average: Float[np.ndarray, "c s"]
    mean: Float32[np.ndarray, " n"]
    rhat: Float[np.ndarray, " n"]
    units: Float32[np.ndarray, "b n"] | None


class Averaging(NamedTuple):
    """What is averaged: `x` (n, p); `use` (n,) rows that count; `share` (n,), adding up to 1."""

    x: Float[Array, "n p"]
    use: Bool[np.ndarray, " n"]
    share: Float[np.ndarray, " n"]


def draw_units(
    forest: EffectForest, asked: Averaging, shape: tuple[int, int], max_bytes: int
) -> UnitDraws:
    """Evaluate every draw at every unit, in blocks of units of at most `max_bytes`.

    `shape` (2,): chains and draws of each.
    """
    count, n = shape[0] * shape[1], asked.share.size
    rows = np.flatnonzero(asked.use)
    units = np.zeros((count, n), np.float32) if 4 * count * n <= max_bytes else None
    average, mean = np.zeros(count), np.zeros(n, np.float32)
    rhat = np.full(n, np.nan)
    x = to_device(np.asarray(asked.x)[rows])
    for place, draws in in_blocks(forest, x, count, max_bytes):
        mine = rows[place]
        average += draws.astype(np.float64) @ asked.share[mine]
        mean[mine] = draws.mean(0, dtype=np.float64)
        rhat[mine] = split_rhats(draws.reshape(*shape, -1))
        if units is not None:
            units[:, mine] = draws
    return UnitDraws(average.reshape(shape), mean, rhat, units)


def in_blocks(
    forest: EffectForest, x: Float[Array, "m p"], draws: int, max_bytes: int
) -> Iterator[tuple[slice, Float32[np.ndarray, "b k"]]]:
    """Blocks of points, padded to few sizes, and their effects under every draw."""
    most = int(np.clip(max_bytes // (16 * draws), 1, MOST_POINTS))
    points = np.asarray(x)
    for start in range(0, points.shape[0], most):
        block = points[start : start + most]
        padded = pad_rows(block, min(bucket(block.shape[0]), most))
        found = np.asarray(forest.effects(to_device(padded)))
        yield slice(start, start + block.shape[0]), found[:, : block.shape[0]]


def _ends(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def in_arviz(posterior: EffectPosterior, ids: Any, use: Bool[np.ndarray, " n"]) -> Any:
    """The draws as arviz takes them: those of units by `ids` (n,), of the rows in `use`.

    **Raises:** ImportError that names the extra.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError('to_arviz needs arviz: pip install "jcausal[arviz]".') from error
    draws = dict(average=np.asarray(posterior.average), sigma=np.asarray(posterior.noise))
    known: dict[str, Any] = {}
    if posterior.units is not None:
        units = np.asarray(posterior.units)[:, use]
        draws["effect"] = units.reshape(*posterior.average.shape, -1)
        known = dict(dims=dict(effect=["unit"]), coords=dict(unit=np.asarray(ids)[use]))
    make: Any = arviz.from_dict
    if "posterior" in inspect.signature(make).parameters:  # before arviz 1
        return make(posterior=draws, **known)
    return make(dict(posterior=draws), **known)
