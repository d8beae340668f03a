"""Groups of queries by a covariate or by labels of the rows."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Int

from jcausal.data import (
    By,
    Sample,
    as_labels,
    check_one_way,
    is_traced,
    level_label,
    on_host,
    to_device,
)
from jcausal.effects._group_effects import EffectsOfGroups


def group_labels(sample: Sample, by: By) -> np.ndarray | pd.Categorical:
    """A label a row from a covariate's name or an array; "missing" is the last group.

    **Raises:** `DataError` for a pandas object with other labels than the sample's; ValueError for
    an unknown name or a wrong length.
    """
    if not isinstance(by, str):
        labels = as_labels("by", sample.beside("by", by))
        if labels.shape != (sample.n,):
            raise ValueError(f"by has shape {labels.shape}, the sample has {sample.n} rows.")
        return labels
    schema = sample.schema
    if by not in schema.names:
        raise ValueError(
            f"there is no covariate {by!r}: they are {', '.join(schema.names)}; labels of the rows "
            f"(n,), such as frame[{by!r}] of the frame that was read, are taken too."
        )
    j = schema.names.index(by)
    values = sample.points[:, j]
    if schema.kinds[j] == "category":
        return pd.Categorical.from_codes(values.astype(int), schema.levels[j])
    valid = np.asarray(sample.valid)
    gap = np.isnan(values)
    known = values[valid & ~gap]
    if len(np.unique(known)) <= 10:
        if not gap.any():
            return values
        order, words = [level_label(v) for v in np.unique(known)], [level_label(v) for v in values]
    else:
        edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
        cut = pd.Series(pd.cut(values, list(edges), include_lowest=True))
        order, words = [str(part) for part in cut.cat.categories], cut.astype(str).to_numpy()
    return pd.Categorical(np.where(gap, "missing", words), categories=[*order, "missing"])


def group_codes(effects: EffectsOfGroups, by: By) -> tuple[Int[Array, " q"], tuple[object, ...]]:
    """The group of each query by its place among the labels in order; -1 beyond the queries asked.

    On concrete arrays only labels of queries count; under tracing those of all rows, which must
    be concrete.

    **Raises:** ValueError for an unknown name, a wrong length, or queries that are points.
    """
    matching = effects.matching
    if is_traced(by) or (isinstance(by, str) and is_traced(effects.sample)):
        raise ValueError("by= needs concrete labels under jit and vmap: pass an array (n,).")
    row_code, labels = factorized(group_labels(effects.sample, by))
    codes = _codes_of(matching.asked, matching.query, to_device(row_code.astype(np.int32)))
    if not is_traced(codes):
        host = np.array(codes)
        present, place = np.unique(host[host >= 0], return_inverse=True)
        if not present.size:
            raise ValueError("by= groups units of the sample, and every query is a point.")
        host[host >= 0] = place
        codes, labels = to_device(host), labels[present]
    return codes, tuple(labels.tolist())


def factorized(labels: np.ndarray | pd.Categorical | pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Each row's place among the distinct labels, and these in their order, a missing one last.

    **Raises:** `DataError` for labels that may be one, such as 1 and "1", or True and 1.
    """
    series = pd.Series(labels)
    try:
        code, found = pd.factorize(series, sort=True)
    except TypeError:  # tuples beside words or numbers: in the order in which they come
        code, found = pd.factorize(series)
    distinct, missing = found.tolist(), code < 0
    if series.dtype == object:
        check_one_way("by", series.to_numpy(), code, distinct)
    if missing.any():
        code, distinct = np.where(missing, len(distinct), code), [*distinct, np.nan]
    return code, pd.Index(distinct, dtype=object, tupleize_cols=False)


@on_host
def _codes_of(
    lib: Any, asked: Bool[Array, " q"], query: Int[Array, " q"], code: Int[Array, " n"]
) -> Int[Array, " q"]:
    return lib.where(asked & (query >= 0), code[query], -1)
