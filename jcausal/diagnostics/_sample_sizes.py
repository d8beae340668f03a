"""How many units a matching or weighting keeps, and as how many they count."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import FROM_FRAME, Sample, check_kind, like
from jcausal.diagnostics._compared import (
    Compared,
    Weighed,
    compared,
    effective_size,
    sampling_weights,
)
from jcausal.matching import sentence


def sample_sizes(test: Sample, matching: Weighed | Mapping[str, Weighed]) -> Any:
    """Units by arm: all, with weight, without, and effective, (sum w)^2 / sum w^2.

    **Arguments:** as in `jc.balance`.

    **Returns:** a frame of the kind that the sample was read from, one row an arm (of several
    matchings with `method` first): `arm`, `units`, `weighted`, `unweighted`, `effective_before`,
    `effective_after`, and `reasons` why queries of that arm have no match, with their counts.

    **Raises:** ValueError as `jc.balance`.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> pairs = jc.match(sample, jc.NearestNeighbors(replace=False))
        >>> jc.diagnostics.sample_sizes(sample, pairs)["weighted"].tolist()
        [185, 185]
    """
    check_kind(test, Sample, "sample_sizes", FROM_FRAME)
    several = isinstance(matching, Mapping)
    rows = [
        (dict(method=of.name) if several else {}) | _row(test, of, arm)
        for of in compared(test, matching)
        for arm in (False, True)
    ]
    return like(test.home, pd.DataFrame(rows))


def _row(test: Sample, of: Compared, arm: bool) -> dict[str, Any]:
    before = sampling_weights(test)
    mine = (np.asarray(test.t) == arm) & (before > 0)
    kept = int((of.after[mine] != 0).sum())
    return dict(
        arm="treated" if arm else "controls",
        units=int(mine.sum()),
        weighted=kept,
        unweighted=int(mine.sum()) - kept,
        effective_before=effective_size(before[mine]),
        effective_after=effective_size(of.after[mine]),
        reasons=_reasons(of, arm),
    )


def _reasons(of: Compared, arm: bool) -> str:
    if of.matching is None:
        return ""
    side = np.asarray(of.matching.query_treated) == arm
    left = side & np.asarray(of.matching.asked) & ~np.asarray(of.matching.matched)
    status, count = np.unique(np.asarray(of.matching.status)[left], return_counts=True)
    return "; ".join(f"{c}: {sentence(int(s))}" for s, c in zip(status, count))
