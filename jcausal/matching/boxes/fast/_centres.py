"""Where boxes stand in the covariates' units."""

from typing import NamedTuple

from jaxtyping import Array, Float

from jcausal.matching.boxes.fast._problem import GrowthProblem, Origins
from jcausal.matching.boxes.fast._proposals import Proposals


class BoxCentres(NamedTuple):
    """Where each box stands, a category always at the query's own level.

    `own`: the query; `centre`, and the corners `low` and `high`, all (q, p); `change` (q, 2): the
    surface at the centre minus that at the query.
    """

    own: Float[Array, "q p"]
    centre: Float[Array, "q p"]
    low: Float[Array, "q p"]
    high: Float[Array, "q p"]
    change: Float[Array, "q 2"]


def box_centres(problem: GrowthProblem, origins: Origins, steps: Proposals) -> BoxCentres:
    """Read the boxes off their sides, and ask the surface at their centres."""
    x, ordered = origins.queries.x, problem.columns.ordered
    centre = x.at[:, ordered].set((steps.down.value + steps.up.value) / 2)
    low, high = (x.at[:, ordered].set(side.value) for side in (steps.down, steps.up))
    return BoxCentres(x, centre, low, high, problem.surface(centre) - origins.home)
