"""A sample with points beside its rows."""

import numpy as np
from jaxtyping import Bool, Float

from jcausal.data._assemble import laid_out
from jcausal.data._host import to_device
from jcausal.data._names import NAMELESS
from jcausal.data._sample import Sample, renamed, replace

BEYOND = np.iinfo(np.uint32).max  # the first word of rows that are no unit's


def with_points(
    sample: Sample, points: Float[np.ndarray, "m p"], treated: Bool[np.ndarray, " m"]
) -> Sample:
    """The sample's rows and behind them points of weight 0, which count in nothing (host only).

    `points` as `Sample.x`, any number where a flag says that it is missing; `treated`: the arms
    that they stand in. The sum has no names of rows, no labels of clusters and the sample's fill.
    """
    m, valid = len(points), np.asarray(sample.valid)
    known, filled = np.array(points, np.float64), np.array(points, np.float64)
    for j, flag in sample.schema.flag_of.items():
        gap = known[:, flag] == 1
        known[gap, j], filled[gap, j] = np.nan, np.asarray(sample.fill)[j]
    fill, dtype = np.asarray(sample.fill, np.float64), sample.x.dtype
    every = np.concatenate([valid, np.ones(m, bool)])
    codes, ladder, heights = laid_out(
        sample.schema, np.concatenate([sample.points, known]), every, fill
    )
    row = np.stack([np.full(m, BEYOND), np.arange(m)], axis=1).astype(np.uint32)
    new = dict(
        x=filled.astype(dtype),
        t=treated,
        weight=np.zeros(m, dtype),
        row=row,
        content=row,
        y=None if sample.y is None else np.zeros(m, dtype),
    )
    joined = {
        name: None if more is None else to_device(np.concatenate([getattr(sample, name), more]))
        for name, more in new.items()
    }
    laid = dict(codes=to_device(codes), ladder=ladder, heights=to_device(heights))
    whole = dict(valid=to_device(every), cluster=None, **laid)
    return renamed(replace(sample, **joined, **whole), NAMELESS)
