"""Synthetic nearest neighbours."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import whole
from jcausal.panels._anchor_bicliques import Anchors, anchors_of
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, Spectrum, completed, observed_y1
from jcausal.panels._panel import Panel
from jcausal.panels._rank_rules import omega
from jcausal.panels._requirements import controls_reason

Rule = Literal["median", "energy"]
ENERGY = 0.99


class SyntheticNearestNeighbors(Completer):
    """Treated cells without treatment, by regression on anchors that were observed untreated.

    For a treated cell (i, j): anchor rows, untreated at j, and anchor columns, at which i was
    untreated, with every cell of rows x columns untreated. With S the anchors' outcomes (rows x
    columns), q those of i at the anchor columns, x those of the anchor rows at j, and
    S^T = sum s_l u_l v_l^T cut at rank k:

        y0_ij = <x, beta>,    beta = sum_l<=k v_l <u_l, q> / s_l.

    A cell is NaN, and counted in `details`, where it has no anchors, where the regression does not
    fit, |S^T beta - q|^2 > fit_tolerance |q|^2, or where x is not of the anchors' kind,
    |x - V V^T x|^2 > span_tolerance |x|^2. Both are shares of the outcomes' own size, and so
    depend on the origin of y.

    Anchors are to be many on both sides: a large min(rows, columns). Under absorbing treatment
    with every cell observed they are all units not yet treated at j x all times before i's
    treatment. In other patterns they are grown greedily, row by row (the first of equal rows, so
    that there the order of units may matter), and where treatment is random at half of the cells
    they are few. Treated cells with the same anchors share one SVD.

    **Arguments:**

    - `rank`: an int, at most the anchors' own; "median" (default): singular values above
      omega(beta) times their median (Gavish and Donoho), at least 1; "energy": as many as make up
      `energy` of the sum of squares (default 0.99).
    - `fit_tolerance`, `span_tolerance`: default 0.1 each.

    y0 of a treated unit's anchor columns is the regression's fit there, S^T beta, of the anchors
    that most of its treated cells have; elsewhere, and for units never treated, NaN. Runs on the
    host in float64: not traceable. `rank` and `singular_values` are those of the anchors with the
    most treated cells. `details`: anchor blocks, fewest anchor rows, fewest anchor columns, and
    cells without anchors, that do not fit, out of span.

    **Source:** Agarwal, Dahleh, Shah and Shen, arXiv 2109.15154, with all anchors in one group.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.complete(jc.datasets.prop99(), jc.SyntheticNearestNeighbors())
        >>> found.identified.sum().item()
        1
    """

    rank: int | Rule = eqx.field(converter=whole, static=True, default="median")
    energy: float | None = eqx.field(static=True, default=None)
    fit_tolerance: float = eqx.field(static=True, default=0.1)
    span_tolerance: float = eqx.field(static=True, default=0.1)
    cells: Cells = eqx.field(static=True, init=False, default="treated")
    traceable: bool = eqx.field(static=True, init=False, default=False)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    def __check_init__(self) -> None:
        if not isinstance(self.rank, str) and self.rank < 1:
            raise ValueError(f"rank is {self.rank}: it must be at least 1.")
        if self.energy is not None and self.rank != "energy":
            raise ValueError("energy is the share of rank='energy' only.")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise ValueError(f"energy is {self.energy}: it must lie above 0, at most 1.")
        for name in ("fit_tolerance", "span_tolerance"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must not be negative.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return f"synthetic nearest neighbours (rank {self.rank})"

    def refuse(self, assignment: Assignment) -> str | None:
        """Untreated cells beside treated ones."""
        return controls_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Anchors, one regression for each set of them, the targets' outcomes."""
        y, use = np.asarray(panel.y, np.float64), np.asarray(panel.control)
        floor = max(panel.n, panel.m) * float(jnp.finfo(panel.y.dtype).eps)
        targets = np.argwhere(np.asarray(panel.treated))
        groups = anchors_of(use, targets)
        blocks = [_solved(self, y, group, floor) for group in groups if group.rows.size]
        y0 = np.full(y.shape, np.nan)
        for block in blocks:
            block.write(y0)
        details = _details(groups, blocks)
        most = blocks[-1] if blocks else None
        values = np.zeros(0) if most is None else most.values
        shown = jnp.asarray(np.stack([values, np.full_like(values, np.nan)]), panel.y.dtype)
        return completed(
            jnp.asarray(y0, panel.y.dtype),
            observed_y1(panel),
            spectrum=Spectrum(jnp.asarray([-1 if most is None else most.rank, -1]), shown),
            details={name: jnp.asarray(value) for name, value in details.items()},
        )


class _Block(NamedTuple):
    """What one set of anchors gives for its targets' units (I) and times (J)."""

    anchors: Anchors
    units: Int[np.ndarray, " I"]
    times: Int[np.ndarray, " J"]
    fit: Float[np.ndarray, "I b"]
    value: Float[np.ndarray, "I J"]
    fits: Bool[np.ndarray, " I"]
    spans: Bool[np.ndarray, " J"]
    rank: int
    values: Float[np.ndarray, " k"]

    @property
    def places(self) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
        """Each target's place among the units and among the times."""
        i, j = self.anchors.targets.T
        return np.searchsorted(self.units, i), np.searchsorted(self.times, j)

    def write(self, y0: Float[np.ndarray, "n m"]) -> None:
        """Enter the outcomes of targets that pass, and the fit at anchor columns of their units."""
        row, column = self.places
        passed = self.fits[row] & self.spans[column]
        i, j = self.anchors.targets[passed].T
        y0[i, j] = self.value[row[passed], column[passed]]
        told = np.unique(row[passed])
        y0[np.ix_(self.units[told], self.anchors.columns)] = self.fit[told]


def _solved(
    method: SyntheticNearestNeighbors, y: Float[np.ndarray, "n m"], anchors: Anchors, floor: float
) -> _Block:
    """One SVD, the regressions of all units on it, and both tests."""
    units, times = (np.unique(anchors.targets[:, side]) for side in (0, 1))
    outcomes = y[np.ix_(anchors.rows, anchors.columns)]
    q = y[np.ix_(units, anchors.columns)].T
    x = y[np.ix_(anchors.rows, times)]
    u, s, vt = np.linalg.svd(outcomes.T, full_matrices=False)
    keep = _kept(method, s, outcomes.shape, floor)
    u, right = u[:, :keep], vt[:keep]
    beta = right.T @ ((u.T @ q) / s[:keep, None])
    fit = outcomes.T @ beta
    return _Block(
        anchors=anchors,
        units=units,
        times=times,
        fit=fit.T,
        value=beta.T @ x,
        fits=_share(fit - q, q) <= method.fit_tolerance,
        spans=_share(x - right.T @ (right @ x), x) <= method.span_tolerance,
        rank=keep,
        values=s,
    )


def _kept(
    method: SyntheticNearestNeighbors,
    s: Float[np.ndarray, " k"],
    shape: tuple[int, ...],
    floor: float,
) -> int:
    """The rank, never counting singular values that are rounding."""
    real = int((s > floor * s[0]).sum())
    if isinstance(method.rank, int):
        return min(method.rank, real)
    if method.rank == "median":
        found = int((s > omega(*sorted(shape)) * np.median(s)).sum())
    else:
        share = np.cumsum(s**2) / max((s**2).sum(), np.finfo(float).tiny)
        wanted = ENERGY if method.energy is None else method.energy
        found = int((share < wanted).sum()) + 1
    return min(max(found, 1), real)


def _share(rest: Float[np.ndarray, "a k"], whole: Float[np.ndarray, "a k"]) -> np.ndarray:
    """Sum of squares left over that of the whole, by column; 0 of nothing."""
    total, left = (whole**2).sum(0), (rest**2).sum(0)
    return np.where(total > 0, left / np.where(total > 0, total, 1), 0)


def _details(groups: list[Anchors], blocks: list[_Block]) -> dict[str, int | Array]:
    """Sizes of anchors, and targets lost, each counted once."""
    lost = sum(len(group.targets) for group in groups if not group.rows.size)
    unfit = spanless = 0
    for block in blocks:
        row, column = block.places
        unfit += int((~block.fits[row]).sum())
        spanless += int((block.fits[row] & ~block.spans[column]).sum())
    return {
        "anchor blocks": len(blocks),
        "fewest anchor rows": min((b.anchors.rows.size for b in blocks), default=0),
        "fewest anchor columns": min((b.anchors.columns.size for b in blocks), default=0),
        "cells without anchors": lost,
        "cells that do not fit": unfit,
        "cells out of span": spanless,
    }
