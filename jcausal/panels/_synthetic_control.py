"""Synthetic control: each treated unit as a weighted mean of units that are never treated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import is_traced
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, completed, observed_y1
from jcausal.panels._donors import donors_of, treated_and_donors
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import donors_reason
from jcausal.panels._simplex_weights import Weights, simplex_weights
from jcausal.panels._truncated_svd import product

MOST = 1 << 26  # bytes of square matrices that are worked on together


class SyntheticControl(Completer):
    """Each treated unit's outcomes without treatment as a weighted mean of its donors'.

    Donors are the units that are never treated. For a unit first treated at time s, the weights
    minimise (1/s) sum over t < s of (Y_it - sum_j w_j Y_jt)^2 + penalty sum_j w_j^2 over w_j >= 0,
    sum w_j = 1: outcomes only, no covariates. y0_it = sum_j w_j Y_jt at every t; the effect of a
    treated cell is its outcome minus y0. Before treatment `Completion.gap` is the error of the fit:
    where it is not small, the unit is no mean of donors, and the effect is not to be trusted.

    y0 of a donor is NaN: it is what others are fitted with, and is not fitted itself (`jc.placebo`
    does that, each from the rest).

    **Arguments:** `penalty`: of the squared weights, in squared outcome units; 0 (default) is the
    synthetic control as published. It spreads weight over donors and makes the weights unique:
    without it, several may fit equally well where donors outnumber times or repeat. The fit before
    treatment is then the same for all, what comes after is not, and one between the extremes is
    taken.

    Treatment must be absorbing, in one block or staggered, with units that are never treated and no
    cell missing; other panels are refused. A unit treated from the first time on is NaN; one with
    a single time before its treatment is fitted to one outcome, which many weights fit: `complete`
    warns of it.

    `converged` tells that every unit's objective is proven (by a duality gap) to be within eps^0.6
    of the least, relatively (7e-5 in float32, 4e-10 in float64), plus 4 eps times the mean square
    of its largest difference from a donor. 5 to 20 steps of c^3 / 3 multiplications, and
    2 c^2 numbers, a treated unit with c donors.

    Traceable; under jit and vmap, where it is not known who is treated, every unit is solved for.
    Gradients with respect to y and `penalty` take the set of donors with weight as given.
    `details`: weights (k, c), of the k units treated at some time by the c units never treated,
    both in the panel's order; under jit and vmap (n, n), NaN for units that are not treated.

    **Source:** Abadie, Diamond and Hainmueller (2010), JASA 105(490), with the outcomes before
    treatment as the predictors.

    **Example:**

        >>> import jcausal as jc
        >>> y = [[1.0, 2.0, 1.0, 3.0], [3.0, 4.0, 7.0, 5.0], [2.0, 3.0, 4.0, 6.0]]
        >>> panel = jc.Panel(y, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
        >>> found = jc.complete(panel, jc.SyntheticControl())
        >>> found.completed.details["weights"].round(3).tolist(), round(float(found.att), 3)
        ([[0.5, 0.5]], 2.0)
    """

    penalty: float | Float[Array, ""] = 0.0
    cells: Cells = eqx.field(static=True, init=False, default="treated")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=2)

    def __check_init__(self) -> None:
        if not is_traced(self.penalty) and not 0 <= self.penalty < np.inf:
            raise ValueError(f"penalty is {self.penalty}: it must be finite and not negative.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return "synthetic control"

    def refuse(self, assignment: Assignment) -> str | None:
        """An absorbing treatment, units never treated, no cell missing."""
        return donors_reason(assignment, before=1)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Weights for every treated unit, then their means of donors."""
        return _run(panel, *treated_and_donors(panel), jnp.asarray(self.penalty, panel.y.dtype))


@jax.jit
def _run(
    panel: Panel, rows: Int[Array, " k"], donors: Int[Array, " c"], penalty: Float[Array, ""]
) -> Completed:
    start, y, use, pool = donors_of(panel, donors)

    def one(row: Int[Array, ""]) -> Weights:
        before = jnp.arange(panel.m) < start[row]
        d = jnp.where(before[:, None], (pool - y[row]).T, 0)
        return simplex_weights(d, use, penalty * start[row])

    size = max(1, MOST // (pool.shape[0] ** 2 * pool.dtype.itemsize))
    found = lax.map(one, rows, batch_size=size)
    fitted = (start[rows] > 0) & (start[rows] < panel.m)
    means = jnp.where(fitted[:, None], product(found.w, pool), jnp.nan)
    return completed(
        jnp.full_like(y, jnp.nan).at[rows].set(means),
        observed_y1(panel),
        converged=(found.converged | ~fitted).all(),
        details={"weights": jnp.where(fitted[:, None], found.w, jnp.nan)},
    )
