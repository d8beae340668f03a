"""Who may be whose partner: what is matched exactly, and calipers."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import Sample
from jcausal.matching._matcher import Task
from jcausal.matching._order import groups_of, packed
from jcausal.matching.neighbors._search_space import SearchSpace, row_order
from jcausal_kernels import MISSING

Caliper = float | int | Mapping | None
CaliperUnit = Literal["sd", "raw"]
Exact = Sequence[str] | str | None


class Limits(NamedTuple):
    """What partners must have in common: `reach`, `columns` and `widths` of a `SearchSpace`."""

    reach: float
    columns: Float[np.ndarray, "n g"]
    widths: Float[np.ndarray, " g"]


def check_caliper(caliper: Caliper) -> None:
    """Refuse widths below 0.

    **Raises:** ValueError.
    """
    if caliper is None:
        return
    widths = caliper if isinstance(caliper, Mapping) else {"": caliper}
    for name, width in widths.items():
        where = f"caliper[{name!r}]" if name else "caliper"
        number = isinstance(width, int | float | np.number) and not isinstance(width, bool)
        if not number or not 0 <= float(width) < np.inf:
            raise ValueError(f"{where} is {width!r}: it must be a finite number of at least 0.")


def check_rule(ratio: int, exact: Exact, max_bytes: int) -> None:
    """Refuse no partners, names that are no text and no memory.

    **Raises:** ValueError.
    """
    if ratio < 1:
        raise ValueError(f"ratio is {ratio}: it must be at least 1.")
    if max_bytes < 1:
        raise ValueError(f"max_bytes is {max_bytes}: it must be at least 1.")
    if not all(isinstance(name, str) for name in exact or ()):
        raise ValueError(f"exact is {exact!r}: it must be names of covariates.")


def search_space(
    task: Task,
    points: Float[np.ndarray, "n r"],
    limits: Limits,
    exact: Exact,
    pull: Float[np.ndarray, " n"] | None,
) -> SearchSpace:
    """The rows of a task as a search for partners sees them."""
    sample = task.sample
    names = (exact,) if isinstance(exact, str) else tuple(exact or ())
    block = exact_blocks(sample, np.asarray(task.fold), names)
    able = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    return SearchSpace(points, block, able, row_order(sample), *limits, pull)


def exact_blocks(
    sample: Sample, fold: Int[np.ndarray, " n"], exact: Sequence[str]
) -> Int[np.ndarray, " n"]:
    """A label of the rows that agree in their fold and in some columns; -1 for rows of no fold.

    A missing value agrees with a missing value.

    **Raises:** ValueError for a name that is no covariate's.
    """
    names = sample.schema.names
    for name in exact:
        if name not in names:
            raise ValueError(f"exact names {name!r}, which is no covariate: {', '.join(names)}.")
    codes = np.asarray(sample.codes)[:, [names.index(name) for name in exact]]
    codes = np.where(codes == MISSING, codes.max(where=codes != MISSING, initial=0) + 1, codes)
    group = groups_of(packed(np.column_stack([fold + 1, np.maximum(codes, 0)])))[0]
    return np.where(fold < 0, -1, group)


def limits_of(
    sample: Sample,
    caliper: Caliper,
    unit: CaliperUnit,
    own: Float[np.ndarray, " n"] | None,
    score: Float[np.ndarray, " n"] | None = None,
) -> Limits:
    """The calipers of a sample.

    A number is a width of the distance itself, or of `own` (n,), in sd of it where `unit` says so.
    By name it is one of a covariate, or of the logit of the propensity, `score` (n,).

    **Raises:** ValueError for a name that is no number's, no binary's and not "propensity".
    """
    none = np.zeros((sample.n, 0)), np.zeros(0)
    if caliper is None:
        return Limits(np.inf, *none)
    if not isinstance(caliper, Mapping):
        scale = _spread(sample, own) if own is not None and unit == "sd" else 1.0
        return Limits(float(caliper) * scale, *none)
    columns = [_column(sample, name, score) for name in caliper]
    scales = [_spread(sample, one) if unit == "sd" else 1.0 for one in columns]
    widths = np.array([float(width) for width in caliper.values()]) * scales
    return Limits(np.inf, np.stack(columns, axis=1) if columns else none[0], widths)


def _column(sample: Sample, name: str, score: np.ndarray | None) -> Float[np.ndarray, " n"]:
    """The values of a covariate, NaN where missing, or the logit of the propensity."""
    schema = sample.schema
    if name == "propensity" and name not in schema.names and score is not None:
        return score
    known = [n for n, kind in zip(schema.names, schema.kinds) if kind != "category"]
    if name not in known:
        raise ValueError(
            f"caliper names {name!r}: it must be a number among the covariates "
            f"({', '.join(known)}), or 'propensity'; use exact= for a category."
        )
    return sample.points[:, schema.names.index(name)]


def _spread(sample: Sample, values: Float[np.ndarray, " n"]) -> float:
    """The sd of known values over all rows that count, over sum of weights - 1."""
    weight = np.where(np.asarray(sample.valid), np.asarray(sample.weight, np.float64), 0)
    weight = np.where(np.isnan(values), 0, weight)
    counted = weight > 0
    if counted.sum() < 2:
        return 0.0
    known, weight = values[counted], weight[counted] / weight[counted].mean()
    around = known - np.average(known, weights=weight)
    return float(np.sqrt((weight * around**2).sum() / (weight.sum() - 1)))
