"""Picture: a covariate in both arms, before and after matching or weighting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from jcausal.data import Sample, named
from jcausal.diagnostics import silverman_bandwidth, weighted_quantiles
from jcausal.effects import Average, Effects
from jcausal.matching import Matching
from jcausal.plot._plots import BLUE, ORANGE, _axes, label_of, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTINCT = 12  # values of a number, up to which shares are drawn in place of densities
GRID = 400  # points of a density
LEVELS = 20  # of a category: of more, those that are most frequent before
Weights = dict[str, Float[np.ndarray, " n"]]


class _Curve(NamedTuple):
    """One of the four curves: values and weights (m,) of an arm, its name, colour and stroke."""

    values: Float[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]
    label: str
    colour: str
    stroke: str
    width: float

    @property
    def share(self) -> Float[np.ndarray, " m"]:
        """The weights, adding up to 1."""
        total = self.weight.sum()
        return self.weight / total if total > 0 else self.weight


def distribution(
    found: Effects | Matching | Average,
    covariate: str,
    *,
    show: Literal["density", "ecdf"] = "density",
    ax: Axes | None = None,
) -> Axes:
    """A covariate among the treated and the controls, before (dashed) and after (solid).

    Of a number weighted densities (normal kernels, Silverman's bandwidth, that end where the values
    end), of at most twelve distinct values their shares; `show="ecdf"` draws weighted distribution
    functions. Of a category and a binary bars of shares, a missing value as a level; where a number
    is missing its share is told. Densities are drawn over the middle 99.6% of each arm.

    **Arguments:** `found`: effects, a matching, or the average of a weighting such as `jc.IPTW()`;
    `covariate` its name; `show`; `ax`.

    **Returns:** the axes. ValueError for an unknown name, a distribution function of a category,
    and an average without weights.

    **Source:** Silverman (1986), Density Estimation, section 3.4.

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.NearestNeighbors())
        >>> jc.plot.distribution(effects, "age", show="ecdf").get_xlabel()
        'age (years)'
    """
    sample, weights = _weights(found)
    schema = sample.schema
    if covariate not in schema.names:
        raise ValueError(
            f"there is no covariate {covariate!r}: they are {', '.join(schema.names)}."
        )
    if show not in ("density", "ecdf"):
        raise ValueError(f"show is {show!r}: use 'density' or 'ecdf'.")
    j = schema.names.index(covariate)
    category = schema.kinds[j] == "category"
    if category and show == "ecdf":
        raise ValueError(
            f"{covariate!r} is a category, whose levels have no order: show='density'."
        )
    ax = _axes(ax, (7.5, 4.5))
    curves = _curves(sample, j, weights)
    if category or (schema.kinds[j] == "binary" and show == "density"):
        _bars(ax, curves, list(schema.levels[j]) if category else ["0", "1"])
    elif show == "ecdf":
        _steps(ax, curves)
    else:
        _densities(ax, curves)
    ax.set(xlabel=label_of(schema, j), title=plain(f"{covariate} before and after"))
    if schema.kinds[j] == "number":
        ax.xaxis.set_major_formatter("{x:,.10g}")
    ax.set_ylim(bottom=0)
    legend(ax, beside=False)
    return ax


def _weights(found: Effects | Matching | Average) -> tuple[Sample, Weights]:
    """The sample, and the weights (n,) of its rows before and after."""
    if isinstance(found, Average):
        if found.unit_weight is None:
            raise ValueError(
                f"plot.distribution: {found.method} is no difference of two weighted means, so "
                "that there is no after; jc.plot.overlap shows the arms."
            )
        sample, after = found.sample, found.unit_weight
    elif isinstance(found, Effects | Matching):
        matching = found.matching if isinstance(found, Effects) else found
        sample, after = matching.sample, matching.matched_weights()
    else:
        raise ValueError(
            f"plot.distribution takes effects, a matching or an average, not {named(found)}: pass "
            "what jc.estimate or jc.match returns."
        )
    before = np.where(np.asarray(sample.valid), np.asarray(sample.weight, np.float64), 0)
    return sample, dict(before=before, after=np.asarray(after, np.float64))


def _curves(sample: Sample, j: int, weights: Weights) -> list[_Curve]:
    """Both arms, before and after, over the rows whose value is known."""
    values, t = sample.points[:, j], np.asarray(sample.t)
    gap, made = np.isnan(values), []
    for arm, colour, word, width in (
        (True, ORANGE, "treated", 2.4),
        (False, BLUE, "controls", 1.4),
    ):
        for when, stroke in (("before", "--"), ("after", "-")):
            mass = weights[when] * (t == arm)
            total = mass.sum()
            missing = mass[gap].sum() / total if total > 0 else 0.0
            told = f", {100 * missing:.3g}% missing" if missing > 0 else ""
            use = ~gap & (mass > 0)
            label = f"{word} {when}{told}"
            made.append(_Curve(values[use], mass[use], label, colour, stroke, width))
    return made


def _style(curve: _Curve) -> dict[str, Any]:
    return dict(color=curve.colour, ls=curve.stroke, lw=curve.width, label=curve.label)


def _densities(ax: Axes, curves: list[_Curve]) -> None:
    """Densities, or shares of a few distinct values."""
    distinct = np.unique(np.concatenate([c.values for c in curves]))
    if distinct.size <= DISTINCT:
        for curve in curves:
            shares = [curve.share[curve.values == v].sum() for v in distinct]
            ax.plot(distinct, shares, marker="o", ms=4, **_style(curve))
        ax.set_ylabel("share of the arm")
        return
    known = [c for c in curves if c.values.size]
    widths = [_width(c) for c in known]
    grid = np.linspace(distinct[0], distinct[-1], GRID)  # kernels end where the values end
    for curve, width in zip(known, widths):
        ax.plot(grid, _density(curve, width, grid), **_style(curve))
    ax.set_xlim(*_middle(known))
    ax.set_ylabel("density")


def _width(curve: _Curve) -> float:
    order = np.argsort(curve.values, kind="stable")
    return silverman_bandwidth(curve.values[order], curve.weight[order])


def _middle(curves: list[_Curve]) -> tuple[float, float]:
    """From the least to the largest of the curves' 0.2% and 99.8% quantiles."""
    ends = [weighted_quantiles(c.values, c.weight, [0.002, 0.998]) for c in curves]
    low, high = float(np.min(ends)), float(np.max(ends))
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _density(curve: _Curve, width: float, grid: Float[np.ndarray, " g"]) -> np.ndarray:
    """The weighted density on a grid, from the shares of its cells: (g, g) at most."""
    step = grid[1] - grid[0]
    place = np.clip(np.rint((curve.values - grid[0]) / step).astype(int), 0, grid.size - 1)
    mass = np.bincount(place, curve.share, grid.size)
    kernel = np.exp(-0.5 * ((grid[:, None] - grid) / max(width, step / 2)) ** 2)
    smooth = (kernel / kernel.sum(0)) @ mass
    return smooth / step


def _steps(ax: Axes, curves: list[_Curve]) -> None:
    """Distribution functions: the share of the weight at or below each value."""
    for curve in (c for c in curves if c.values.size):
        values, place = np.unique(curve.values, return_inverse=True)
        below = np.cumsum(np.bincount(place, curve.share, values.size))
        ax.plot(np.r_[values[0], values], np.r_[0, below], drawstyle="steps-post", **_style(curve))
    ax.set_ylabel("share at or below")


def _bars(ax: Axes, curves: list[_Curve], levels: list[str]) -> None:
    """Shares of the levels, four bars a level; before hatched."""
    shares = np.array([np.bincount(c.values.astype(int), c.share, len(levels)) for c in curves])
    kept = np.arange(len(levels))
    if len(levels) > LEVELS:
        kept = np.sort(np.argsort(-shares[[0, 2]].sum(0), kind="stable")[:LEVELS])
    place = np.arange(kept.size)
    for k, curve in enumerate(curves):
        hollow = curve.stroke == "--"
        face: dict[str, Any] = dict(fc=curve.colour)
        if hollow:
            face = dict(fc="none", ec=curve.colour, hatch="///")
        at = place + 0.2 * (k - 1.5)
        ax.bar(at, shares[k, kept], 0.19, label=curve.label, lw=1, **face)
    names = [plain(levels[k], 24) for k in kept]
    style: dict[str, Any] = dict(rotation=35, ha="right") if sum(map(len, names)) > 70 else {}
    ax.set_xticks(place, names, **style)
    few = f" ({kept.size} of {len(levels)} levels)" if kept.size < len(levels) else ""
    ax.set_ylabel(f"share of the arm{few}")
