"""What every box method reads from its task, and makes of it."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from jcausal.data import is_traced
from jcausal.matching._matcher import Task
from jcausal.matching._prognosis import Prognosis, foretell
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._proof import Proof
from jcausal.matching.boxes._queries import Queries, missing_at, point_queries, unit_queries
from jcausal.surfaces import Arms, ResponseSurface
from jcausal_kernels import MISSING


def queries_of(task: Task) -> Queries:
    """Where the boxes start."""
    if task.at is not None:
        return point_queries(task.sample, np.asarray(task.at))
    return unit_queries(task.sample, task.query)


def points_of(task: Task) -> np.ndarray | Array:
    """Where the boxes grow from (q, p), in the covariates' units; NaN where a number is missing."""
    sample = task.sample
    if task.at is not None:
        return np.where(missing_at(sample, task.at), np.nan, task.at)
    if is_traced(sample.codes, sample.ladder, task.query):
        return jnp.where(sample.codes == MISSING, jnp.nan, sample.x)[task.query]
    return sample.points[np.asarray(task.query)]


def prognosis_of(task: Task, surfaces: Sequence[ResponseSurface]) -> Prognosis:
    """What the surfaces foretell of the units and queries of a task."""
    points = None if task.at is None else queries_of(task).x
    return foretell(
        task.sample.plain(),
        task.fold,
        task.query,
        surfaces,
        at=points,
        query_fold=task.query_fold,
        adjusts=task.honest,
    )


def boxes_of(
    task: Task,
    edges: Edges,
    status: Int[Array, " q"],
    prognosis: Prognosis,
    proof: Proof | None = None,
) -> Boxes:
    """The boxes of a task's queries."""
    return Boxes(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        point=points_of(task),
        edges=edges,
        status=status,
        estimand=task.estimand,
        proof=proof,
        prognosis=prognosis,
    )


def still(tree):  # noqa: ANN001, ANN202
    """Boxes are piecewise constant in everything: no gradient passes through their growth."""
    return jax.tree.map(
        lambda leaf: lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree
    )


def stage(k: int, folds: int) -> str:
    """What the progress of one fold's boxes is called."""
    return f"boxes, fold {k + 1} of {folds}" if folds > 1 else "boxes"


def arms_of(control: bool, treated: bool) -> Arms:
    """The surfaces that count, in a word; at least one does."""
    return "both" if control and treated else ("control" if control else "treated")


def check_minimum(min_controls: int, min_treated: int) -> None:
    """Refuse boxes that need no unit of an arm.

    **Raises:** ValueError.
    """
    if not is_traced(min_controls, min_treated) and min(min_controls, min_treated) < 1:
        raise ValueError("min_controls and min_treated must be at least 1.")
