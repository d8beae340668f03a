"""The row-scaled spectral estimator."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import as_key, whole
from jcausal.panels import _rank_rules
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import HOLDS_OUT, Cells, Completed, Completer
from jcausal.panels._held_out_errors import held_out_errors
from jcausal.panels._low_rank_arms import LowRankArm, completed_arms
from jcausal.panels._masked import mean_of, reached
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import both_arms_reason
from jcausal.panels._truncated_svd import Factors, rank_part, top_factors

Rule = Literal["gap", "paper", "median", "cv"]


class RowScaledSpectral(Completer):
    """Each arm's outcomes, scaled up by the unit's own share of cells, at a low rank.

    For each arm a: phat_i = share of the m times at which unit i is observed in arm a; the matrix
    Y_ij / phat_i on these cells, 0 elsewhere; of it the best approximation of rank s. No propensity
    model and no tuning over columns. Where assignment is random with a probability of the unit's
    own, the largest error of a unit's trajectory, |row error|_2 / sqrt(m), is of order
    sqrt(1/n + n/m^2) up to logarithms. Uncentred, it is no better than `UnitMeans` for the row mean
    alone; the gain is the trajectory.

    **Arguments:**

    - `rank`: an int, or a rule that looks at the largest singular values s_1, s_2, ... of an arm:
      "gap" (default): the last s with s_s - s_s+1 >= c_tau tau (sqrt(n) + sqrt(m)), where the noise
      level tau is what the first `max_rank` + 1 leave of the matrix's sum of squares;
      "paper": the same with the literal threshold c_tau K sqrt((m + n) log(m + n) / q), q the least
      phat of both arms: at realistic sizes NO gap is as wide, the rank is 0 and every outcome is
      completed by one number (`complete` warns);
      "median": singular values above omega(beta) times their median (Gavish and Donoho), which
      needs all of them;
      "cv": least squared error on a fifth of the arm's cells, each fifth once; needs a key.
    - `c_tau`: constant of "gap" (default 0.3, settled on simulated data with four factors) and
      "paper" (default 96).
    - `bound`: K of "paper"; default the largest |Y| observed, less the mean where `centre` is on.
    - `centre`: take the mean of the arm's observed outcomes off first and add it at the end
      (default): the scaling turns a level far from 0 into noise, which swamps the rest once it is a
      few times the outcomes' spread. Ranks are of what is left.
      False is the paper's estimator, for outcomes around 0.
    - `max_rank`: largest rank that a rule may choose; default 20 or a third of min(n, m).
    - `refine`: so many rounds of hard imputation afterwards: cells that were not observed in the
      arm are filled with the estimate, and the best approximation of the same rank is taken. An
      extension of ours, and in simulations far better; 0 (default) as in the paper.

    SVDs are truncated: a step costs O(n m (rank + 10)), and steps go on until |A v - s u| is below
    eps^0.6 s_1 (7e-5 in float32). A unit without a cell in an arm, and a time at which nobody was
    observed in it, is NaN there. Traceable; gradients with respect to y take the rank as given.
    `details`: threshold (2,), or "squared error by rank" (2, max_rank + 1) of "cv".

    **Source:** Mehrotra, Tran, Vu and Zampetakis, arXiv 2605.30319, Algorithm 1, with the logarithm
    in the numerator; the rules beside "paper" are ours or published as told.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.low_rank_panel(key=0, n=60, m=60)
        >>> found = jc.complete(data.panel, jc.RowScaledSpectral(rank=3))
        >>> found.effect.shape, found.rank.tolist()
        ((60, 60), [3, 3])
    """

    rank: int | Rule = eqx.field(converter=whole, static=True, default="gap")
    c_tau: float | None = eqx.field(static=True, default=None)
    bound: float | None = eqx.field(static=True, default=None)
    max_rank: int | None = eqx.field(converter=whole, static=True, default=None)
    refine: int = eqx.field(converter=whole, static=True, default=0)
    centre: bool = eqx.field(static=True, default=True)
    cells: Cells = eqx.field(static=True, init=False, default="all")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    def __check_init__(self) -> None:
        if not isinstance(self.rank, str):
            if self.rank < 1:
                raise ValueError(f"rank is {self.rank}: it must be at least 1.")
            if self.max_rank is not None:
                raise ValueError("max_rank is for rules: rank is a number already.")
        if self.c_tau is not None and self.rank not in ("gap", "paper"):
            raise ValueError("c_tau is the constant of rank='gap' and rank='paper' only.")
        if self.bound is not None and self.rank != "paper":
            raise ValueError("bound is the K of rank='paper' only.")
        for name in ("c_tau", "bound", "max_rank"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}: it must be positive.")
        if self.refine < 0:
            raise ValueError(f"refine is {self.refine}: it must not be negative.")

    @property
    def words(self) -> str:
        """As readers know it."""
        refined = f", refined {self.refine} times" if self.refine else ""
        return f"row-scaled spectral estimator (rank {self.rank}{refined})"

    def refuse(self, assignment: Assignment) -> str | None:
        """Both arms in a row, at times that do not matter."""
        small = min(assignment.n, assignment.m)
        asked = self.max_rank if isinstance(self.rank, str) else self.rank
        if asked is not None and asked >= small:
            return f"the rank {asked} is not below the smaller side of the panel, {small}"
        return both_arms_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Held-out cells of a unit stand in its copies."""
        return HOLDS_OUT if self.rank == "cv" else None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Each arm alone."""
        if self.rank == "cv":
            key = as_key(key, "jc.RowScaledSpectral(rank='cv')")
        return _run(self, panel, key)


class _ScaledArm(NamedTuple):
    """One arm's outcomes as the rules of the rank look at them.

    `y` (n, m) outcomes around the arm's mean (around 0 without `centre`); `use` and `other` (n, m)
    the cells observed in this arm and in the other one; `scaled` (n, m) as `row_scaled` gives it;
    `key` for held-out cells.
    """

    y: Float[Array, "n m"]
    use: Bool[Array, "n m"]
    other: Bool[Array, "n m"]
    scaled: Float[Array, "n m"]
    key: PRNGKeyArray


@eqx.filter_jit
def _run(method: RowScaledSpectral, panel: Panel, key: PRNGKeyArray | None) -> Completed:
    uses = jnp.stack([panel.control, panel.treated])
    keys = jax.random.split(jax.random.key(0) if key is None else key, 2)
    arms = lax.map(lambda part: _arm(method, panel.y, *part), (uses, uses[::-1], keys))
    return completed_arms(arms)


def _arm(
    method: RowScaledSpectral,
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    other: Bool[Array, "n m"],
    key: PRNGKeyArray,
) -> LowRankArm:
    """Scale, choose the rank, truncate, refine; NaN in rows and columns without a cell."""
    n, m = y.shape
    middle = mean_of(y, use, None) * method.centre
    y = y - middle
    scaled = row_scaled(y, use)
    if isinstance(method.rank, int):
        keep, details = jnp.asarray(method.rank), {}
        factors = top_factors(scaled, min(method.rank + 1, n, m), keep)
    else:
        most = _rank_rules.looked_at(n, m, method.max_rank)
        factors = top_factors(scaled, most + 1)
        keep, details = _chosen(method, _ScaledArm(y, use, other, scaled, key), factors)
        factors = top_factors(scaled, most + 1, keep)
    low = rank_part(scaled, factors, keep)

    def refined(low: Array, _: None) -> tuple[Array, Bool[Array, ""]]:
        filled = jnp.where(use, y, low)
        again = top_factors(filled, factors.s.shape[0], keep)
        return rank_part(filled, again, keep), again.converged

    low, converged = lax.scan(refined, low, length=method.refine)
    low = jnp.where(reached(use), low + middle, jnp.nan)
    return LowRankArm(low, keep, factors.s, factors.converged & converged.all(), details)


def row_scaled(y: Float[Array, "n m"], use: Bool[Array, "n m"]) -> Float[Array, "n m"]:
    """Outcomes in use over their row's share of cells in use; 0 elsewhere."""
    share = use.sum(1, keepdims=True) / use.shape[1]
    return jnp.where(use, y, 0) / jnp.where(share > 0, share, 1)


def _chosen(
    method: RowScaledSpectral, arm: _ScaledArm, factors: Factors
) -> tuple[Array, dict[str, Array]]:
    """The rank by the method's rule, and the numbers behind it."""
    s = factors.s
    if method.rank == "cv":
        errors = held_out_errors(arm.y, arm.use, s.shape[0] - 1, arm.key)
        return jnp.argmin(errors), {"squared error by rank": errors}
    if method.rank == "median":
        found = _rank_rules.above(s, _rank_rules.median_threshold(arm.scaled))
    elif method.rank == "paper":
        c = _rank_rules.PAPER if method.c_tau is None else method.c_tau
        largest = jnp.where(arm.use | arm.other, jnp.abs(arm.y), 0).max()
        bound = largest if method.bound is None else jnp.asarray(method.bound, arm.y.dtype)
        threshold = _rank_rules.paper_threshold(arm.use, arm.other, bound, c)
        found = _rank_rules.by_gap(s, threshold)
    else:
        c = _rank_rules.GAP if method.c_tau is None else method.c_tau
        found = _rank_rules.by_gap(s, c * _rank_rules.noise_edge(arm.scaled, s))
    return found.rank, {"threshold": lax.stop_gradient(found.threshold)}
