"""The table of a comparison in words, and what a reader should see in it."""

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import number_in_words

WIDE = 100  # signs of a line
FEW = 50  # units of an arm by the weights, below which an average rests on few
WHOLE = 0.95  # share of the queries below which an average is of some of them
NAMED = 6  # methods that a sentence names


def printed(table: pd.DataFrame, estimand: str, level: float) -> str:
    """One line a method that gives an estimate; below them the notes."""
    known = table[np.isfinite(table["estimate"])]
    arms = dict(att=["controls"], atc=["treated"]).get(estimand, ["controls", "treated"])
    shown = pd.DataFrame(dict(method=known["method"]))
    shown["estimate"] = [number_in_words(v) for v in known["estimate"]]
    shown[f"{100 * level:g}% interval"] = [
        f"{number_in_words(low)} to {number_in_words(high)}" if np.isfinite(low) else "none"
        for low, high in zip(known["lower"], known["upper"])
    ]
    shown["matched"] = [f"{100 * v:.0f}%" for v in known["matched"]]
    for arm in arms:
        shown[arm] = [_blank(v, ",.0f") for v in known[f"effective_{arm}"]]
    shown["|SMD|"] = [_blank(v, ".2f") for v in known["largest_smd"]]
    shown["drift"] = [_blank(v, ".2f") for v in known["drift"]]
    shown["s"] = [_blank(v, ".1f") for v in known["seconds"]]
    lines = [shown.to_string(index=False)] if len(shown) else ["no method gives an estimate"]
    lines.append(_legend(arms))
    noted = zip(table["method"], table["estimate"], table["note"])
    lines += [
        fill(f"{name}: {'' if np.isfinite(value) else 'no estimate, '}{note}", WIDE)
        for name, value, note in noted
        if note
    ]
    return "\n".join(lines)


def _legend(arms: Sequence[str]) -> str:
    return fill(
        f"matched: share of the queries; {' and '.join(arms)}: as many as the weights are worth; "
        "|SMD|: the largest left in a covariate; drift: of the predicted outcome within groups, in "
        "sd; s: seconds",
        WIDE,
    )


def agreement(table: pd.DataFrame) -> str:
    """Whether the methods agree, and which rest on few units, on some queries, on unlike arms."""
    known: Any = table.loc[np.isfinite(table["estimate"])]
    if not len(known):
        return "No method gives an estimate: the notes say why."
    fewest = known[["effective_controls", "effective_treated"]].min(axis=1)
    shares = [f"{100 * share:.0f}%" for share in known["matched"]]
    few = known.assign(said=fewest)[fewest < FEW]
    some = known.assign(said=shares)[known["matched"] < WHOLE]
    unlike = known.assign(said=known["unbalanced"])[known["unbalanced"] > 0]
    told = [
        *_intervals(known),
        *_named(f"Fewer than {FEW} units of an arm, by their weights:", few),
        *_named("Averages of a part of the queries alone:", some),
        *_named("Covariates left with |SMD| of 0.1 and more:", unlike),
    ]
    if np.isfinite(unlike["drift"]).any():
        told.append(
            "Methods with a drift make groups alike in the predicted outcome: where it is small, "
            "what is left in their covariates moves that prediction little."
        )
    return "\n".join(fill(words, WIDE, subsequent_indent="  ") for words in told)


def _intervals(known: pd.DataFrame) -> list[str]:
    """The range of the estimates, and which intervals meet that of AHB, or of the first."""
    bounded: Any = known[np.isfinite(known["lower"])]
    ends: Any = [known.loc[getattr(known["estimate"], end)()] for end in ("idxmin", "idxmax")]
    low, high = (f"{number_in_words(one['estimate'])} ({one['method']})" for one in ends)
    told = [f"Estimates go from {low} to {high}."] if len(known) > 1 else []
    if len(bounded) < 2:
        return told
    own = bounded["method"].str.casefold() == "ahb"
    first = bounded[own].iloc[0] if own.any() else bounded.iloc[0]
    others = bounded[bounded["method"] != first["method"]]
    meets = (others["lower"] <= first["upper"]) & (others["upper"] >= first["lower"])
    clear = ((bounded["lower"] > 0) | (bounded["upper"] < 0)).sum()
    leaving = f"{clear} of all {len(bounded)} leave out 0."
    count = f"All {len(others)}" if meets.all() else f"{meets.sum()} of the {len(others)}"
    words = f"{count} other intervals overlap that of {first['method']}"
    if len(others) == 1:
        overlap = "overlaps" if meets.all() else "does not overlap"
        return [*told, f"The other interval {overlap} that of {first['method']}. {leaving}"]
    apart = _names(list(others.loc[~meets, "method"]))
    words += f", not {apart}" if apart else ""
    return [*told, f"{words}. {leaving}"]


def _named(begin: str, rows: pd.DataFrame) -> list[str]:
    """A sentence that names methods, each with its number; nothing without rows."""
    words = [
        f"{name} ({said if isinstance(said, str) else f'{said:,.0f}'})"
        for name, said in zip(rows["method"], rows["said"])
    ]
    return [f"{begin} {_names(words)}."] if words else []


def _names(names: Sequence[str]) -> str:
    """Names with commas and an "and"; of many the first."""
    shown = list(names[:NAMED])
    if len(names) > NAMED:
        shown.append(f"{len(names) - NAMED} more")
    *others, last = shown or [""]
    return f"{', '.join(others)} and {last}" if others else last


def _blank(value: float, kind: str) -> str:
    return format(value, kind) if np.isfinite(value) else ""
