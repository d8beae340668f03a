"""Some boxes of a matching over the sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jcausal.data import check_kind
from jcausal.matching import BoxEdges, Matching
from jcausal.plot._plots import DRAWN, GREY, ORANGE, _axes, label_of, legend
from jcausal.plot._text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _columns(
    matching: Matching, which: Sequence[int], covariates: Sequence[str] | None
) -> tuple[int, int]:
    """Two ordered columns, by name or those that bound the boxes most; in the sample's order."""
    schema = matching.sample.schema
    if covariates is None:
        best = bounding(matching, which)[:2]
        if len(best) < 2:
            raise ValueError("a picture of boxes needs two covariates that are not categories.")
        return min(best), max(best)
    for name in covariates:
        if name not in schema.names or schema.kinds[schema.names.index(name)] == "category":
            raise ValueError(f"{name!r} is no covariate with an order: {', '.join(schema.names)}.")
    if len(covariates) != 2:
        raise ValueError(f"name two covariates, not {len(covariates)}.")
    return schema.names.index(covariates[0]), schema.names.index(covariates[1])


def bounding(matching: Matching, which: Sequence[int]) -> list[int]:
    """Covariates with an order, those first that these boxes are best seen in.

    First by how many of the boxes have a place there (one that holds only missing values has
    none), then those that bound a box at all, numbers before those of two values, and by how many
    edges lie inside the data; equals stand in the sample's order.

    **Returns:** places of covariates. ValueError for a matching whose groups are no boxes.
    """
    sample, chosen = matching.sample, np.asarray(which, int)
    schema, edges = sample.schema, _edges(matching)
    ladder, height = np.asarray(sample.ladder), np.asarray(sample.heights)
    foot, top = ladder[:, 0], ladder[np.arange(len(height)), height - 1]
    lower, upper = edges.lower[chosen], edges.upper[chosen]
    placed = (~np.isnan(lower)).sum(0)
    foot, top = foot.astype(lower.dtype), top.astype(upper.dtype)
    inside = (lower > foot).sum(0) + (upper < top).sum(0)
    ranks = {}
    for j in schema.ordered.tolist():
        if schema.kinds[j] != "category":
            ranks[j] = (placed[j], inside[j] > 0, schema.kinds[j] == "number", inside[j])
    return sorted(ranks, key=ranks.__getitem__, reverse=True)


def _edges(matching: Matching) -> BoxEdges:
    edges = matching.edges()
    if edges is None:
        raise ValueError(
            f"the groups of {type(matching).__name__} are no boxes, and plot.boxes draws boxes: "
            "pass what jc.match(..., jc.AHB()) returns."
        )
    return edges


def query_words(matching: Matching, i: int) -> str:
    """A query as the tables name it: a unit of the sample by its id, a point by its place."""
    row = int(np.asarray(matching.query)[i])
    return plain(f"unit {matching.sample.id[row]}" if row >= 0 else f"query {i}", 24)


def boxes(
    matching: Matching,
    *,
    which: Sequence[int] = (0, 1, 2),
    covariates: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Some boxes over a scatter of the sample in two covariates, zoomed to the boxes.

    Each box bears the id of the unit that it was made for.

    **Arguments:** `which` queries; `covariates` two names, default those that bound these boxes
    most (most edges inside the data, numbers first); `ax`, which then holds the legend too.

    **Returns:** the axes, labelled with names and units. ValueError for unknown names or queries.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> found = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> jc.plot.boxes(found, covariates=["age", "income 1975"]).get_xlabel()
        'age (years)'
    """
    from matplotlib.patches import Rectangle

    check_kind(matching, Matching, "plot.boxes", "pass what jc.match(..., jc.AHB()) returns")
    schema, edges = matching.sample.schema, _edges(matching)
    for i in which:
        if not 0 <= i < len(matching.query):
            raise ValueError(f"there is no query {i}: they are 0 to {len(matching.query) - 1}.")
    a, b = _columns(matching, which, covariates)
    own = ax is None
    ax = _axes(ax, (8.5, 5))
    points, treated = matching.sample.points, np.asarray(matching.sample.t)
    valid = np.asarray(matching.sample.valid)
    for arm, colour, word in ((False, GREY, "controls"), (True, ORANGE, "treated")):
        rows = np.flatnonzero(valid & (treated == arm))
        if len(rows) > DRAWN:
            word = f"{DRAWN:,} of {len(rows):,} {word}"
            rows = np.random.default_rng(0).choice(rows, DRAWN, replace=False)
        ax.scatter(points[rows, a], points[rows, b], s=9, c=colour, alpha=0.5, lw=0, label=word)
    lower, upper, point = edges
    span = np.nanmax(points[valid], axis=0) - np.nanmin(points[valid], axis=0)
    for i in which:
        if np.isnan(lower[i, [a, b]]).any():
            raise ValueError(
                f"box {i} holds only units whose {schema.names[a]!r} or {schema.names[b]!r} is "
                "missing: it has no place in this picture, choose others with which=[...]."
            )
    margins, chosen = {}, np.array(list(which))
    for j in (a, b):
        wide = float(upper[chosen, j].max() - lower[chosen, j].min())
        margins[j] = max(0.6 * wide, 0.02 * float(span[j]))
    least = [0.01 * margins[j] for j in (a, b)]  # so that a box without extent can be seen
    for k, i in enumerate(which):
        corner, size = lower[i, [a, b]], upper[i, [a, b]] - lower[i, [a, b]]
        grown = np.maximum(size, least)
        corner = corner - (grown - size) / 2
        frame = Rectangle(tuple(corner), *grown, fill=False, ec=f"C{k}", lw=1.8)
        frame.set_label(query_words(matching, i))
        ax.add_patch(frame)
        ax.plot(*point[i, [a, b]], marker="+", c=f"C{k}", ms=11, mew=2)
    for j, limit in ((a, ax.set_xlim), (b, ax.set_ylim)):
        low, high, margin = lower[chosen, j].min(), upper[chosen, j].max(), margins[j]
        near, seen = 0.1 * margin, points[valid, j]
        limit(max(low - margin, np.nanmin(seen) - near), min(high + margin, np.nanmax(seen) + near))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:,.10g}")
    ax.set(
        xlabel=label_of(schema, a), ylabel=label_of(schema, b), title="Boxes and their queries (+)"
    )
    legend(ax, beside=own)
    return ax
