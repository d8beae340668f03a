"""What each completion method asks of a panel's assignment pattern, and which methods fit one."""

from collections.abc import Callable
from functools import partial

from jcausal.panels._assignment import Assignment

DRIFT = 0.25  # how far a treated share may move with time, beyond chance, over the smaller share
Reason = Callable[[Assignment], str | None]


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


# Of each method, with its default options, in the order in which readers are told of them.
REQUIREMENTS: dict[str, Reason] = {
    "RowScaledSpectral": both_arms_reason,
    "USVT": both_arms_reason,
    "MCNNM": controls_reason,
    "CrossFittedDR": switching_reason,
    "DoublyRobustNeighbors": switching_reason,
    "SyntheticNearestNeighbors": controls_reason,
    "TwoWayFixedEffects": controls_reason,
    "SyntheticControl": partial(donors_reason, before=1),
    "SyntheticDiD": partial(donors_reason, before=2),
    "UnitMeans": both_arms_reason,
}


def fitting(found: Assignment) -> list[str]:
    """Names of the methods that fit."""
    return [name for name, reason in REQUIREMENTS.items() if reason(found) is None]


def pattern_summary(found: Assignment) -> str:
    """Sizes, the pattern, which methods fit it, and why the others do not."""
    share = found.treated / found.observed
    lines = [
        f"{found.n:,} units x {found.m:,} times, {found.observed:,} of {found.n * found.m:,} cells "
        f"observed, {found.treated:,} of them treated ({100 * share:.3g}%)",
        f"assignment {found.words}",
    ]
    if found.pattern == "switching":
        lines.append(
            f"units seen in both arms change arm {found.changes:.3g} times on average "
            f"({found.expected_changes:.3g} if every cell were drawn alone); the treated share's "
            f"drift with time is {found.drift:.2g}"
        )
    lines.append(f"methods that fit: {', '.join(fitting(found)) or 'none'}")
    by_reason: dict[str, list[str]] = {}
    for name, requirement in REQUIREMENTS.items():
        reason = requirement(found)
        if reason is not None:
            by_reason.setdefault(reason, []).append(name)
    lines += [f"not {', '.join(held)}: {reason}" for reason, held in by_reason.items()]
    return "\n".join(lines)
