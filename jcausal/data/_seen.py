"""What a surface was trained on: its columns, and the rows whose outcomes it has seen."""

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
ODD = np.uint64(0x9E3779B97F4A7C15)
MOST = 0.9  # of the rows that share an id hold the same, where the ids name the same units


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


def check_honest(trained: Trained | None, sample: Sample, use: Bool[Array, " n"]) -> None:
    """Raise when rows whose outcomes would be averaged were used in training (concrete only).

    Rows of one sample are told apart by their positions, others by ids, if rows with one id hold
    the same. Of two samples without ids, as of a file that was read in other parts, rows are the
    same when they hold the same, and more of them do than of the rows trained on among themselves.
    """
    if trained is None or trained.row is None or is_traced(trained, sample, use):
        return
    used = np.asarray(use)
    if np.array_equal(np.asarray(trained.origin), np.asarray(sample.origin)):
        shared = _named_alike(trained, sample, used)
    else:
        shared = _alike(trained, sample, used)
    if shared.any():
        raise HonestyError(
            f"{shared.sum()} of the {used.sum()} rows to be averaged were used to train "
            "the surface: match the other part of jc.split, let jc.estimate cross-fit, or pass "
            "honest=False."
        )


def _named_alike(
    trained: Trained, sample: Sample, used: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Rows of one name that hold the same; none when most of one name do not."""
    ours, theirs = _as_one(sample.row), _as_one(trained.row)
    named = np.isin(ours, theirs) & used
    ours, theirs = ours * ODD + _as_one(sample.content), theirs * ODD + _as_one(trained.content)
    shared = np.isin(ours, theirs) & used
    return shared if shared.sum() >= MOST * named.sum() else np.zeros_like(used)


def _alike(
    trained: Trained, sample: Sample, used: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Rows that hold what rows trained on did; none when that may be chance."""
    none = np.zeros(used.shape, bool)
    if sample.y is None or not used.any():
        return none
    theirs = _as_one(with_outcome(trained.content, trained.y))  # type: ignore[arg-type]
    ours = _as_one(with_outcome(sample.content, sample.y))
    shared = np.isin(ours, theirs) & used
    _, counts = np.unique(theirs, return_counts=True)
    chance = counts[counts > 1].sum() / theirs.size
    excess = shared.sum() / used.sum() - chance
    return shared if excess > SURE * np.sqrt(1 / used.sum() + 1 / theirs.size) else none


def _as_one(words: Array | None) -> np.ndarray:
    return np.ascontiguousarray(words).view(np.uint64).ravel()
