"""The doubly robust estimator of latent factor models, cross-fitted."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import as_key, whole
from jcausal.panels import _rank_rules
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, Spectrum, StdErrors, completed
from jcausal.panels._cross_fitted_quarters import (
    Halves,
    QuarterPrediction,
    cross_fitted,
    drawn_halves,
)
from jcausal.panels._masked import mean_of, reached
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import switching_reason
from jcausal.panels._truncated_svd import top_factors

Rule = Literal["gap", "median"]
Estimator = Literal["dr", "oi", "ipw"]


class CrossFittedDR(Completer):
    """Low-rank outcomes and low-rank propensities, each repairing the other; with standard errors.

    With Q(X) the matrix X of which every quarter is predicted from the other three (rows and
    columns are halved at random; see `_cross_fitted_quarters`) and W_a the cells observed in arm a:

        P_1 = Q(D) cut to [clip, 1 - clip],  P_0 = 1 - P_1 cut likewise,
        Theta_a = c_a + Q((Y - c_a) o W_a) / P_a,   t_a = Theta_a + (Y - Theta_a) o W_a / P_a.

    The effect of a unit is its row mean of t_1 - t_0, that of a time the column mean, the average
    the mean of all: their bias is of the order of the product of the errors of P and of Theta.
    Probabilities may follow units and times, if in a matrix of low rank.

    A single t_a is too noisy to be shown as an outcome. y0 and y1 are Theta_a plus row mean plus
    column mean minus mean of the residual terms (Y - Theta_a) o W_a / P_a: every mean over units,
    times or all cells is that of t_a, exactly, and a cell is still a smooth outcome. Means over
    other cells, such as `att`, are of these outcomes and have no such guarantee.

    Standard errors ("dr" only): sigma^2 / count, with sigma^2 the mean of
    (Y - Theta_1)^2 W_1 / P_1^2 + (Y - Theta_0)^2 W_0 / P_0^2 over a unit's times, a time's units,
    or all cells. Normal intervals for units and times are the paper's, which asks the bias to be of
    smaller order; that of the average asks more of it than the paper proves. The effects covered
    are those of these units at these times.

    **Arguments:**

    - `rank` of the outcomes, `propensity_rank` of D: an int, or the rule "gap" (default) or
      "median" of `RowScaledSpectral`, at least 1, read once from the whole matrix.
    - `clip`: lambda, default 0.1: in simulations with probabilities from .3 to .7, 0.05 let errors
      of P near the ends dominate at 60 x 60, and changed little at 200 x 200.
    - `estimator`: "dr"; "oi": outcomes alone, y_a = Theta_a; "ipw": weighting alone, Theta = 0.
    - `centre`: take c_a, the mean of the arm's observed outcomes, off first, so that results do not
      move with the origin of y (default). False: c_a = 0, as in the paper.

    Cells not observed are a third arm, an extension of ours: P_0 = Q(observed) - P_1. A unit
    without a cell in an arm, and a time at which nobody was observed in it, is NaN there and
    enters no mean. Needs a key. Traceable; gradients with respect to y take ranks as given.
    `details`: propensity rank, share of cells clipped.

    **Source:** Abadie, Agarwal, Dwivedi and Shah, arXiv 2402.11652.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.low_rank_panel(key=0, n=36, m=40)
        >>> found = jc.complete(data.panel, jc.CrossFittedDR(rank=3, propensity_rank=1), key=0)
        >>> jc.interval(found, jc.OwnErrors(), by="unit").lower.shape
        (36,)
    """

    rank: int | Rule = eqx.field(converter=whole, static=True, default="gap")
    propensity_rank: int | Rule = eqx.field(converter=whole, static=True, default="gap")
    clip: float = eqx.field(static=True, default=0.1)
    estimator: Estimator = eqx.field(static=True, default="dr")
    centre: bool = eqx.field(static=True, default=True)
    cells: Cells = eqx.field(static=True, init=False, default="all")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    def __check_init__(self) -> None:
        for name in ("rank", "propensity_rank"):
            value = getattr(self, name)
            if not isinstance(value, str) and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1.")
        if not 0 < self.clip < 0.5:
            raise ValueError(f"clip is {self.clip}: it must lie between 0 and 0.5.")

    @property
    def words(self) -> str:
        """As readers know it."""
        which = {"dr": "doubly robust", "oi": "outcome", "ipw": "inverse propensity"}
        return f"cross-fitted {which[self.estimator]} estimator of latent factors"

    def refuse(self, assignment: Assignment) -> str | None:
        """Both arms in a row; ranks that a quarter of the panel has."""
        half = min(assignment.n, assignment.m) // 2
        for name in ("rank", "propensity_rank"):
            value = getattr(self, name)
            if isinstance(value, int) and value > half:
                return f"the {name} {value} is above half the smaller side of the panel, {half}"
        return switching_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Copies of a unit fall into both halves."""
        return "copies of a unit fall into both of its halves, which then are not independent"

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Halves by the key, then all of it."""
        key = as_key(key, "jc.CrossFittedDR")
        return cross_fitted_dr(self, panel, drawn_halves(panel.n, panel.m, key))


class _ReadRank(NamedTuple):
    """A rank, and the singular values that it was read from."""

    keep: Int[Array, ""]
    values: Float[Array, " k"]


@eqx.filter_jit
def cross_fitted_dr(method: CrossFittedDR, panel: Panel, halves: Halves) -> Completed:
    """The estimator on given halves."""
    uses = jnp.stack([panel.control, panel.treated])
    middle = jax.vmap(lambda use: mean_of(panel.y, use, None))(uses)
    middle = middle[:, None, None] * method.centre
    filled = jnp.where(uses, panel.y - middle, 0)
    d, mask = panel.treated.astype(panel.y.dtype), panel.mask.astype(panel.y.dtype)
    chance = _ranked(method.propensity_rank, d)
    ranked = lax.map(lambda a: _ranked(method.rank, a), filled)
    keep = jnp.stack([chance.keep, chance.keep, *ranked.keep])
    given = jnp.arange(4) == jnp.where(panel.mask.all(), 1, -1)
    most = max(_most(rank, panel) for rank in (method.rank, method.propensity_rank))
    stack = jnp.stack([d, mask, *filled])
    found = _completions(stack, given, halves, most, keep)
    raw = jnp.stack([found.value[1] - found.value[0], found.value[0]])
    chances = jnp.clip(raw, method.clip, 1 - method.clip)
    theta = middle + found.value[2:] / chances
    clipped = (raw != chances).any(0).mean(dtype=d.dtype)
    y0, y1 = _outcomes(method, panel.y, uses, chances, theta)
    return completed(
        y0,
        y1,
        spectrum=Spectrum(ranked.keep, ranked.values),
        converged=found.converged.all(),
        std_errors=_std_errors(panel.y, uses, chances, theta) if method.estimator == "dr" else None,
        details={"propensity rank": chance.keep, "share of cells clipped": clipped},
    )


def _completions(
    stack: Float[Array, "k n m"],
    given: Bool[Array, " k"],
    halves: Halves,
    most: int,
    keep: Int[Array, " k"],
) -> QuarterPrediction:
    """Each matrix cross-fitted at its rank, but for those that are taken as they are."""

    def one(part: tuple[Array, Array, Array]) -> QuarterPrediction:
        a, known, rank = part

        def as_is() -> QuarterPrediction:
            return QuarterPrediction(a, jnp.asarray(True))

        return lax.cond(known, as_is, lambda: cross_fitted(a, halves, most, rank))

    return lax.map(one, (stack, given, keep))


def _most(rank: int | Rule, panel: Panel) -> int:
    """The largest rank that may come out."""
    return rank if isinstance(rank, int) else _rank_rules.looked_at(panel.n, panel.m, None)


def _ranked(rank: int | Rule, a: Float[Array, "n m"]) -> _ReadRank:
    """A number, or a rule's choice from the whole matrix, at least 1."""
    a = lax.stop_gradient(a)
    if isinstance(rank, int):
        return _ReadRank(jnp.asarray(rank), top_factors(a, rank).s)
    s = top_factors(a, _rank_rules.looked_at(a.shape[0], a.shape[1], None) + 1).s
    if rank == "median":
        found = _rank_rules.above(s, _rank_rules.median_threshold(a))
    else:
        found = _rank_rules.by_gap(s, _rank_rules.GAP * _rank_rules.noise_edge(a, s))
    return _ReadRank(jnp.clip(found.rank, 1, s.size - 1), s)


def _outcomes(
    method: CrossFittedDR,
    y: Float[Array, "n m"],
    uses: Bool[Array, "2 n m"],
    chances: Float[Array, "2 n m"],
    theta: Float[Array, "2 n m"],
) -> Float[Array, "2 n m"]:
    """Theta with the margins of its weighted residuals; NaN where an arm has no cell."""
    if method.estimator == "ipw":
        theta = jnp.zeros_like(theta)
    if method.estimator != "oi":
        both = _counted(uses)
        terms = jnp.where(uses, y - theta, 0) / chances
        theta = theta + jax.vmap(lambda t: _margins(t, both))(terms)
    return jnp.where(jax.vmap(reached)(uses), theta, jnp.nan)


def _counted(uses: Bool[Array, "2 n m"]) -> Bool[Array, "n m"]:
    """Cells whose unit and whose time have both arms: those that means are over."""
    return jax.vmap(reached)(uses).all(0)


def _margins(terms: Float[Array, "n m"], both: Bool[Array, "n m"]) -> Float[Array, "n m"]:
    """Row mean + column mean - mean: rows over columns that count, columns over rows that do."""
    rows, columns = both.any(1)[:, None], both.any(0)
    over_times = mean_of(terms, jnp.broadcast_to(columns, terms.shape), 1)
    over_units = mean_of(terms, jnp.broadcast_to(rows, terms.shape), 0)
    return over_times[:, None] + over_units - mean_of(terms, both, None)


def _std_errors(
    y: Float[Array, "n m"],
    uses: Bool[Array, "2 n m"],
    chances: Float[Array, "2 n m"],
    theta: Float[Array, "2 n m"],
) -> StdErrors:
    """sqrt(sigma^2 / count) over the cells that count."""
    both = _counted(uses)
    square = (jnp.where(uses, y - theta, 0) / chances) ** 2

    def error(axis: int | None) -> Float[Array, "*q"]:
        count = both.sum(axis)
        mean = mean_of(square.sum(0), both, axis)
        return jnp.sqrt(mean / jnp.where(count > 0, count, 1))

    return StdErrors(error(1), error(0), error(None))
