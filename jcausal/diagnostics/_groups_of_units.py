"""Groups of units within which balance is told."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jcausal.data import By, Sample
from jcausal.effects import factorized, group_labels
from jcausal.matching import Matching


class UnitGroups(NamedTuple):
    """The group of each unit (n,), -1 for none, and the groups' labels in order."""

    code: Int[np.ndarray, " n"]
    label: tuple[Any, ...]


def groups_of_units(sample: Sample, matching: Matching | None, by: By | None) -> UnitGroups:
    """Units by what `by` names: all in one, clusters, a matching's own groups, labels.

    **Raises:** ValueError for a name that is no covariate and no group of the matching.
    """
    if by is None:
        return UnitGroups(np.zeros(sample.n, int), ("all",))
    own = {} if matching is None else matching.unit_columns()
    if isinstance(by, str) and by in own:
        return _present(sample, np.asarray(own[by]), tuple(range(int(own[by].max()) + 1)))
    if isinstance(by, str) and by == "cluster" and sample.cluster is not None:
        code = np.asarray(sample.cluster)
        return _present(sample, code, tuple(range(int(code.max()) + 1)))
    if isinstance(by, str) and by not in sample.schema.names:
        ways = [f"{name!r}" for name in (*own, *sample.schema.names)]
        ways += ["'cluster'"] if sample.cluster is not None else []
        raise ValueError(
            f"by is {by!r}, which is no covariate and no group of this matching: use one of "
            f"{', '.join(ways)}, or labels of the rows (n,)."
        )
    code, label = factorized(group_labels(sample, by))
    return _present(sample, code, tuple(label.tolist()))


def _present(sample: Sample, code: Int[np.ndarray, " n"], label: tuple[Any, ...]) -> UnitGroups:
    """Groups that hold a valid row, counted anew."""
    code = np.where(np.asarray(sample.valid), code, -1)
    held, place = np.unique(code, return_inverse=True)
    first = int((held < 0).sum())
    return UnitGroups(place - first, tuple(label[int(k)] for k in held[first:]))
