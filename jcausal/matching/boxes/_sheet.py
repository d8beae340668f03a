"""Where Exact AHB writes what it finds, query by query."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jcausal.matching._matcher import Task
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code
from jcausal.matching.boxes._around import Quest, Start, candidates, edges
from jcausal.matching.boxes._boxes import Boxes, Proof
from jcausal.matching.boxes._fast import points_of, queries_of
from jcausal.matching.boxes._search import Found
from jcausal.matching.boxes._words import ENDED


class Sheet:
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
        self, rows: np.ndarray, members: np.ndarray, scores: Float[np.ndarray, "q s"]
    ) -> list[Start]:
        """Where the boxes of some queries start, on the ground of these members."""
        place = np.full(self.task.sample.n + 1, -1)
        place[members] = np.arange(members.size)
        own = place[np.asarray(self.task.query)[rows]]
        level = self.open.argmax(-1)
        return [
            Start(self.lower[i], self.upper[i], level[i], self.point[i], score, int(unit))
            for i, score, unit in zip(rows, scores, own)
        ]

    def keep(self, quest: Quest, i: int, found: Found | None) -> None:
        """Write down the i-th box of a quest, or that no box holds enough units."""
        row = quest.rows[i]
        kept = candidates(quest, i)
        self.proof.left_out[row] = (~kept).sum()
        if found is None:
            controls = (~quest.ground.arm[kept]).sum()
            short = RESULTS.no_control if controls < quest.minimum[0] else RESULTS.no_treated
            self.status[row] = int(code(short))
            self.proof.ended[row] = ENDED.index("infeasible")
            return
        box = edges(quest.starts[i], found.reach, quest.plan)
        self.lower[row], self.upper[row], self.open[row] = box
        self.status[row] = int(code(RESULTS.matched))
        self.proof.objective[row], self.proof.bound[row] = found.objective, found.bound
        self.proof.ended[row] = ENDED.index(found.ended)
        self.proof.nodes[row] = found.nodes

    def boxes(self) -> Boxes:
        """All boxes."""
        task = self.task
        lower, upper, opened, status = map(
            jnp.asarray, (self.lower, self.upper, self.open, self.status)
        )
        return Boxes(
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            point=self.point,
            lower_code=lower,
            upper_code=upper,
            open=opened,
            status=status,
            estimand=task.estimand,
            proof=self.proof,
            prognosis=self.prognosis,
        )
