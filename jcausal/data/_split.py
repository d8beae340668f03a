"""Honest splits: rows dealt at random to a training part or to folds, clusters kept together."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from jcausal.data._errors import DataError
from jcausal.data._host import first_rows, on_host
from jcausal.data._kinds import check_key, check_share
from jcausal.data._ladder import traced_ladders
from jcausal.data._sample import Sample, replace
from jcausal.data._shapes import bucket, is_traced, pad_rows
from jcausal_kernels import MISSING

ONE_CLUSTER = (
    "all units of an arm are in one cluster, which is never divided, so that no key helps: give "
    "smaller clusters, or none"
)


def as_key(key: PRNGKeyArray | Array | int | None, what: str) -> PRNGKeyArray:
    """A JAX key from a key or an int.

    **Raises:** ValueError when `what` needs randomness and none was given, and for what is no key.
    """
    if key is None:
        raise ValueError(f"{what} draws at random: give key= a JAX key or an int.")
    check_key(key)
    if isinstance(key, int | np.integer):
        return jax.random.key(int(key))
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if key.ndim == 0:
        return jax.random.key(key)
    return jax.random.wrap_key_data(key)


def step_key(key: PRNGKeyArray, step: str) -> PRNGKeyArray:
    """The key of one named step, so that steps never share their draws."""
    return jax.random.fold_in(key, int.from_bytes(step.encode()[:4].ljust(4, b"\0"), "little"))


def row_draws(sample: Sample, key: PRNGKeyArray) -> Float[Array, " n"]:
    """One uniform number a row that follows the row's id (or position), not the row order."""
    if is_traced(sample.row, key):
        return _draws(sample.row, key)
    rows = pad_rows(np.asarray(sample.row), bucket(sample.n))
    return first_rows(_draws(rows, key), sample.n)


@jax.jit
def _draws(rows: UInt32[Array, "n 2"], key: PRNGKeyArray) -> Float[Array, " n"]:
    def one(row: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, row[0]), row[1]))

    return jax.vmap(one)(rows)


def _place_in_arm(sample: Sample, draw: Float[Array, " n"]) -> Int[Array, " n"]:
    """Each row's place (0, 1, ...) among the valid rows of its arm, in the order of the draws."""
    return _place(sample.t, sample.valid, draw)


@on_host
def _place(
    lib: Any, t: Bool[Array, " n"], valid: Bool[Array, " n"], draw: Float[Array, " n"]
) -> Int[Array, " n"]:
    arm = lib.where(valid, t.astype(np.int32), 2)
    order = lib.lexsort((draw, arm))
    ordered = arm[order]
    first = lib.searchsorted(ordered, lib.arange(3))
    place = lib.arange(t.shape[0]) - first[ordered]
    return place[lib.argsort(order)].astype(np.int32)


def _cluster_rank(sample: Sample, key: PRNGKeyArray) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    """Each row's cluster as its place in a random order of the clusters, and their number."""
    assert sample.cluster is not None
    return _rank(sample.cluster, sample.valid, key)


@jax.jit
def _rank(
    cluster: Int[Array, " n"], valid: Bool[Array, " n"], key: PRNGKeyArray
) -> tuple[Int[Array, " n"], Int[Array, ""]]:
    n = cluster.shape[0]
    labels = jnp.unique(cluster, return_inverse=True, size=n)[1].ravel()
    present = jnp.zeros(n, bool).at[labels].max(valid)
    draw = jnp.where(present, jax.random.uniform(key, (n,)), 2.0)
    rank = jnp.argsort(jnp.argsort(draw))
    return rank[labels].astype(jnp.int32), present.sum()


def deal(sample: Sample, folds: int, key: PRNGKeyArray) -> Int[Array, " n"]:
    """A fold number (n,) for each row: both arms evenly over the folds, or whole clusters."""
    if sample.cluster is not None:
        return _remainder(_cluster_rank(sample, key)[0], folds)
    return _remainder(_place_in_arm(sample, row_draws(sample, key)), folds)


@on_host
def _remainder(lib: Any, place: Int[Array, " n"], folds: int) -> Int[Array, " n"]:
    return place % folds


def _places(sample: Sample, key: PRNGKeyArray) -> tuple[Int[Array, " n"], Int[Array, "..."]]:
    """Each row's place in a random order of its arm or of the clusters, and how many there are."""
    if sample.cluster is not None:
        return _cluster_rank(sample, key)
    return _place_in_arm(sample, row_draws(sample, key)), _arm_size(sample.t, sample.valid)


@on_host
def _arm_size(lib: Any, t: Bool[Array, " n"], valid: Bool[Array, " n"]) -> Int[Array, " n"]:
    return lib.where(t, (valid & t).sum(), (valid & ~t).sum())


def _training_rows(sample: Sample, share: float | int, key: PRNGKeyArray) -> Bool[Array, " n"]:
    return _among_first(sample.valid, *_places(sample, key), share)


def hold_out(sample: Sample, share: float | int | Array, key: PRNGKeyArray) -> Bool[Array, " n"]:
    """A random part of the valid rows of each arm, or of the clusters: at least one, never all."""
    return _among_first(sample.valid, *_places(sample, key), share, least=1)


@on_host
def _among_first(
    lib: Any,
    valid: Bool[Array, " n"],
    place: Int[Array, " n"],
    size: Int[Array, "..."],
    share: float | int | Array,
    least: int = 0,
) -> Bool[Array, " n"]:
    """Whose place is among the first `share` of so many; at least `least` are in, and left out."""
    wanted = lib.round(lib.asarray(share, np.float32) * size.astype(np.float32))
    return valid & (place < lib.clip(wanted, least, size - least))


def _relaid(part: Sample) -> Sample:
    """A traced part on ladders of its own valid rows, as `take` does for a concrete one."""
    codes, ladder, heights = traced_ladders(part.x, part.valid, part.codes == MISSING)
    for j in part.schema.categories:
        height = len(part.schema.levels[j])
        codes, heights = codes.at[:, j].set(part.codes[:, j]), heights.at[j].set(height)
        steps = jnp.minimum(jnp.arange(ladder.shape[1]), height - 1)
        ladder = ladder.at[j].set(steps.astype(ladder.dtype))
    return replace(part, codes=codes, ladder=ladder, heights=heights)


def clusters_of(sample: Sample, rows: Bool[np.ndarray, " n"]) -> int | None:
    """How many clusters hold some of the rows; None without clusters."""
    if sample.cluster is None:
        return None
    return np.unique(np.asarray(sample.cluster)[rows]).size


class FoldWords(NamedTuple):
    """What to do where a fold lacks an arm, in the words of Python or of the command."""

    fewer: str = "use at most {most} folds"
    again: str = "try another key, or give smaller clusters"
    more: str = (
        "give more rows of that arm, or a surface trained on other rows as the method's outcome, "
        "with folds=1"
    )


PYTHON = FoldWords()


class FoldError(DataError):
    """A fold that lacks an arm: the fact, and how many units, folds and units a fold there are."""

    def __init__(
        self,
        fact: str,
        units: int,
        folds: int,
        least: int = 1,
        words: FoldWords = PYTHON,
        clusters: int | None = None,
    ) -> None:
        self.fact, self.counts = fact, (units, folds, least, clusters)
        super().__init__(self.told(words))

    def told(self, words: FoldWords) -> str:
        """The sentence in these words."""
        return f"{self.fact}: {_fold_advice(*self.counts, words)}."


def _fold_advice(units: int, folds: int, least: int, clusters: int | None, words: FoldWords) -> str:
    """What to do where a fold has fewer than `least` of an arm that has so many units in all.

    `clusters`: how many hold those units, where clusters stay whole.
    """
    if folds == 1:
        return "give rows of that arm a weight above 0"
    if clusters == 1 and units > 1:
        return ONE_CLUSTER
    most = min(units // least, folds - 1, units if clusters is None else clusters)
    if most > 1:
        return words.fewer.format(most=most)
    if units >= 2 * least:
        return words.again
    return (
        f"two folds need {2 * least} of them, and there {'is' if units == 1 else 'are'} {units} in "
        f"all: {words.more}"
    )


def split(
    sample: Sample, *, train_size: float | int = 0.5, key: PRNGKeyArray | Array | int
) -> tuple[Sample, Sample]:
    """Divide a sample at random: a part to train surfaces on, and a part to match.

    Both arms are divided in the same share; clusters stay whole; draws follow `id` when the
    sample has one, else the row's position. Under tracing both parts keep all rows and differ in
    `valid`.

    **Arguments:** `train_size`: the share of the rows for training, in (0, 1); `key`: a JAX key or
    an int.

    **Returns:** (train, test).

    **Raises:** `DataError` when a part would miss an arm; ValueError for a share out of range.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), train_size=0.5, key=0)
        >>> train.n, test.n
        (222, 223)
    """
    train_size = check_share("train_size", train_size)
    train = _training_rows(sample, train_size, step_key(as_key(key, "split"), "split"))
    if is_traced(train):
        return _relaid(sample.with_valid(train)), _relaid(sample.with_valid(~train))
    chosen, valid, treated = np.asarray(train), np.asarray(sample.valid), np.asarray(sample.t)
    for name, part in (("training", chosen), ("matching", valid & ~chosen)):
        counts = int((part & ~treated).sum()), int((part & treated).sum())
        if 0 in counts:
            least = min((valid & treated).sum(), (valid & ~treated).sum())
            ways = f"choose another train_size than {train_size}, or give more rows"
            if 1 in (clusters_of(sample, valid & ~treated), clusters_of(sample, valid & treated)):
                ways = ONE_CLUSTER
            elif least == 1:
                ways = "each needs one, and there is one in all; train a surface on other rows"
            raise DataError(
                f"the {name} part would hold {counts[0]} controls and {counts[1]} treated: {ways}."
            )
    return sample.take(np.flatnonzero(chosen)), sample.take(np.flatnonzero(valid & ~chosen))
