"""Two-way fixed effects, as imputation from untreated cells."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, completed, observed_y1
from jcausal.panels._masked import reached
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import controls_reason
from jcausal.panels._truncated_svd import product, tolerance_of

HIGHEST = lax.Precision.HIGHEST
SHIFT, PASSES = 1e-3, 6


class TwoWayFixedEffects(Completer):
    """Outcomes without treatment as unit effect + time effect (+ covariates), from untreated cells.

    Least squares of Y_ij = a_i + g_j + x_ij b on observed untreated cells; y0 is its fit in every
    cell, the effect of a treated cell its outcome minus y0. No treated cell enters the fit, so no
    effect enters another one with a negative weight, as in the regression with a treatment dummy.

    A treated cell is NaN where its unit or its time has no untreated cell, or where no chain of
    untreated cells joins the two. Covariates that unit and time effects explain get b = 0; y0 is
    NaN in a cell whose covariates are not known.

    Solved by the normal equations of the shorter side: n m min(n, m) multiplications, once, as one
    matrix product. Traceable and differentiable.

    **Source:** Borusyak, Jaravel and Spiess (2024), Review of Economic Studies 91(6).

    **Example:**

        >>> import jcausal as jc
        >>> y = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [5.0, 6.0, 9.0]]
        >>> panel = jc.Panel(y, [[0, 0, 0], [0, 0, 0], [0, 0, 1]])
        >>> round(float(jc.complete(panel, jc.TwoWayFixedEffects()).att), 4)
        2.0
    """

    cells: Cells = eqx.field(static=True, init=False, default="treated")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=True)
    times_before: int = eqx.field(static=True, init=False, default=0)

    @property
    def words(self) -> str:
        """As readers know it."""
        return "two-way fixed effects"

    def refuse(self, assignment: Assignment) -> str | None:
        """Untreated cells beside treated ones, in their rows and columns."""
        return controls_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Fit, then y0 wherever unit and time are joined."""
        return _run(panel)


@jax.jit
def _run(panel: Panel) -> Completed:
    use, cube = panel.control, panel.covariates
    fit, converged = two_way_fit(panel.y, use)
    if cube is not None:
        known = jnp.isfinite(cube)
        cube = jnp.where(known | use[:, :, None], cube, 0)  # NaN in a cell in use is to be seen
        more, also = _covariates_part(panel.y - fit, cube, use)
        fit, converged = jnp.where(known.all(2), fit + more, jnp.nan), converged & also
    y0 = jnp.where(joined(use), fit, jnp.nan)
    return completed(y0, observed_y1(panel), converged=converged)


def two_way_fit(
    y: Float[Array, "n m"], use: Bool[Array, "n m"]
) -> tuple[Float[Array, "n m"], Bool[Array, ""]]:
    """a_i + g_j by least squares on the cells in use, and whether the equations are met.

    The effects of the longer side are eliminated. With W the cells in use, r and c their counts by
    row and column, and h = sqrt(c) g: (I - B^T B) h = W^T (y - row means) / sqrt(c),
    B = W / sqrt(r c^T). The matrix is singular along each island of joined cells, where a constant
    moves from a to g; `SHIFT` I is added, and the solution corrected `PASSES` times for it.
    """
    if y.shape[0] < y.shape[1]:
        fit, converged = two_way_fit(y.T, use.T)
        return fit.T, converged
    weight = use.astype(y.dtype)
    rows, columns = weight.sum(1), weight.sum(0)
    safe = jnp.where(rows > 0, rows, 1)
    root = jnp.where(columns > 0, 1 / jnp.sqrt(jnp.where(columns > 0, columns, 1)), 0)
    level = jnp.where(use, y, 0).sum(1) / safe
    half = weight / jnp.sqrt(safe)[:, None] * root
    matrix = jnp.eye(y.shape[1], dtype=y.dtype) - product(half.T, half)
    factor = cho_factor(matrix + SHIFT * jnp.eye(y.shape[1], dtype=y.dtype))

    def left(h: Float[Array, " m"]) -> tuple[Array, Array]:
        """What the current effects leave, by column, and the effects of rows."""
        g = root * h
        a = level - product(weight, g) / safe
        rest = jnp.where(use, y - a[:, None] - g, 0).sum(0)
        return root * rest, a

    h = jnp.zeros(y.shape[1], y.dtype)
    for _ in range(PASSES):
        h = h + cho_solve(factor, left(h)[0])
    rest, a = left(h)
    size = jnp.linalg.norm(jnp.where(use, y - level[:, None], 0))
    rounding = 100 * jnp.finfo(y.dtype).eps * jnp.abs(level).max() * jnp.sqrt(weight.sum())
    converged = jnp.linalg.norm(rest) <= tolerance_of(y.dtype) * size + rounding
    return a[:, None] + root * h, converged


def _covariates_part(
    residual: Float[Array, "n m"], cube: Float[Array, "n m k"], use: Bool[Array, "n m"]
) -> tuple[Float[Array, "n m"], Bool[Array, ""]]:
    """(x - two-way fit of x) b with b by least squares on the residuals of both."""
    x = jnp.moveaxis(cube, 2, 0)
    fits, converged = jax.vmap(two_way_fit, in_axes=(0, None))(x, use)
    own = jnp.where(use, x - fits, 0)
    size = jnp.sqrt((own**2).sum((1, 2)))
    whole = jnp.sqrt(jnp.where(use, x**2, 0).sum((1, 2)))
    varies = size > 16 * tolerance_of(x.dtype) * whole
    scale = jnp.where(varies, size, 1)
    unit = jnp.where(varies[:, None, None], own / scale[:, None, None], 0)
    flat = unit.reshape(unit.shape[0], -1)
    gram = product(flat, flat.T)
    right = product(flat, jnp.where(use, residual, 0).ravel())
    inverse = jnp.linalg.pinv(gram, rtol=tolerance_of(x.dtype), hermitian=True)
    slopes = jnp.where(varies, product(inverse, right) / scale, 0)
    return jnp.einsum("kij,k->ij", x - fits, slopes, precision=HIGHEST), converged.all()


def joined(use: Bool[Array, "n m"]) -> Bool[Array, "n m"]:
    """Cells whose unit and time a chain of cells in use joins, neighbours in a row or column."""
    n = use.shape[0]

    def spread(label: Int[Array, " n"]) -> tuple[Int[Array, " n"], Int[Array, " m"]]:
        time = jnp.where(use, label[:, None], n).min(0)
        return jnp.minimum(label, jnp.where(use, time, n).min(1)), time

    def step(state: tuple) -> tuple:
        label, _, _ = state
        new, time = spread(label)
        return new, time, (new != label).any()

    first = jnp.arange(n)
    begin = (first, spread(first)[1], jnp.asarray(True))
    label, time, _ = lax.while_loop(lambda state: state[2], step, begin)
    return reached(use) & (label[:, None] == time)
