"""From what was read and checked to the fields of a sample: ladders laid in float64."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jcausal.data._content import origin_of, row_content
from jcausal.data._host import to_device
from jcausal.data._identity import cluster_codes, row_words
from jcausal.data._ladder import host_ladders
from jcausal.data._like import FrameKind
from jcausal.data._names import RowNames
from jcausal.data._outcome import placed_outcome
from jcausal.data._reading import Reading
from jcausal.data._schema import Schema


class Fields(NamedTuple):
    """The fields of a sample of n rows and p covariates, as `Sample` names and describes them."""

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    y: Float[Array, " n"] | None
    weight: Float[Array, " n"]
    valid: Bool[Array, " n"]
    codes: Int[Array, "n p"]
    ladder: Float[np.ndarray, "p l"] | Float[Array, "p l"]
    heights: Int[Array, " p"]
    fill: Float[Array, " p"]
    row: UInt32[Array, "n 2"]
    content: UInt32[Array, "n 2"]
    origin: UInt32[Array, " 2"]
    cluster: Int[Array, " n"] | None
    mark: UInt32[Array, " 2"]
    schema: Schema
    called: RowNames
    home: FrameKind


def assemble(reading: Reading) -> Fields:
    """The fields of a concrete sample, of which nothing is wrong."""
    r = reading
    points = r.x if r.whole else _with_gaps(r)
    weight = np.where(r.valid, r.weight, 0)
    fill = _fills(r.schema, points, weight)
    codes, ladder, heights = laid_out(r.schema, points, r.valid, fill)
    filled = np.where(np.isnan(points), fill, points) if r.schema.flag_of else points
    x, t = to_device(np.ascontiguousarray(filled, r.dtype)), to_device(r.valid & (r.t == 1))
    valid, on_device = to_device(r.valid), to_device(codes)
    y = None if r.y is None else placed_outcome(r.y, r.valid, r.dtype)
    content = row_content(x, on_device, t, r.schema)
    return Fields(
        x=x,
        t=t,
        y=y,
        weight=to_device(weight.astype(r.dtype)),
        valid=valid,
        codes=on_device,
        ladder=ladder,
        heights=to_device(heights),
        fill=to_device(fill.astype(r.dtype)),
        row=row_words(r.id, len(points)),
        content=content,
        origin=origin_words(r.id is not None, content, y, valid),
        cluster=None if r.cluster is None else cluster_codes(r.cluster),
        mark=to_device(r.called.mark),
        schema=r.schema,
        called=r.called,
        home=r.home,
    )


def origin_words(
    named: bool,
    content: UInt32[Array, "n 2"],
    y: Float[Array, " n"] | None,
    valid: Bool[Array, " n"],
) -> UInt32[Array, " 2"]:
    """64 bits of the sample; zeros where ids tell rows apart, whatever the sample."""
    return to_device(np.zeros(2, np.uint32)) if named else origin_of(content, y, valid)


def _with_gaps(reading: Reading) -> Float[np.ndarray, "n p"]:
    """The covariates with NaN where a number is missing and 0 in rows that do not count."""
    points = np.where(reading.valid[:, None], reading.x, 0)
    for j in reading.schema.flag_of:
        points[reading.valid & ~reading.present(j), j] = np.nan
    return points


def _fills(
    schema: Schema, points: Float[np.ndarray, "n p"], weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " p"]:
    """The weighted mean of the observed values of each number with gaps; 0 elsewhere."""
    fill = np.zeros(points.shape[1])
    for j in schema.flag_of:
        known = ~np.isnan(points[:, j])
        some = weight[known] if weight[known].any() else np.ones(known.sum())
        fill[j] = np.average(points[known, j], weights=some)
    return fill


def laid_out(
    schema: Schema,
    points: Float[np.ndarray, "n p"],
    valid: Bool[np.ndarray, " n"],
    fill: Float[np.ndarray, " p"],
) -> tuple[Int[np.ndarray, "n p"], Float[np.ndarray, "p l"], Int[np.ndarray, " p"]]:
    """Codes, ladders, heights: a category's code is its level, also where a level has no row."""
    codes, ladder, heights = host_ladders(points, valid, fill)
    tallest = max([ladder.shape[1], *(len(labels) for labels in schema.levels)])
    if tallest > ladder.shape[1]:
        ladder = np.pad(ladder, [(0, 0), (0, tallest - ladder.shape[1])], mode="edge")
    for j in schema.categories:
        heights[j] = len(schema.levels[j])
        codes[:, j] = points[:, j].astype(np.int32)
        ladder[j] = np.minimum(np.arange(tallest), heights[j] - 1)
    return codes, ladder, heights
