"""The units of a page, as its script reads them: rows, covariates, and who is in which group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from jcausal.data import Sample
from jcausal.matching import Matching
from jcausal.reports._group_tables import members, scale_of
from jcausal.reports._render import compact

ROWS = 20_000  # of the table: more make a file that no browser opens quickly
GROUPS = 2_000  # whose members are listed
MEMBERS = 40  # of a group that are listed, the query apart


def spread(count: int, most: int) -> Int[np.ndarray, " k"]:
    """At most so many places, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def row_table(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Columns as the script's table has them: name, whether numbers, values.

    Words that occur again and again are written once: `levels`, and their places as values.
    """
    made = []
    for name, given in columns.items():
        values = np.asarray(given)
        if values.dtype.kind in "iuf":
            made.append(dict(name=name, number=True, values=compact(values)))
            continue
        words = compact(values)
        levels = sorted({w for w in words if w is not None})
        if 2 * len(levels) > len(words):
            made.append(dict(name=name, number=False, values=words))
            continue
        place = {w: k for k, w in enumerate(levels)}
        places = [None if w is None else place[w] for w in words]
        made.append(dict(name=name, number=False, values=places, levels=levels))
    return made


def unit_table(sample: Sample, rows: Int[np.ndarray, " m"]) -> dict[str, Any]:
    """Some units with all that is known of them beforehand, and their outcomes."""
    schema, points = sample.schema, sample.points[rows]
    flags = schema.flag_of.values()
    covariates = []
    for j, name in enumerate(schema.names):
        if j in flags:  # the number itself is blank where it says "missing"
            continue
        unit = schema.units[j]
        one: dict[str, Any] = dict(name=f"{name} ({unit})" if unit else name)
        if schema.kinds[j] == "category":
            one |= dict(levels=list(schema.levels[j]), values=points[:, j].astype(int).tolist())
        else:
            one["values"] = compact(points[:, j])
        covariates.append(one)
    made: dict[str, Any] = dict(
        id=[str(one) for one in sample.id[rows].tolist()],
        treated=np.asarray(sample.t)[rows].astype(int).tolist(),
        covariates=covariates,
    )
    if sample.y is not None:
        made["outcome"] = compact(np.asarray(sample.y)[rows])
    return made


def unit_data(
    sample: Sample,
    rows: Int[np.ndarray, " r"],
    columns: Mapping[str, np.ndarray],
    matching: Matching | None = None,
    queries: Int[np.ndarray, " r"] | None = None,
) -> dict[str, Any]:
    """All that the script needs.

    **Arguments:** `rows` of the sample, one a line of the table, and `columns` of it; `matching`
    and `queries`, the places of these rows among its queries, where there are groups.
    """
    shown: set[int] = set(rows.tolist())
    groups: dict[str, Any] | None = None
    if matching is not None and queries is not None:
        groups = _groups(matching, queries)
        shown.update(k for one in groups["members"] for k in one)
    known = np.array(sorted(shown), int)
    place = {row: k for k, row in enumerate(known.tolist())}
    if groups is not None:
        groups["members"] = [[place[k] for k in one] for one in groups["members"]]
    return dict(
        columns=row_table(columns),
        unit=[place[row] for row in rows.tolist()],
        units=unit_table(sample, known),
        groups=groups,
    )


def _groups(matching: Matching, queries: Int[np.ndarray, " r"]) -> dict[str, Any]:
    """Groups of the matched among these rows: of which row, in words, sizes, members, weights."""
    matched = np.flatnonzero(np.asarray(matching.matched)[queries])
    chosen = matched[spread(matched.size, GROUPS)] if matched.size else matched
    held: dict[str, Any] = dict(of=chosen.tolist(), words=[], size=[], members=[], weights=[])
    held["all"] = int(matched.size)
    arm, scale = np.asarray(matching.sample.t), scale_of(matching.sample)
    for i in queries[chosen].tolist():
        units, weight = members(matching, i, scale)
        treated = int(arm[units].sum())
        held["words"].append(matching.describe(i))
        held["size"].append([units.size - treated, treated])
        held["members"].append(_some(units, arm).tolist())
        held["weights"].append(compact(weight[np.isin(units, held["members"][-1])]))
    return held


def _some(units: Int[np.ndarray, " m"], arm: np.ndarray) -> Int[np.ndarray, " k"]:
    """The query and those that come first, three of the other arm to one of its own."""
    if units.size <= MEMBERS + 1:
        return units
    own, rest = arm[units[0]], units[1:]
    others, mine = rest[arm[rest] != own], rest[arm[rest] == own]
    few = max(MEMBERS // 4, MEMBERS - others.size)
    kept = np.r_[units[0], others[: MEMBERS - min(few, mine.size)], mine[:few]]
    return units[np.isin(units, kept)]
