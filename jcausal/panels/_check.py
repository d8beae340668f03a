"""Checks of a concrete panel: every mistake becomes one sentence with count, units and times."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jcausal.data import (
    DataError,
    arms_of_array,
    as_labels,
    as_numbers,
    check_digits,
    check_scale,
    label_in_words,
    label_words,
    rows_in_words,
    which_treated,
)


class Parts(NamedTuple):
    """The arrays of a panel."""

    y: Any
    d: Any
    mask: Any
    covariates: Any


def host_parts(
    y: object, d: object, mask: object, covariates: object, unit: object, time: object
) -> Parts:
    """The arrays as float64 and bool, after every check."""
    outcome = as_numbers("y", y)
    if outcome.ndim != 2 or min(outcome.shape) < 2:
        raise DataError(f"y has shape {outcome.shape}: units x times are needed, at least 2 x 2.")
    treatment = as_numbers("d", arms_of_array("d", d))
    _check_shape("d", treatment, outcome)
    seen = np.ones(outcome.shape, bool)
    if mask is not None:
        seen = as_numbers("mask", mask)
        _check_shape("mask", seen, outcome)
        if not np.isin(seen, (0, 1)).all():
            raise DataError("mask holds values other than 0 and 1: 1 where a cell was observed.")
        seen = seen.astype(bool)
    units, times = _names(unit, outcome.shape[0]), _names(time, outcome.shape[1])
    _check_seen(seen, units, times)
    _check_finite("y", outcome, seen, units, times)
    _check_treatment(treatment, seen, units, times)
    check_size("y", outcome[seen])
    cube = None if covariates is None else _cube(covariates, seen, units, times)
    return Parts(outcome, np.where(seen, treatment, 0), seen, cube)


def checked(what: str, labels: Sequence | np.ndarray, size: int) -> np.ndarray:
    """Labels of units or times: as many as there are, none twice."""
    values = as_labels(what, labels)
    if values.shape != (size,):
        raise DataError(
            f"{what} has shape {values.shape} but y has {size} {what}s: one label a {what}."
        )
    words = label_words(values)
    _, first, counts = np.unique(words, return_index=True, return_counts=True)
    if (counts > 1).any():
        place = first[counts > 1].min()
        rows = np.flatnonzero(words == words[place])
        raise DataError(
            f"the {what} {label_in_words(values[place])} is named {rows.size} times "
            f"({rows_in_words(rows)}): a {what} has one {'row' if what == 'unit' else 'column'}."
        )
    return values


def _names(labels: object, size: int) -> list[str]:
    """Labels as words, or positions; a wrong number of them is told later."""
    values = np.arange(size) if labels is None else as_labels("labels", labels)
    return [label_in_words(v) for v in (values if values.shape == (size,) else range(size))]


def _check_shape(name: str, values: np.ndarray, y: np.ndarray) -> None:
    if values.shape != y.shape:
        raise DataError(f"{name} has shape {values.shape} but y has {y.shape}: one value a cell.")


def cells_in_words(bad: Bool[np.ndarray, "n m"], units: list[str], times: list[str]) -> str:
    """The first cells that are meant: "unit CA at 1990, unit NY at 1970 and 3 more"."""
    places = np.argwhere(bad)
    named = [f"unit {units[i]} at {times[j]}" for i, j in places[:3]]
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(named) + more


def _check_seen(seen: Bool[np.ndarray, "n m"], units: list[str], times: list[str]) -> None:
    for what, found, names in (("unit", seen.any(1), units), ("time", seen.any(0), times)):
        never = np.flatnonzero(~found)
        if never.size:
            listed = ", ".join(names[i] for i in never[:5]) + (" ..." if never.size > 5 else "")
            raise DataError(
                f"{never.size} of {found.size} {what}s {'is' if never.size == 1 else 'are'} never "
                f"observed ({listed}): leave {'it' if never.size == 1 else 'them'} out."
            )


def _check_finite(
    name: str,
    values: Float[np.ndarray, "n m"],
    seen: Bool[np.ndarray, "n m"],
    units: list[str],
    times: list[str],
) -> None:
    for what, found in (("NaN", np.isnan(values)), ("infinite", np.isinf(values))):
        bad = found & seen
        if bad.any():
            raise DataError(
                f"{name} is {what} in {bad.sum()} of {seen.sum()} observed cells "
                f"({cells_in_words(bad, units, times)}): correct them, or mark the cells as not "
                "observed with mask=."
            )


def check_size(name: str, values: Float[np.ndarray, " k"]) -> None:
    """Numbers whose digits and squares the dtype to compute in can hold."""
    dtype = jnp.finfo(jnp.result_type(float)).dtype
    check_digits(name, values, dtype)
    check_scale(name, values, dtype)


def check_assignment(
    d: object, seen: Bool[np.ndarray, "n m"], unit: np.ndarray, time: np.ndarray
) -> Bool[np.ndarray, "n m"]:
    """Another treatment for the same cells, True where treated."""
    treatment = as_numbers("d", arms_of_array("d", d))
    _check_shape("d", treatment, seen)
    _check_treatment(treatment, seen, _names(unit, seen.shape[0]), _names(time, seen.shape[1]))
    return treatment == 1


def _check_treatment(
    d: Float[np.ndarray, "n m"], seen: Bool[np.ndarray, "n m"], units: list[str], times: list[str]
) -> None:
    """Values 0 and 1 in observed cells, both present."""
    _check_finite("d", d, seen, units, times)
    other = seen & (d != 0) & (d != 1)
    if other.any():
        values = sorted(set(d[seen].tolist()))
        listed = ", ".join(f"{v:g}" for v in values[:5]) + (" ..." if len(values) > 5 else "")
        raise DataError(
            f"the treatment d is neither 0 nor 1 in {other.sum()} of {seen.sum()} observed cells "
            f"({cells_in_words(other, units, times)}; its values are {listed}): "
            f"{which_treated('d', values)}."
        )
    check_arms("d", d[seen])


def check_arms(name: str, d: Float[np.ndarray, " k"]) -> None:
    """Both a treated and an untreated cell among the observed; `name` is the treatment's."""
    for word, value in (("treated", 1), ("untreated", 0)):
        if not (d == value).any():
            raise DataError(
                f"the treatment {name} is {1 - value} in all {d.size} observed cells: there is no "
                f"{word} cell to compare with."
            )


def check_covariate(name: str, values: Float[np.ndarray, " k"]) -> None:
    """A covariate's observed cells: of a size to compute with, and not all one number."""
    check_size(f"covariate {name}", values)
    if (values == values[0]).all():
        raise DataError(f"covariate {name} is {values[0]:g} in all observed cells: leave it out.")


def _cube(
    covariates: object, seen: Bool[np.ndarray, "n m"], units: list[str], times: list[str]
) -> Float[np.ndarray, "n m k"]:
    """Covariates (n, m, k), constant in time if they came as (n, k); NaN where y is not seen."""
    cube = as_numbers("covariates", covariates)
    n, m = seen.shape
    if cube.ndim == 2 and cube.shape[0] == n:
        cube = np.repeat(cube[:, None], m, axis=1)
    if cube.ndim != 3 or cube.shape[:2] != (n, m) or not cube.shape[2]:
        raise DataError(
            f"covariates have shape {cube.shape} but y has {(n, m)}: (n, m, k), or (n, k) if they "
            "do not move with time."
        )
    for k in range(cube.shape[2]):
        _check_finite(f"covariate {k}", cube[:, :, k], seen, units, times)
        check_covariate(str(k), cube[:, :, k][seen])
    return np.where(np.isfinite(cube), cube, np.nan)
