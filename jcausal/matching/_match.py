"""The verb `match`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    Sample,
    as_array,
    as_key,
    as_numbers,
    check_honest,
    check_kind,
    check_object,
    column_names,
    is_traced,
    named,
    on_host,
    rows_in_words,
    rows_of,
    step_key,
    to_device,
)
from jcausal.matching._matcher import Matcher, Progress, Task
from jcausal.matching._matching import Estimand, MatchError, Matching, queries_of
from jcausal.matching._results import RESULTS, code, sentence
from jcausal.surfaces import ResponseSurface, aligned, as_surface, check_model, without_training

WORDS = dict(att="the treated rows", atc="the control rows", ate="all rows")


def match(
    sample: Sample,
    matcher: Matcher,
    *,
    surface: ResponseSurface | Callable | None = None,
    estimand: Estimand = "att",
    query: Int[np.ndarray, " q"]
    | Bool[np.ndarray, " n"]
    | Array
    | Sequence
    | pd.Series
    | None = None,
    at: Float[np.ndarray, "q p"] | Array | Sequence | pd.DataFrame | None = None,
    key: PRNGKeyArray | Array | int | None = None,
    honest: bool = True,
    progress: Progress | None = None,
    throw: bool = True,
) -> Matching:
    """Find the group of every query among the rows of one sample.

    Outcomes are not looked at, unless the method grows a tree of its own: the sample may have none.

    **Arguments:**

    - `matcher`: a method, such as `jc.AHB()`.
    - `surface`: a response surface trained on other rows, or a function (m, p) -> (m, 2); None
      for a method that makes its own of the rows that are matched (`jc.M5Model()`). A surface, or a
      `jc.Function` with names, finds its columns by name and levels by label.
    - `estimand`: "att" queries all treated rows, "atc" all controls, "ate" both.
    - `query`: rows (indices or a mask) to query instead; `at`: points (q, p) outside the sample.
    - `key`: for methods that draw at random; the box methods draw nothing.
    - `honest=False` allows a surface trained on the very rows that are matched.
    - `progress`: called with (stage, done, total).
    - `throw`: raise when no query can be matched, or the surface gives NaN; else only `status`
      tells. Must be False under jit and vmap.

    **Returns:** a `Matching` (for box methods `Boxes`).

    **Raises:** `HonestyError`; `MatchError`; `DataError` for a surface of other columns or levels
    than the sample's; ValueError.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> matching = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> int(matching.matched.sum())
        93
    """
    check_kind(sample, Sample, "match", FROM_FRAME)
    check_object(matcher)
    if not isinstance(matcher, Matcher):
        raise ValueError(
            f"match takes a matching method such as jc.AHB(), not {named(matcher)}: write "
            "jc.match(sample, jc.AHB(), surface=...)."
        )
    if surface is None and matcher.cross_fits:
        raise ValueError(
            "a surface is needed: pass surface=jc.fit(train, jc.BoostedTrees(), key=...), or let "
            "jc.estimate(sample, method) cross-fit."
        )
    if surface is not None:
        check_model("surface", surface, trained=True)
    surfaces = [] if surface is None else [aligned(as_surface(surface), sample)]
    fold = _one_fold(sample.valid)
    for given in surfaces:
        if honest:
            check_honest(given.trained, sample, sample.valid)
    task = make_task(sample, fold, estimand, query, at)._replace(honest=honest)
    task = task._replace(key=None if key is None else step_key(as_key(key, "match"), "match"))
    found = matcher.run(task, [without_training(given) for given in surfaces], progress)
    if throw:
        raise_unusable(found)
    return found


def make_task(
    sample: Sample,
    fold: Int[Array, " n"],
    estimand: Estimand,
    query: object = None,
    at: object = None,
) -> Task:
    """The queries: rows of an estimand, chosen rows, or points."""
    wanted = queries_of(sample, estimand)
    if at is not None:
        if query is not None:
            raise ValueError("query and at exclude each other: rows of the sample, or points.")
        if is_traced(sample, at):
            raise ValueError("at needs concrete arrays: match outside jit and vmap.")
        points = as_numbers("at", _in_columns(at, sample.schema.names))
        if points.shape[:1] == (0,):
            raise ValueError("at holds no point: give at least one row.")
        count = points.shape[0]
        none, first, every = np.full(count, -1), np.zeros(count, int), np.ones(count, bool)
        none, first, every = to_device(none), to_device(first), to_device(every)
        return Task(sample, fold, none, first, every, points, estimand)
    if query is None and is_traced(sample, fold):
        rows, asked = jnp.arange(sample.n), wanted
    else:
        rows = np.flatnonzero(np.asarray(wanted)) if query is None else _rows(query, sample)
        if not rows.size:
            raise ValueError(f"estimand {estimand!r} queries {WORDS[estimand]}, and there is none.")
        rows = to_device(rows)
        asked = rows_of(sample.valid, rows)
    return Task(sample, fold, rows, rows_of(fold, rows), asked, None, estimand)


def _in_columns(at: object, names: Sequence[str]) -> object:
    """The columns of a frame in the sample's order; anything else as it is.

    **Raises:** ValueError for columns that are not the sample's.
    """
    held = [str(name) for name in at.columns] if isinstance(at, pd.DataFrame) else column_names(at)
    if held is None or held == list(names):
        return at
    if sorted(held) != sorted(names):
        if column_names(at) is None:
            return at
        raise ValueError(
            f"at has the columns {', '.join(held)} and the sample {', '.join(names)}: they must be "
            "the same, or pass at with .to_numpy() to take them by position."
        )
    place = [held.index(name) for name in names]
    return at.iloc[:, place] if isinstance(at, pd.DataFrame) else as_array("at", at)[:, place]


@on_host
def _one_fold(lib: Any, valid: Bool[Array, " n"]) -> Int[Array, " n"]:
    return lib.where(valid, 0, -1)


def _rows(query: object, sample: Sample) -> Int[np.ndarray, " q"]:
    """Row numbers from numbers or a mask."""
    given = as_array("query", query)
    if given.dtype == bool:
        if given.shape != (sample.n,):
            raise ValueError(f"query is a mask of shape {given.shape}, the sample has {sample.n}.")
        given = np.flatnonzero(as_array("query", sample.beside("query", query)))
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
        raise ValueError("query must be a list of row numbers, or a mask, with at least one row.")
    bad = np.flatnonzero((given < 0) | (given >= sample.n))
    if bad.size:
        raise ValueError(
            f"query names row {given[bad[0]]}, the sample has rows 0 to {sample.n - 1}."
        )
    invalid = [] if is_traced(sample.valid) else given[~np.asarray(sample.valid)[given]]
    if len(invalid):
        raise ValueError(f"query names padding ({rows_in_words(invalid)}), which has no group.")
    return np.array(given)  # a copy: what is given may be written to later


def raise_unusable(matching: Matching) -> None:
    """Raise for a surface that gave NaN, for bad input, and when nothing could be matched."""
    raise_failed(matching)
    status = np.asarray(matching.status)
    asked = status != int(code(RESULTS.not_asked))
    if asked.any() and not (status == int(code(RESULTS.matched))).any():
        raise MatchError(
            f"none of the {asked.sum()} queries has a match: {sentence(int(status[asked][0]))}."
        )


def raise_failed(matching: Matching) -> None:
    """Raise for a surface that gave NaN, for bad input and for a search that was stopped."""
    if is_traced(matching.status):
        raise ValueError("throw=True cannot raise under jit, vmap or grad: pass throw=False.")
    status = np.asarray(matching.status)
    for result in (RESULTS.surface_nan, RESULTS.bad_input, RESULTS.growing):
        rows = np.flatnonzero(status == int(code(result)))
        if rows.size:
            raise MatchError(
                f"{rows.size} of {status.size} queries failed ({rows_in_words(rows)}): "
                f"{sentence(int(status[rows[0]]))}."
            )
