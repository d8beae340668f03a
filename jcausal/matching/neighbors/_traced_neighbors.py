"""Nearest neighbours under jit and vmap: fixed shapes, ties to the first by value."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample
from jcausal.matching._matcher import Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors._pairs import Pairs
from jcausal_kernels import nearest_points

ROUNDED = 32  # unit roundoffs times the size of a correlation matrix: a direction without variance


def traced_pairs(task: Task, metric: Any, ratio: int, max_bytes: int) -> Pairs:
    """The `ratio` nearest units of every row's other arm, with replacement."""
    sample = task.sample
    columns = _columns(sample)
    able = sample.valid & (sample.weight > 0) & (task.fold >= 0)
    points = _points(sample, columns, able, metric)
    order = jnp.lexsort(columns.T[::-1])
    points = _with_equal_twins(columns, order, points)

    def among(arm: Bool[Array, " n"]) -> Int[Array, "q k"]:
        return _nearest(points, able & arm, order, task.query, ratio, max_bytes)

    if task.estimand == "ate":
        treated = sample.t[task.query][:, None]
        rows = jnp.where(treated, among(~sample.t), among(sample.t))
    else:
        rows = among(~sample.t if task.estimand == "att" else sample.t)
    return _pairs(task, rows, jnp.isfinite(points).all(1)[task.query])


def _with_equal_twins(
    columns: Float[Array, "n f"], order: Int[Array, " n"], points: Float[Array, "n r"]
) -> Float[Array, "n r"]:
    """The points of rows that agree in every column made equal, whatever a matmul made of them."""
    turned = columns[order]
    new = jnp.append(False, (turned[1:] != turned[:-1]).any(1))
    first = lax.cummax(jnp.where(new, jnp.arange(order.size), 0))
    return points[order[first]][jnp.argsort(order)]


def _columns(sample: Sample) -> Float[Array, "n f"]:
    """Numbers, and one 0/1 column a level; a missing number stands in `x` at the mean."""
    schema, columns = sample.schema, []
    flags = schema.flag_of.values()
    for j, kind in enumerate(schema.kinds):
        if kind != "category":
            columns.append(sample.x[:, j])
        else:
            levels = [1] if j in flags else range(len(schema.levels[j]))
            columns += [(sample.x[:, j] == level).astype(sample.x.dtype) for level in levels]
    return jnp.stack(columns, axis=1)


def _points(
    sample: Sample, columns: Float[Array, "n f"], able: Bool[Array, " n"], metric: Any
) -> Float[Array, "n r"]:
    """Points whose squared distances are those of the metric."""
    weight = jnp.where(able, sample.weight, 0)
    columns = columns - (weight @ columns) / weight.sum()
    if not isinstance(metric, str):
        return (
            jnp.asarray(metric(columns))
            if callable(metric)
            else columns @ _root(jnp.asarray(metric))
        )
    if metric == "euclidean":
        return columns * _of_levels(sample)
    covariance = _within_arms(columns, sample.t, weight)
    sd = jnp.sqrt(jnp.diag(covariance))
    if metric == "scaled_euclidean":
        return jnp.where(sd > 0, columns / jnp.where(sd > 0, sd, 1), 0)
    return _whitened(columns, covariance, sd)


def _of_levels(sample: Sample) -> Float[Array, " f"]:
    """The root of 1/2 for each level of a category, so that two are 1 apart."""
    schema, scale = sample.schema, []
    for j, kind in enumerate(schema.kinds):
        flag = kind != "category" or j in schema.flag_of.values()
        scale += [1.0] if flag else [0.5**0.5] * len(schema.levels[j])
    return jnp.asarray(scale, sample.x.dtype)


def _within_arms(
    columns: Float[Array, "n f"], t: Bool[Array, " n"], weight: Float[Array, " n"]
) -> Float[Array, "f f"]:
    """Covariance around the mean of each arm, over the sum of weights - 1."""
    weight = weight / weight.sum() * (weight > 0).sum()
    for arm in (~t, t):
        own = jnp.where(arm, weight, 0)
        mean = (own @ columns) / jnp.where(own.sum() > 0, own.sum(), 1)
        columns = jnp.where(arm[:, None], columns - mean, columns)
    product = jnp.matmul((columns * weight[:, None]).T, columns, precision=lax.Precision.HIGHEST)
    return product / jnp.maximum(weight.sum() - 1, 1)


def _whitened(
    columns: Float[Array, "n f"], covariance: Float[Array, "f f"], sd: Float[Array, " f"]
) -> Float[Array, "n f"]:
    """Points by the generalised inverse; a direction without variance adds nothing."""
    scale = jnp.where(sd > 0, sd, 1)
    root, direction = jnp.linalg.eigh(covariance / jnp.outer(scale, scale))
    least = ROUNDED * jnp.finfo(root.dtype).eps * root.size * jnp.max(root)
    stretch = jnp.where(root > least, 1 / jnp.sqrt(jnp.where(root > least, root, 1)), 0)
    columns = jnp.where(sd > 0, columns / scale, 0)
    return jnp.matmul(columns, direction * stretch, precision=lax.Precision.HIGHEST)


def _root(matrix: Float[Array, "f f"]) -> Float[Array, "f f"]:
    root, direction = jnp.linalg.eigh((matrix + matrix.T) / 2)
    return direction * jnp.sqrt(jnp.maximum(root, 0))


def _nearest(
    points: Float[Array, "n r"],
    able: Bool[Array, " n"],
    order: Int[Array, " n"],
    query: Int[Array, " q"],
    ratio: int,
    max_bytes: int,
) -> Int[Array, "q k"]:
    """Rows of the nearest able units, n where there are fewer; of equal ones the first in order."""
    found = nearest_points(
        points[order], able[order], points[query], ratio + 1, max_bytes=min(max_bytes, 2**28)
    )[0][:, :ratio]
    n = points.shape[0]
    return jnp.append(order, n)[jnp.minimum(found, n)]


def _pairs(task: Task, rows: Int[Array, "q k"], finite: Bool[Array, " q"]) -> Pairs:
    """The groups, and how each query ended."""
    sample = task.sample
    n = sample.n
    own = jnp.where(rows < n, jnp.append(sample.weight, 0)[rows], 0)
    total = own.sum(1)
    treated = sample.t[task.query]
    none = jnp.where(treated, code(RESULTS.no_control), code(RESULTS.no_treated))
    status = jnp.where(total > 0, code(RESULTS.matched), none)
    status = jnp.where(finite, status, code(RESULTS.bad_input))
    wanted = dict(att=treated, atc=~treated, ate=jnp.ones_like(treated))[task.estimand]
    status = jnp.where(task.asked & wanted, status, code(RESULTS.not_asked)).astype(jnp.int32)
    held = (rows < n) & (status == code(RESULTS.matched))[:, None]
    return Pairs(
        sample=sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        rows=jnp.where(held, rows, -1).astype(jnp.int32),
        weights=jnp.where(held, own / jnp.where(total > 0, total, 1)[:, None], 0),
        status=status,
        estimand=task.estimand,
    )
