"""The assignment pattern of a panel: who was treated when, in numbers."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

Pattern = Literal["block", "staggered", "constant", "switching"]


class PatternError(ValueError):
    """The method may not be used on the panel's assignment pattern: the message says why."""


class Assignment(NamedTuple):
    """Who was treated when, in numbers. Made by `Panel.assignment`.

    `pattern` looks at observed cells only:

    - "block": units that are once treated stay treated, and all start at one time.
    - "staggered": the same with several starts (or units that are treated from the beginning).
    - "constant": no unit is ever seen in both arms.
    - "switching": the treatment comes and goes.

    `start` (n,) is the place in time of a unit's first treated cell, m for units never treated.
    `drift` is how far the treated share moves with time: the standard deviation over times beyond
    what independent draws with each unit's own share would give, over the smaller of the two
    arms' shares; 0 where a chi-square statistic is within 3 deviations of chance. `bare` counts
    times without an untreated cell, `completable` the treated cells whose unit and whose time have
    one.
    """

    pattern: Pattern
    n: int
    m: int
    observed: int
    treated: int
    start: Int[np.ndarray, " n"]
    ever: int
    always: int
    both: int
    bare: int
    completable: int
    changes: float
    expected_changes: float
    drift: float
    since: str

    @property
    def never(self) -> int:
        """Units without a treated cell."""
        return self.n - self.ever

    @property
    def absorbing(self) -> bool:
        """Whether units that are once treated stay treated."""
        return self.pattern in ("block", "staggered")

    @property
    def words(self) -> str:
        """The pattern in a few words."""
        units = f"{self.ever} of {self.n} units"
        if self.pattern == "block":
            return f"block: {units} treated from {self.since} to the end"
        if self.pattern == "staggered":
            return f"staggered: {units} treated, from {self.since}, all to the end"
        if self.pattern == "constant":
            return f"constant: {units} treated at all times, the others never"
        return f"switching: {units} treated at times, {self.both} seen in both arms"


def assignment_of(
    d: Bool[np.ndarray, "n m"], mask: Bool[np.ndarray, "n m"], times: list[str]
) -> Assignment:
    """The facts of a concrete panel; `times` are the labels of its m times."""
    n, m = d.shape
    treated, control = d & mask, ~d & mask
    ever, some_control = np.any(treated, axis=1), np.any(control, axis=1)
    start = np.where(ever, treated.argmax(1), m)
    after = mask & (np.arange(m) >= start[:, None])
    absorbing = bool(d[after].all())
    both = np.asarray(ever & some_control)
    if not both.any():
        pattern: Pattern = "constant"
    elif not absorbing:
        pattern = "switching"
    else:
        pattern = "block" if np.unique(start[ever]).size == 1 else "staggered"
    changes, expected = _changes(d, mask, both)
    return Assignment(
        pattern=pattern,
        n=n,
        m=m,
        observed=int(mask.sum()),
        treated=int(treated.sum()),
        start=start,
        ever=int(ever.sum()),
        always=int((ever & ~some_control).sum()),
        both=int(both.sum()),
        bare=int((~control.any(0)).sum()),
        completable=int(treated[np.ix_(some_control, np.any(control, axis=0))].sum()),
        changes=changes,
        expected_changes=expected,
        drift=_drift(treated, mask),
        since=_since(start[ever], times),
    )


def _since(start: Int[np.ndarray, " k"], times: list[str]) -> str:
    first, last = times[start.min()], times[start.max()]
    return first if first == last else f"{first} to {last}"


def _changes(
    d: Bool[np.ndarray, "n m"], mask: Bool[np.ndarray, "n m"], both: Bool[np.ndarray, " n"]
) -> tuple[float, float]:
    """Mean changes of arm of the units seen in both, and the mean if cells were independent."""
    if not both.any():
        return 0.0, 0.0
    d, mask = d[both], mask[both]
    pairs = mask[:, 1:] & mask[:, :-1]
    count = ((d[:, 1:] != d[:, :-1]) & pairs).sum(1)
    share = (d & mask).sum(1) / mask.sum(1)
    return float(count.mean()), float((2 * share * (1 - share) * pairs.sum(1)).mean())


def _drift(treated: Bool[np.ndarray, "n m"], mask: Bool[np.ndarray, "n m"]) -> float:
    """The treated share's movement over times beyond chance, over the smaller arm's share."""
    share = treated.sum(1) / mask.sum(1)
    gap = np.where(mask, treated - share[:, None], 0).sum(0)
    chance = np.where(mask, (share * (1 - share))[:, None], 0).sum(0)
    use = chance > 0
    count, m = mask.sum(0)[use], int(use.sum())
    if m < 2:
        return 0.0
    statistic = float((gap[use] ** 2 / chance[use]).sum())
    if statistic <= m + 3 * np.sqrt(2 * m):
        return 0.0
    beyond = ((gap[use] ** 2).sum() - chance[use].sum()) / (count**2).sum()
    overall = treated.sum() / mask.sum()
    return float(np.sqrt(max(beyond, 0.0)) / min(overall, 1 - overall))
