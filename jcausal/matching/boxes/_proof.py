"""How the search for the best boxes ended."""

from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.solvers import Ended

ENDED = get_args(Ended)  # what `Proof.ended` counts


class Proof(NamedTuple):
    """How the search for each best box ended (one row a query, float64 on the host).

    `objective` (q,) of the box; `bound` (q,): no box has less; `ended` (q,): place in `ENDED`;
    `nodes` (q,) looked at; `left_out` (q,): units that the search did not look at (the box is the
    best for the others; its group is all units in it). NaN where there is none.
    """

    objective: Float[np.ndarray, " q"]
    bound: Float[np.ndarray, " q"]
    ended: Int[np.ndarray, " q"]
    nodes: Int[np.ndarray, " q"]
    left_out: Int[np.ndarray, " q"]

    @property
    def gap(self) -> Float[np.ndarray, " q"]:
        """How far each objective is from the best at most; holds the rounding of the search."""
        return self.objective - self.bound

    @property
    def proven(self) -> Bool[np.ndarray, " q"]:
        """Whose box is shown to be the best."""
        return self.ended == ENDED.index("optimal")

    def columns(self) -> dict[str, object]:
        """What a frame of boxes says of it."""
        ended = [ENDED[k] for k in self.ended]
        return dict(search=ended, objective=self.objective, gap=self.gap, left_out=self.left_out)
