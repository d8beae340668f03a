"""The assignment pattern of a panel, and what may not be estimated under it."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

Pattern = Literal["block", "staggered", "constant", "switching"]
DRIFT = 0.25  # how far a treated share may move with time, beyond chance, over the smaller share


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


def switching_reason(found: Assignment) -> str | None:
    """Why a method that needs both arms in a row, whatever the times, may not be used."""
    if found.pattern == "constant":
        return (
            f"no unit is seen both with and without treatment ({found.words}), so no unit's "
            "effect is identified"
        )
    if found.absorbing:
        return (
            f"the treatment is absorbing ({found.words}): what the {found.never} units that are "
            "never treated would be with treatment is not identified, and a trend in time would "
            "be read as an effect"
        )
    return None


def both_arms_reason(found: Assignment) -> str | None:
    """Why a method that needs both arms in a row, at times that do not matter, may not be used."""
    reason = switching_reason(found)
    if reason is None and found.drift > DRIFT:
        return (
            f"the treated share moves with time (drift {found.drift:.2f}, at most {DRIFT:g}): a "
            "trend in time would be read as an effect"
        )
    return reason


def controls_reason(found: Assignment) -> str | None:
    """Why the outcomes without treatment of treated cells may not be imputed from the others."""
    if found.pattern == "constant":
        return (
            f"no unit is seen both with and without treatment ({found.words}), so what a treated "
            "unit is without treatment is not identified"
        )
    if not found.completable:
        return (
            f"all {found.treated} treated cells lie at the {found.bare} times at which nobody is "
            "untreated, so the level of these times without treatment is not identified"
        )
    return None


def donors_reason(found: Assignment, before: int) -> str | None:
    """Why treated units may not be weighed together from units that are never treated.

    `before`: the times before its treatment without which a unit has no estimate.
    """
    if found.pattern == "constant":
        return controls_reason(found)
    if not found.absorbing:
        return (
            f"the treatment comes and goes ({found.words}), and donors are weighed to fit a "
            "unit before a treatment that, once begun, stays"
        )
    if not found.never:
        return f"all {found.n} units are treated at some time ({found.words}): there is no donor"
    if not (before <= found.start[found.start < found.m]).any():
        times = "1 time" if before == 1 else f"{before} times"
        return (
            f"no treated unit has {times} before its treatment ({found.words}), which the weights "
            "are fitted to"
        )
    missing = found.n * found.m - found.observed
    if missing:
        return (
            f"{missing} of {found.n * found.m} cells were not observed, and weights of donors need "
            "every outcome (leave out units or times with gaps by panel.take or take_times)"
        )
    return None
