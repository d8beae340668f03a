"""Where Exact AHB writes what it finds, query by query."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jcausal.matching._matcher import Task
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._proof import ENDED, Proof
from jcausal.matching.boxes._task import boxes_of, points_of, queries_of
from jcausal.matching.boxes.exact._branch_and_bound import BestBox
from jcausal.matching.boxes.exact._places import BoxStart, Quest, candidates, edges_of


class FoundBoxes:
    """One row a query: where its box starts, and the box when it is found."""

    def __init__(self, task: Task, prognosis: Prognosis) -> None:
        self.task, self.prognosis = task, prognosis
        queries = queries_of(task)
        self.lower, self.upper = np.array(queries.lower), np.array(queries.upper)
        self.open, self.point = np.array(queries.open), np.asarray(points_of(task))
        asked = np.asarray(task.asked)
        growing, not_asked = int(code(RESULTS.growing)), int(code(RESULTS.not_asked))
        self.status = np.where(asked, growing, not_asked).astype(np.int32)
        self.proof = Proof(
            np.full(asked.size, np.nan),
            np.full(asked.size, np.nan),
            np.full(asked.size, ENDED.index("stopped"), np.int32),
            np.zeros(asked.size, np.int64),
            np.zeros(asked.size, np.int64),
        )

    def starts(
        self,
        rows: Int[np.ndarray, " q"],
        members: Int[np.ndarray, " m"],
        scores: Float[np.ndarray, "q s"],
    ) -> list[BoxStart]:
        """Where the boxes of some queries start, among these members."""
        place = np.full(self.task.sample.n + 1, -1)
        place[members] = np.arange(members.size)
        own = place[np.asarray(self.task.query)[rows]]
        level = self.open.argmax(-1)
        return [
            BoxStart(self.lower[i], self.upper[i], level[i], self.point[i], score, int(unit))
            for i, score, unit in zip(rows, scores, own)
        ]

    def keep(self, quest: Quest, i: int, found: BestBox | None) -> None:
        """Write down the i-th box of a quest, or that no box holds enough units."""
        row = quest.rows[i]
        kept = candidates(quest, i)
        self.proof.left_out[row] = (~kept).sum()
        if found is None:
            controls = (~quest.members.arm[kept]).sum()
            short = RESULTS.no_control if controls < quest.minimum[0] else RESULTS.no_treated
            self.status[row] = int(code(short))
            self.proof.ended[row] = ENDED.index("infeasible")
            return
        box = edges_of(quest.starts[i], found.reach, quest.columns)
        self.lower[row], self.upper[row], self.open[row] = box
        self.status[row] = int(code(RESULTS.matched))
        self.proof.objective[row], self.proof.bound[row] = found.objective, found.bound
        self.proof.ended[row] = ENDED.index(found.ended)
        self.proof.nodes[row] = found.nodes

    def boxes(self) -> Boxes:
        """All boxes."""
        edges = Edges(*map(jnp.asarray, (self.lower, self.upper, self.open)))
        return boxes_of(self.task, edges, jnp.asarray(self.status), self.prognosis, self.proof)
