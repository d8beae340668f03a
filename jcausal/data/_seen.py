"""What a surface was trained on: its columns, and the rows whose outcomes it has seen."""

import warnings
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jcausal.data._content import with_outcome
from jcausal.data._errors import HonestyError
from jcausal.data._host import rows_of
from jcausal.data._sample import Sample
from jcausal.data._schema import Schema
from jcausal.data._shapes import is_traced

SURE = 4.0  # times sqrt(1/n + 1/r), which is twice the largest error of a difference of shares


class Trained(eqx.Module):
    """The columns that a surface was trained on, and its rows, unless it was trained under tracing.

    `origin` names the sample that the rows stood in, `row` each row there (its id or position),
    `content` what it held besides the outcome `y`: the same in every process.
    """

    row: UInt32[Array, "r 2"] | None
    content: UInt32[Array, "r 2"] | None
    y: Float[Array, " r"] | None
    origin: UInt32[Array, " 2"] | None
    schema: Schema = eqx.field(static=True)


def trained_on(sample: Sample, rows: Int[np.ndarray, " r"] | None) -> Trained:
    """Remember the rows of a sample whose outcomes were used; None under tracing."""
    if rows is None:
        return Trained(None, None, None, None, sample.schema)
    assert sample.y is not None
    row, content, y = (rows_of(a, rows) for a in (sample.row, sample.content, sample.y))
    return Trained(row, content, y, sample.origin, sample.schema)


class _Seen(NamedTuple):
    """Which rows were trained on, how many chance would bring, and what more to say of them."""

    rows: Bool[np.ndarray, " n"]
    certain: bool
    chance: float = 0.0
    hint: str = ""


def check_honest(trained: Trained | None, sample: Sample, use: Bool[Array, " n"]) -> None:
    """Raise when rows whose outcomes would be averaged were used in training (concrete only).

    Rows of one sample are told apart by their positions. Ids name the unit whatever its row holds,
    rounded covariates or other outcomes: rows of one id are refused, unless not one of them has the
    covariates and treatment, or the outcome, that were trained on: then the ids were dealt anew to
    other units, which is warned of. Samples without outcomes have none that differ.

    Of two samples without ids, as of a file that was read in other parts, rows are the same when
    they hold the same, or the same outcome beside covariates that nobody had. What rows trained on
    have in common among themselves is chance: more than that is warned of, far more refused.
    """
    if trained is None or trained.row is None or is_traced(trained, sample, use):
        return
    used = np.asarray(use)
    if np.array_equal(np.asarray(trained.origin), np.asarray(sample.origin)):
        seen = _named_alike(trained, sample, used)
    else:
        seen = _alike(trained, sample, used)
    count = f"{seen.rows.sum()} of the {used.sum()} rows to be averaged"
    if seen.rows.any() and seen.certain:
        raise HonestyError(
            f"{count} were used to train the surface: match the other part of jc.split, let "
            f"jc.estimate cross-fit, or pass honest=False{seen.hint}."
        )
    if seen.rows.any():
        by_chance = f", where chance brings about {seen.chance:.0f}" if seen.chance else ""
        warnings.warn(
            f"{count} have {seen.hint or f'what rows hold that trained the surface{by_chance}'}: "
            "if they are the same units, leave them out of one of the samples (jc.split does).",
            stacklevel=3,
        )


def _named_alike(trained: Trained, sample: Sample, used: Bool[np.ndarray, " n"]) -> _Seen:
    """Rows of one name; not certain where nothing that they hold agrees."""
    ours, theirs = _as_one(sample.row), _as_one(trained.row)
    order = np.argsort(theirs)
    place = order[np.minimum(np.searchsorted(theirs[order], ours), theirs.size - 1)]
    shared = (theirs[place] == ours) & used
    agree = _as_one(sample.content) == _as_one(trained.content)[place]
    if sample.y is not None:
        agree |= np.asarray(sample.y) == np.asarray(trained.y)[place]
        if shared.any() and not agree[shared].any():
            words = "ids of rows that trained the surface, but neither their values nor outcomes"
            return _Seen(shared, certain=False, hint=words)
    other = "; if these ids are of other units, name those otherwise"
    return _Seen(shared, certain=True, hint="" if agree[shared].all() else other)


def _alike(trained: Trained, sample: Sample, used: Bool[np.ndarray, " n"]) -> _Seen:
    """Rows that hold what rows trained on did; none when that may be chance."""
    none = _Seen(np.zeros(used.shape, bool), certain=False)
    if sample.y is None or not used.any():
        return none
    known, mine = _as_one(trained.content), _as_one(sample.content)
    whole = _as_one(with_outcome(trained.content, trained.y))  # type: ignore[arg-type]
    same = np.isin(_as_one(with_outcome(sample.content, sample.y)), whole) & used
    y = np.asarray(trained.y)
    moved = np.isin(np.asarray(sample.y), y) & ~np.isin(mine, known) & used
    found = [_beyond_chance(same, whole, used), _beyond_chance(same | moved, y, used)]
    return max(found, key=lambda seen: (seen.certain, seen.rows.sum()))


def _beyond_chance(
    shared: Bool[np.ndarray, " n"], theirs: np.ndarray, used: Bool[np.ndarray, " n"]
) -> _Seen:
    """Rows shared, where more are than of the rows trained on among themselves; else none.

    Certain is what no share could bring, worth a word what this share does not: its rows come in
    pairs, so twice the variance of a share.
    """
    _, counts = np.unique(theirs, return_counts=True)
    twice = counts[counts > 1].sum()
    chance, least = twice / theirs.size, (twice + 1) / (theirs.size + 1)
    excess = shared.sum() / used.sum() - chance
    scale = SURE * np.sqrt(1 / used.sum() + 1 / theirs.size)
    if excess <= scale * np.sqrt(2 * least * (1 - least)):
        return _Seen(np.zeros_like(shared), certain=False)
    return _Seen(shared, certain=bool(excess > scale), chance=chance * used.sum())


def _as_one(words: Array | None) -> np.ndarray:
    return np.ascontiguousarray(words).view(np.uint64).ravel()
