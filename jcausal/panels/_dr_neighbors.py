"""Nearest neighbours among units and among times at once."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import as_key, is_traced
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, completed
from jcausal.panels._masked import reached
from jcausal.panels._neighbor_pairs import Radii, chosen_radii, neighbor_fit
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import switching_reason


class DoublyRobustNeighbors(Completer):
    """Each cell from neighbours of its unit and of its time, by differences in differences.

    With W the cells observed in an arm and Y their outcomes:

        theta_ij = sum w (Y_ij' + Y_i'j - Y_i'j') / sum w,    w = W_ij' W_i'j W_i'j',

    over units i' within `row_radius` of i and times j' within `column_radius` of j, i itself and j
    itself left out. The distance of two units is the mean of (Y_is - Y_i's)^2 over the times s
    other than j at which both were observed in the arm, that of two times likewise over units other
    than i: nothing that is computed for a cell looks at its own outcome. Its error is of the order
    of the product of the errors that neighbouring units and neighbouring times alone would make.

    A radius that is not given is chosen for each arm by least squared error on cells of the arm
    drawn at random, each predicted without itself; both radii together if neither is given. The
    grid holds the quantiles .02, .05, .1, .2, .35, .5, .75 and 1 of the distances of the drawn
    cells' units, and times, to all others. A drawn cell without a usable pair counts with its
    distance from the arm's mean.

    A cell without a pair (i', j') of positive weight is NaN; larger radii leave fewer of them.
    Costs n^2 m^2 multiplications an arm, as products of (m, n) and (n, m) matrices, one unit at a
    time; memory is of order n m + min(n, m)^2. Traceable; gradients with respect to y take the
    neighbours as given.

    **Arguments:** `row_radius`, `column_radius` in squared units of the outcome, for both
    arms; `held_out`: how many cells of an arm to draw; a key, unless both radii are given.
    `details` by arm: row radius, column radius, cells without a pair (of those whose unit and time
    have a cell in the arm), and, where radii are chosen, held-out squared error (2, 8, 8).

    **Source:** Dwivedi, Tian, Tomkins, Klasnja, Murphy and Shah, arXiv 2211.14297.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.low_rank_panel(key=0, n=20, m=24, rank=1)
        >>> found = jc.complete(data.panel, jc.DoublyRobustNeighbors(), key=0)
        >>> bool(found.identified.all())
        True
    """

    row_radius: float | Array | None = None
    column_radius: float | Array | None = None
    held_out: int = eqx.field(static=True, default=200)
    cells: Cells = eqx.field(static=True, init=False, default="all")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)
    endless: ClassVar[tuple[str, ...]] = ("row_radius", "column_radius")  # infinite: all are near

    def __check_init__(self) -> None:
        for name in ("row_radius", "column_radius"):
            value = getattr(self, name)
            if value is not None and not is_traced(value) and not value >= 0:
                raise ValueError(f"{name} is {value}: it must not be negative.")
        if self.held_out < 1:
            raise ValueError(f"held_out is {self.held_out}: it must be at least 1.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return "doubly robust nearest neighbours"

    def refuse(self, assignment: Assignment) -> str | None:
        """Both arms in a row."""
        return switching_reason(assignment)

    def refuse_copies(self) -> str | None:
        """A unit's copy is its nearest neighbour."""
        return "a unit's copy is its nearest neighbour, with the very outcome to be predicted"

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Radii, then the sums, for each arm."""
        if self.row_radius is None or self.column_radius is None:
            key = as_key(key, "jc.DoublyRobustNeighbors, which chooses a radius,")
        given = (self.row_radius, self.column_radius)
        arrays = [None if r is None else jnp.asarray(r, panel.y.dtype) for r in given]
        return _run(panel, arrays[0], arrays[1], self.held_out, key)


class _NeighborArm(NamedTuple):
    """One arm: its outcomes, the radii, and how many cells have no pair of neighbours."""

    y: Float[Array, "n m"]
    radii: Radii
    lost: Int[Array, ""]


@eqx.filter_jit
def _run(
    panel: Panel, row: Array | None, column: Array | None, held_out: int, key: PRNGKeyArray | None
) -> Completed:
    """Both arms; a traced core that every radius shares."""
    uses = jnp.stack([panel.control, panel.treated])
    keys = jax.random.split(jax.random.key(0) if key is None else key, 2)

    def one(part: tuple[Array, Array]) -> _NeighborArm:
        use, own = part
        radii = chosen_radii(panel.y, use, (row, column), held_out, own)
        y = neighbor_fit(panel.y, use, radii.row, radii.column)
        return _NeighborArm(y, radii, (reached(use) & jnp.isnan(y)).sum())

    arms = jax.lax.map(one, (uses, keys))
    details = {"row radius": arms.radii.row, "column radius": arms.radii.column}
    details["cells without a pair"] = arms.lost
    if arms.radii.error is not None:
        details["held-out squared error"] = arms.radii.error
    return completed(arms.y[0], arms.y[1], details=details)
