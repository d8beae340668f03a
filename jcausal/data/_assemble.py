"""From what the user hands over to the arrays of a Sample: checked on the host, or traced."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jcausal.data import _check
from jcausal.data._errors import DataError
from jcausal.data._given import as_array, as_labels, missing_labels, numbered
from jcausal.data._host import to_device
from jcausal.data._ladder import host_ladders, traced_ladders
from jcausal.data._schema import Schema, make_schema
from jcausal.data._shapes import is_traced
from jcausal.data._treated import arms_of_array
from jcausal.data._words import rows_in_words


class Words(NamedTuple):
    """What the user says about the columns."""

    names: Sequence[str] | None
    kinds: Sequence[str] | None
    units: Sequence[str] | None
    levels: Mapping[str, Sequence[str]] | None
    flags: Mapping[str, str] | None = None


class Parts(NamedTuple):
    """The covariate side of a sample."""

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    valid: Bool[Array, " n"]
    codes: Int[Array, "n p"]
    ladder: Float[np.ndarray, "p l"] | Float[Array, "p l"]
    heights: Int[Array, " p"]
    fill: Float[Array, " p"]
    schema: Schema


def working_dtype(x: object) -> jnp.dtype:
    """float32 for data in float32, else JAX's default float: half precision is never kept."""
    dtype = getattr(x, "dtype", None)
    if dtype == np.float32:
        return jnp.dtype(np.float32)
    return jnp.dtype(jnp.result_type(float))


def host_parts(x: object, t: object, weight: object, valid: object, words: Words) -> Parts:
    """Concrete input: parse, check, lay ladders in float64."""
    dtype = working_dtype(x)
    x = _as_matrix(x)
    n = x.shape[0]
    valid = np.ones(n, bool) if valid is None else _as_mask(valid)
    if valid.shape != (n,):
        raise DataError(f"valid has shape {valid.shape} but x has {n} rows: one value a row.")
    t = _check.as_numbers("t", arms_of_array("t", t), n)
    weight = np.ones(n) if weight is None else _check.as_numbers("weight", weight, n)
    kinds = words.kinds or _check.detect_kinds(x, valid)
    none = [()] * x.shape[1]
    first = make_schema(x.shape[1], words.names, kinds, words.units, none, words.flags)
    names = first.names
    missing = _missing(first, x, valid)
    _check.check_covariates(names, x, valid[:, None] & ~missing, dtype, words.levels or {})
    _check.check_treatment(t, valid)
    _check.check_weight(weight, valid, dtype)
    x, levels = _level_codes(x, valid, names, kinds, words.levels or {})
    schema = make_schema(x.shape[1], names, kinds, words.units, levels, words.flags)
    _check_flag_levels(schema)
    x = np.where(valid[:, None], np.where(missing, np.nan, x), 0)
    fill = _fills(schema, x, np.where(valid, weight, 0))
    codes, ladder, heights = _with_all_levels(schema, x, *host_ladders(x, valid, fill))
    return Parts(
        x=to_device(np.where(missing, fill, x).astype(dtype)),
        t=to_device(np.where(valid, t, 0) == 1),
        weight=to_device(np.where(valid, weight, 0).astype(dtype)),
        valid=to_device(valid.copy()),
        codes=to_device(codes),
        ladder=ladder,
        heights=to_device(heights),
        fill=to_device(fill.astype(dtype)),
        schema=schema,
    )


def traced_parts(x: Any, t: Any, weight: object, valid: object, words: Words) -> Parts:
    """Traced input: the same arrays by sorting; a category needs its `levels` named."""
    x = jnp.asarray(x)
    x = x if x.dtype in (jnp.float32, jnp.float64) else x.astype(working_dtype(None))
    n, p = x.shape
    kinds = words.kinds or ("number",) * p
    given = words.levels or {}
    names = make_schema(p, words.names, kinds, words.units, [()] * p, words.flags).names
    levels = [given.get(name, ()) if kind == "category" else () for name, kind in zip(names, kinds)]
    for name, kind, labels in zip(names, kinds, levels):
        if kind == "category" and not labels:
            raise DataError(f"category {name!r} is traced: name its levels with levels={{...}}.")
    valid = jnp.ones(n, bool) if valid is None else jnp.asarray(valid, bool)
    x = jnp.where(valid[:, None], x, 0)
    weight = jnp.ones(n, x.dtype) if weight is None else jnp.asarray(weight, x.dtype)
    schema = make_schema(p, names, kinds, words.units, levels, words.flags)
    _check_flag_levels(schema)
    missing, fill = jnp.zeros((n, p), bool), jnp.zeros(p, x.dtype)
    for j, flag in schema.flag_of.items():
        gap = valid & (x[:, flag] == 1)
        missing = missing.at[:, j].set(gap)
        fill = fill.at[j].set(_traced_mean(x[:, j], weight, valid & ~gap))
    x = jnp.where(missing, fill, x)
    codes, ladder, heights = traced_ladders(x, valid, missing)
    for j in schema.categories:
        height = len(schema.levels[j])
        steps = jnp.minimum(jnp.arange(n), height - 1)
        codes = codes.at[:, j].set(x[:, j].astype(jnp.int32))
        ladder, heights = ladder.at[j].set(steps.astype(x.dtype)), heights.at[j].set(height)
    t, weight = (jnp.asarray(t) == 1) & valid, jnp.where(valid, weight, 0)
    return Parts(x, t, weight, valid, codes, ladder, heights, fill, schema)


def _missing(schema: Schema, x: np.ndarray, valid: np.ndarray) -> Bool[np.ndarray, "n p"]:
    """Where a number is missing, as its flag column says."""
    missing = np.zeros(x.shape, bool)
    for j, flag in schema.flag_of.items():
        if not np.isin(x[valid, flag], (0, 1)).all():
            raise DataError(
                f"the flag {schema.names[flag]!r} must hold 0 where {schema.names[j]!r} is "
                "observed and 1 where it is missing."
            )
        missing[:, j] = valid & (x[:, flag] == 1)
        if missing[valid, j].all():
            raise DataError(f"covariate {schema.names[j]!r} is missing in every row: leave it out.")
    return missing


def _check_flag_levels(schema: Schema) -> None:
    for j, flag in schema.flags:
        if j != flag and len(schema.levels[flag]) != 2:
            raise DataError(
                f"the flag {schema.names[flag]!r} has {len(schema.levels[flag])} levels: name two "
                "with levels={...}, first for observed, then for missing."
            )


def _fills(schema: Schema, x: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, " p"]:
    """The weighted mean of the observed values of each number with gaps; 0 elsewhere."""
    fill = np.zeros(x.shape[1])
    for j in schema.flag_of:
        known = ~np.isnan(x[:, j])
        even = np.ones(known.sum())
        some = weight[known] if weight[known].any() else even
        fill[j] = np.average(x[known, j], weights=some)
    return fill


def _traced_mean(column: Array, weight: Array, present: Array) -> Float[Array, ""]:
    """The same under tracing, of one column."""
    some = jnp.where(present, weight, 0)
    some = jnp.where(some.sum() > 0, some, present)
    return (some * jnp.where(present, column, 0)).sum() / jnp.maximum(some.sum(), 1e-30)


def _as_mask(valid: object) -> Bool[np.ndarray, "..."]:
    """True or False a row; nothing may be missing."""
    array = as_array("valid", valid)
    if array.dtype.kind == "b":
        return array
    numbers = _check.as_numbers("valid", array)
    other = np.flatnonzero((numbers != 0) & (numbers != 1))
    if other.size:
        raise DataError(
            f"valid is neither True nor False in {other.size} of {numbers.size} rows "
            f"({rows_in_words(other)}): False marks padding."
        )
    return numbers == 1


def _as_matrix(x: object) -> Float[np.ndarray, "n p"]:
    array = _check.as_numbers("x", x)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            f"x has shape {array.shape}: it must be (n, p) with at least one row and one column."
        )
    return array


def _level_codes(
    x: np.ndarray,
    valid: np.ndarray,
    names: Sequence[str],
    kinds: Sequence[str],
    given: Mapping[str, Sequence[str]],
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Number the levels of each category 0, 1, ... and label them."""
    x, levels = x.copy(), []
    for j, (name, kind) in enumerate(zip(names, kinds)):
        if kind not in ("number", "binary", "category"):
            raise DataError(f"{name!r} is of kind {kind!r}: use 'number', 'binary' or 'category'.")
        labels: tuple[str, ...] = ()
        if kind == "category" and name in given:
            labels = tuple(given[name])
            if len(set(labels)) < len(labels):
                raise DataError(f"category {name!r} has a level label twice: {list(labels)}.")
            _check_level_codes(name, x[:, j], valid, len(labels))
        elif kind == "category":
            values, codes = np.unique(x[valid, j], return_inverse=True)
            x[valid, j], labels = codes, tuple(level_label(v) for v in values)
        levels.append(labels)
    return x, levels


def level_label(value: float) -> str:
    """A numeric level in words, all its digits kept."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _check_level_codes(name: str, column: np.ndarray, valid: np.ndarray, count: int) -> None:
    bad = np.flatnonzero(valid & ~np.isin(column, np.arange(count)))
    if bad.size:
        raise DataError(
            f"category {name!r} has {bad.size} values outside its {count} levels "
            f"({rows_in_words(bad)}): use the numbers 0 to {count - 1}."
        )


def _with_all_levels(
    schema: Schema, x: np.ndarray, codes: np.ndarray, ladder: np.ndarray, heights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A category's code is its level number, also where a level does not occur."""
    tallest = max([ladder.shape[1], *(len(v) for v in schema.levels)])
    ladder = np.pad(ladder, [(0, 0), (0, tallest - ladder.shape[1])], mode="edge")
    for j in schema.categories:
        heights[j] = len(schema.levels[j])
        codes[:, j] = x[:, j].astype(np.int32)
        ladder[j] = np.minimum(np.arange(tallest), heights[j] - 1)
    return codes, ladder, heights


def identity(id: object, n: int) -> tuple[np.ndarray | None, UInt32[Array, "n 2"]]:
    """The user's ids, and 64 bits that name each row in its sample."""
    if id is None:
        position = np.arange(n, dtype=np.uint32)
        rows = np.stack([np.zeros_like(position), position], axis=1)
        return None, to_device(rows)
    ids = as_labels("id", id)
    _check.check_ids(ids, n)
    digests = [hashlib.blake2b(str(v).encode(), digest_size=8).digest() for v in ids.tolist()]
    rows = np.frombuffer(b"".join(digests), np.uint32).reshape(n, 2)
    return ids, to_device(rows)


def cluster_codes(cluster: object, n: int) -> Int[Array, " n"]:
    """Clusters numbered 0, 1, ... in the order of their labels."""
    if is_traced(cluster):
        return jnp.asarray(cluster).astype(jnp.int32)
    labels = as_labels("cluster", cluster)
    if labels.shape != (n,):
        raise DataError(f"cluster has shape {labels.shape} but x has {n} rows: one label a row.")
    missing = np.flatnonzero(missing_labels(labels))
    if missing.size:
        raise DataError(
            f"cluster is missing in {missing.size} of {n} rows ({rows_in_words(missing)}): "
            "give each row a cluster, a label of its own if need be."
        )
    return to_device(numbered("cluster", labels)[0].astype(np.int32))


def outcome(y: object, valid: Array, dtype: jnp.dtype) -> Float[Array, " n"]:
    """The outcome in the working dtype; invalid rows are set to zero."""
    if is_traced(y, valid):
        y = jnp.asarray(y)
        if y.shape != valid.shape:
            raise DataError(f"y has shape {y.shape} but x has {valid.shape[0]} rows.")
        return jnp.where(valid, y, 0).astype(dtype)
    keep = np.asarray(valid)
    array = _check.as_numbers("y", y, keep.shape[0])
    _check.check_outcome(array, keep, dtype)
    return to_device(np.where(keep, array, 0).astype(dtype))
