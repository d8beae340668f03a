"""The honest baseline: each unit's mean with treatment minus its mean without."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, StdErrors, completed
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import both_arms_reason


class UnitMeans(Completer):
    """Each unit's mean outcome by arm, the same at every time: no structure is borrowed.

    yhat_ij(a) = mean of Y_ij' over the observed times j' with D_ij' = a. Under random assignment
    whose probability does not follow time, the unit effect is unbiased with error of order
    1 / sqrt(m q), q the share of the smaller arm. What it cannot give is a unit's trajectory: that
    is what the spectral methods are to be compared on.

    Its own standard error of a unit effect is sqrt(s1^2 / m1 + s0^2 / m0), with s_a^2 the variance
    (over m_a - 1) of the unit's outcomes in arm a, in which the signal's movement over time counts
    as noise; of the average, that of a mean of independent units. NaN where an arm has one cell.

    A unit without a cell in an arm is NaN there. Traceable.

    **Example:**

        >>> import jcausal as jc
        >>> y = [[1.0, 3.0, 1.0, 3.0], [2.0, 5.0, 5.0, 2.0]]
        >>> panel = jc.Panel(y, [[0, 1, 0, 1], [0, 1, 1, 0]])
        >>> float(jc.complete(panel, jc.UnitMeans()).att)
        2.5
    """

    cells: Cells = eqx.field(static=True, init=False, default="all")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    @property
    def words(self) -> str:
        """As readers know it."""
        return "unit means"

    def refuse(self, assignment: Assignment) -> str | None:
        """Both arms in a row, at times that do not matter."""
        return both_arms_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Two means a unit."""
        return _run(panel)


@eqx.filter_jit
def _run(panel: Panel) -> Completed:
    control, treated = (_arm(panel.y, use) for use in (panel.control, panel.treated))
    wide = panel.y.shape
    y0, y1 = (jnp.broadcast_to(mean[:, None], wide) for mean, _ in (control, treated))
    variance = control[1] + treated[1]
    identified = panel.control.any(1) & panel.treated.any(1)
    units = identified.sum()
    total = jnp.where(identified, variance, 0).sum()  # NaN where an arm has one cell
    average = jnp.where(units > 0, jnp.sqrt(total) / jnp.where(units > 0, units, 1), jnp.nan)
    time = jnp.full(wide[1], jnp.nan, panel.y.dtype)
    return completed(y0, y1, std_errors=StdErrors(jnp.sqrt(variance), time, average))


def _arm(
    y: Float[Array, "n m"], use: Bool[Array, "n m"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Mean of each row over some cells, and the variance of that mean; two passes."""
    count = use.sum(1)
    safe = jnp.where(count > 0, count, 1)
    mean = jnp.where(use, y, 0).sum(1) / safe
    square = jnp.where(use, (y - mean[:, None]) ** 2, 0).sum(1)
    variance = square / jnp.where(count > 1, (count - 1) * safe, 1)
    mean = jnp.where(count > 0, mean, jnp.nan)
    return mean, jnp.where(count > 1, variance, jnp.nan)
