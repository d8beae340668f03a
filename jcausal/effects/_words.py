"""Effects in words."""

from typing import Any

import numpy as np

from jcausal.data import named, number_in_words
from jcausal.effects._group_effects import EffectsOfGroups
from jcausal.effects._notes import (
    adjustment_words,
    careful_words,
    drift_words,
    partner_words,
    second_words,
)
from jcausal.matching import RESULTS, code, sentence


def summary(effects: EffectsOfGroups, interval: object = None) -> str:
    """The average, the share matched and why not, group sizes."""
    _check_interval(effects, interval)
    matched, asked = (
        int(np.asarray(effects.matched).sum()),
        int(np.asarray(effects.matching.asked).sum()),
    )
    name, error = _estimand_name(effects), _error(interval)
    points = int((np.asarray(effects.matching.query) < 0).sum())
    if points:
        lines = [f"effects at {points} points (matched {matched} of {asked})"]
    else:
        of_ratio = str(getattr(interval, "target", "")).endswith("ratio")
        plain = interval is None or of_ratio
        value = number_in_words(float(effects.average)) if plain else str(interval)
        lines = [f"{name} (matched {matched} of {asked}{partner_words(effects)}): {value}"]
        lines += [*second_words(effects, error), *adjustment_words(effects)]
        lines += risks(effects, str(interval) if of_ratio else None)
    if effects.partitions is not None:
        low, high = effects.partitions.spread
        count, shown = len(effects.partitions.average), effects.partitions.shown
        lines.append(
            f"over {count} partitions the {name} runs from {number_in_words(low)} to "
            f"{number_in_words(high)}; partition "
            f"{shown + 1}, the median, is shown"
        )
    status = np.asarray(effects.matching.status)[np.asarray(effects.matching.asked)]
    for value in np.unique(status):
        if sentence(value) != "matched":
            lines.append(f"unmatched {int((status == value).sum())}: {sentence(value)}")
    sizes = np.asarray(effects.sizes)[np.asarray(effects.matched)]
    for arm, word in enumerate(("controls", "treated")):
        if sizes.size:
            low, middle, high = np.percentile(sizes[:, arm], [10, 50, 90])
            lines.append(
                f"{word} in a group: median {middle:,.0f}, 10% to 90% {low:,.0f} to {high:,.0f}"
            )
    known = [*drift_words(effects), *surface_words(effects)]
    return "\n".join([*lines, *effects.matching.notes(), *known, *careful_words(effects, error)])


def _estimand_name(effects: EffectsOfGroups) -> str:
    """ATT, ATC or ATE, and of whom where some were left out on purpose."""
    left = np.asarray(effects.matching.status) == int(code(RESULTS.outside_support))
    return effects.estimand.upper() + (" on common support" if left.any() else "")


def _check_interval(effects: EffectsOfGroups, interval: Any) -> None:
    """Only an interval of these effects' average, or risk ratio, stands in its place."""
    if interval is None:
        return
    if not (hasattr(interval, "target") and hasattr(interval, "estimate")):
        raise ValueError(
            f"interval is {named(interval)}: pass what jc.interval(effects, jc.AbadieImbens()) "
            "gives."
        )
    if np.ndim(interval.estimate):
        raise ValueError(
            f"interval holds {interval.estimate.shape[0]} estimates, of groups or single queries: "
            "print it by itself, and pass here one of the average."
        )
    ratio = str(interval.target).endswith("ratio")
    own = float(effects.risk_ratio if ratio else effects.average)
    told = float(interval.estimate)
    scale = abs(own) + np.nan_to_num(float(interval.std_error))
    if np.isfinite([own, told]).all() and abs(own - told) > 1e-3 * scale:
        raise ValueError(
            f"interval is of other effects: its estimate is {number_in_words(told)}, that of these "
            f"{number_in_words(own)}."
        )


def _error(interval: object) -> float:
    """The standard error of an interval of the average; NaN where there is none."""
    error = np.asarray(getattr(interval, "std_error", np.nan), float)
    of_average = str(getattr(interval, "target", "")).endswith("average")
    return float(error) if of_average and error.ndim == 0 else float("nan")


def arm_r2(effects: EffectsOfGroups) -> dict[str, float]:
    """Mean out-of-sample R2 over the folds of each arm that was fitted, NaN where it is unknown."""
    fitted = [~np.isnan(np.asarray(surface.noise)) for surface in effects.surfaces]
    arms = np.all(fitted, axis=0) if fitted else [False, False]
    means = np.asarray(effects.r2, float).mean(0) if fitted else np.full(2, np.nan)
    return {word: float(means[a]) for a, word in enumerate(("controls", "treated")) if arms[a]}


def surface_words(effects: EffectsOfGroups) -> list[str]:
    """One line on how well the surfaces foretell outcomes they have not seen; none without any."""
    arms = [f"{word} {share_in_words(value)}" for word, value in arm_r2(effects).items()]
    folds = len(effects.surfaces)
    over = f" (means over {folds} folds)" if folds > 1 else ""
    return [f"surface, out of sample R2: {', '.join(arms)}{over}"] if arms else []


def share_in_words(value: float) -> str:
    """Two decimals without a leading zero; "unknown" for NaN."""
    if np.isnan(value):
        return "unknown"
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"-{text}" if value < 0 else text


def poor_fit(effects: EffectsOfGroups) -> list[str]:
    """One sentence for each arm whose trained surfaces explain nothing out of sample."""
    names = {type(surface).__name__.removesuffix("Surface") for surface in effects.surfaces}
    return [
        f"the {' and '.join(sorted(names))} surface of the {word} explains nothing out of sample "
        f"(R2 {share_in_words(value)}): the groups follow noise; add covariates that foretell the "
        "outcome, give more rows, or try another outcome model."
        for word, value in arm_r2(effects).items()
        if value <= 0
    ]


def risks(effects: EffectsOfGroups, ratio: str | None) -> list[str]:
    """Both risks, their difference and ratio when outcomes are 0 or 1; else nothing."""
    if not bool(effects.binary) or not np.asarray(effects.matched).any():
        return []
    low, high = float(effects.risk0), float(effects.risk1)
    difference = number_in_words(float(effects.risk_difference))
    if ratio is None:
        ratio = number_in_words(high / low) if low > 0 else "none, since the first is 0"
    return [
        f"risk {number_in_words(low)} without treatment, {number_in_words(high)} with: "
        f"difference {difference}, ratio {ratio}"
    ]
