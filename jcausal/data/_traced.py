"""The fields of a sample under tracing: the same arrays by sorting."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcausal.data._arrays import Handed, Words
from jcausal.data._assemble import Fields, origin_words
from jcausal.data._check import check_clusters, check_flag_levels, check_ids
from jcausal.data._content import row_content
from jcausal.data._errors import DataError
from jcausal.data._host import to_device
from jcausal.data._identity import cluster_codes, read_clusters, read_ids, row_words
from jcausal.data._ladder import traced_ladders
from jcausal.data._names import RowNames
from jcausal.data._outcome import attached_outcome
from jcausal.data._reading import working_dtype
from jcausal.data._row_labels import RowLabels
from jcausal.data._schema import Schema, make_schema
from jcausal.data._shapes import is_traced


def traced_fields(x: Any, handed: Handed, words: Words, labels: RowLabels | None) -> Fields:
    """What `read_arrays`, `checked` and `assemble` make of concrete arguments.

    A category needs its `levels` named; a row that is not finite is told by the results.
    """
    x = jnp.asarray(x)
    x = x if x.dtype in (jnp.float32, jnp.float64) else x.astype(working_dtype(None))
    n = x.shape[0]
    schema = _schema(x.shape[1], words)
    valid = jnp.ones(n, bool) if handed.valid is None else jnp.asarray(handed.valid, bool)
    x = jnp.where(valid[:, None], x, 0)
    weight = jnp.ones(n, x.dtype) if handed.weight is None else jnp.asarray(handed.weight, x.dtype)
    missing, fill = jnp.zeros(x.shape, bool), jnp.zeros(x.shape[1], x.dtype)
    for j, flag in schema.flag_of.items():
        gap = valid & (x[:, flag] == 1)
        missing = missing.at[:, j].set(gap)
        fill = fill.at[j].set(_mean(x[:, j], weight, valid & ~gap))
    x = jnp.where(missing, fill, x)
    codes, ladder, heights = traced_ladders(x, valid, missing)
    for j in schema.categories:
        height = len(schema.levels[j])
        steps = jnp.minimum(jnp.arange(n), height - 1)
        codes = codes.at[:, j].set(x[:, j].astype(jnp.int32))
        ladder, heights = ladder.at[j].set(steps.astype(x.dtype)), heights.at[j].set(height)
    t = (jnp.asarray(handed.t) == 1) & valid
    y = None if handed.y is None else attached_outcome(handed.y, valid, np.dtype(x.dtype))
    ids = _ids(handed.id, n)
    called, content = RowNames(ids, labels), row_content(x, codes, t, schema)
    return Fields(
        x=x,
        t=t,
        y=y,
        weight=jnp.where(valid, weight, 0),
        valid=valid,
        codes=codes,
        ladder=ladder,
        heights=heights,
        fill=fill,
        row=row_words(ids, n),
        content=content,
        origin=origin_words(ids is not None, content, y, valid),
        cluster=_clusters(handed.cluster, n),
        mark=to_device(called.mark),
        schema=schema,
        called=called,
        home="pandas",
    )


def _schema(p: int, words: Words) -> Schema:
    """The words on the columns: numbers, unless kinds are given, and levels that are named."""
    kinds, given = words.kinds or ("number",) * p, words.levels or {}
    names = make_schema(p, words.names, kinds, words.units, [()] * p, words.flags).names
    levels = [given.get(name, ()) if kind == "category" else () for name, kind in zip(names, kinds)]
    for name, kind, labels in zip(names, kinds, levels):
        if kind == "category" and not labels:
            raise DataError(f"category {name!r} is traced: name its levels with levels={{...}}.")
    schema = make_schema(p, names, kinds, words.units, levels, words.flags)
    check_flag_levels(schema)
    return schema


def _mean(column: Array, weight: Array, present: Array) -> Float[Array, ""]:
    """The weighted mean of the observed values of a column."""
    some = jnp.where(present, weight, 0)
    some = jnp.where(some.sum() > 0, some, present)
    return (some * jnp.where(present, column, 0)).sum() / jnp.maximum(some.sum(), 1e-30)


def _ids(id: Any, n: int) -> np.ndarray | None:
    if id is None:
        return None
    ids = read_ids(id, n)
    check_ids(ids)
    return ids


def _clusters(cluster: Any, n: int) -> Array | None:
    if cluster is None:
        return None
    labels = read_clusters(cluster, n)
    if not is_traced(labels):
        check_clusters(np.asarray(labels))
    return cluster_codes(labels)
