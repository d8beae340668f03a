"""The chance of treatment by logistic regression, cross-fitted, and whether the arms overlap."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    DataError,
    FoldError,
    Sample,
    Schema,
    bucket,
    is_traced,
    pad_rows,
    to_device,
)
from jcausal.surfaces._arrays import product
from jcausal.surfaces._encoding import Encoding

PENALTY = 1e-3
STEPS = 50
HALVINGS = 20
ALIKE = 5  # units of the other arm that must be as far out, when it has 20 for each


class DealtRows(NamedTuple):
    """Rows that are dealt to folds.

    - `x` (n, p), `t` (n,), `weight` (n,): covariates, treatment and sampling weight.
    - `fold` (n,): from 0, -1 for rows that count nothing.
    """

    x: Float[Array, "n p"]
    t: Bool[Array, " n"]
    weight: Float[Array, " n"]
    fold: Int[Array, " n"]


class Chances(NamedTuple):
    """Chances of treatment by cross-fitted logistic regressions.

    - `chance` (n,): of each row, NaN for rows of no fold.
    - `slope` (k, f): each fold's slopes on its standardised features.
    """

    chance: Float[Array, " n"]
    slope: Float[Array, "k f"]


def cross_fitted_propensity(
    sample: Sample, fold: Int[Array, " n"], folds: int, penalty: float | Array = PENALTY
) -> Float[Array, " n"]:
    """Each row's chance of treatment by a logistic regression on the rows of the other folds.

    Minimises the weighted mean log loss + penalty |slopes|^2 / 2 of the training rows' standardised
    features; the intercept is free. May run under jit and vmap.

    **Arguments:** `fold` (n,) from 0, -1 for rows that count nothing; with one fold all rows are
    trained on; `penalty` > 0.

    **Returns:** (n,); NaN for fold -1, and under tracing where the other folds lack an arm.

    **Raises:** `DataError` when the rows of the other folds lack an arm; ValueError for a penalty
    that is not positive.

    **Source:** Cox (1958), JRSS B 20(2); cross-fitting after Chernozhukov et al. (2018).
    """
    return fitted_chances(sample, fold, folds, penalty).chance


def fitted_chances(
    sample: Sample, fold: Int[Array, " n"], folds: int, penalty: float | Array = PENALTY
) -> Chances:
    """The chances with the slopes of every fold's regression; see `cross_fitted_propensity`."""
    check_penalty(penalty)
    arrays = sample.x, sample.t, sample.weight, sample.valid, fold
    if is_traced(arrays, penalty):
        ours = jnp.where(sample.valid, fold, -1)
        rows = DealtRows(sample.x, sample.t, sample.weight, ours)
        penalty = jnp.asarray(penalty, sample.x.dtype)
        return _chances(Encoding(sample.schema), rows, penalty, folds)
    x, t, weight, valid, fold_ = (np.asarray(a) for a in arrays)
    fold_ = np.where(valid, fold_, -1)
    _check_arms(t, weight, fold_, folds)
    used = np.flatnonzero(fold_ >= 0)
    size = bucket(len(used))
    x, t, weight = (pad_rows(a[used], size) for a in (x, t, weight))
    rows = DealtRows(x, t, weight, pad_rows(fold_[used], size, -1))
    slight = to_device(np.asarray(penalty, x.dtype))
    found = _chances(Encoding(sample.schema), rows, slight, folds)
    return Chances(placed(found.chance, used, np.full(sample.n, np.nan, x.dtype)), found.slope)


def placed(
    values: Float[Array, "m ..."], rows: Int[np.ndarray, " r"], into: Float[np.ndarray, "n ..."]
) -> Float[Array, "n ..."]:
    """`into` with the first of the padded values at some rows: on the host where that is so."""
    if is_traced(values):
        return jnp.asarray(into).at[rows].set(values[: len(rows)])
    into[rows] = np.asarray(values)[: len(rows)]
    return to_device(into)


def check_penalty(penalty: float | Array) -> None:
    """Refuse a penalty under which the arms might be told apart without end."""
    if not is_traced(penalty) and not penalty > 0:
        raise ValueError(f"penalty is {penalty}: it must be positive.")


def _check_arms(t: np.ndarray, weight: np.ndarray, fold: np.ndarray, folds: int) -> None:
    """Every fold needs both arms outside of it."""
    for k in range(folds):
        train = (fold >= 0) & ((fold != k) | (folds == 1)) & (weight > 0)
        for arm, word in ((False, "controls"), (True, "treated")):
            if not (train & (t == arm)).any():
                units = int(((fold >= 0) & (weight > 0) & (t == arm)).sum())
                if folds == 1:
                    raise DataError(f"there are no {word} at all.")
                raise FoldError(f"there are no {word} outside of fold {k + 1}", units, folds)


@eqx.filter_jit
def _chances(encoding: Encoding, rows: DealtRows, penalty: Float[Array, ""], folds: int) -> Chances:
    """All folds, one after the other, in one program."""
    x, t, weight, fold = rows
    use = fold >= 0
    features = jnp.where(use[:, None], encoding(x), 0)

    def one(k: Array) -> Chances:
        train = use & ((fold != k) | (folds == 1)) & (weight > 0)
        w = jnp.where(train, weight, 0)
        share = w / jnp.where(w.sum() > 0, w.sum(), 1)
        z = standardised(features, share, train)
        design = jnp.concatenate([jnp.ones_like(z[:, :1]), z], axis=1)
        b = logistic(design, t, share, penalty.astype(x.dtype))
        both = (train & t).any() & (train & ~t).any()
        b = jnp.where(both, b, jnp.nan)
        return Chances(jax.nn.sigmoid(product(design, b)), b[1:])

    found = lax.map(one, jnp.arange(folds))
    own = jnp.take_along_axis(found.chance, jnp.maximum(fold, 0)[None], axis=0)[0]
    return Chances(jnp.where(use, own, jnp.nan), found.slope)


def standardised(
    features: Float[Array, "n f"], share: Float[Array, " n"], train: Bool[Array, " n"]
) -> Float[Array, "n f"]:
    """Features less their mean over their sd, by weight, of the training rows; constants are 0."""
    z = features - product(share, features)
    z = z - product(share, z)  # the mean of what is left: the first was rounded
    scale = jnp.sqrt(product(share, jnp.square(z)))
    largest = jnp.max(jnp.where(train[:, None], jnp.abs(features), 0), axis=0)
    varies = scale > 16 * jnp.finfo(z.dtype).eps * largest
    return jnp.where(varies, z / jnp.where(varies, scale, 1), 0)


def logistic(
    design: Float[Array, "n g"], t: Bool[Array, " n"], share: Float[Array, " n"], penalty: Array
) -> Float[Array, " g"]:
    """Coefficients of least sum share log(1 + exp(-+ design b)) + penalty |b[1:]|^2 / 2, by Newton.

    The first column of `design` is 1. A step is halved until the loss falls; after a step under
    the root of the rounding error what is left is under that error.
    """
    eps = jnp.finfo(design.dtype).eps
    ridge = jnp.full(design.shape[1], penalty).at[0].set(0)
    sign = jnp.where(t, -1, 1).astype(design.dtype)

    def loss(b: Array) -> Array:
        logs = jax.nn.softplus(sign * product(design, b))
        return product(share, logs) + (ridge * b**2).sum() / 2

    def step(b: Array) -> Array:
        score = product(design, b)
        up, down = jax.nn.sigmoid(score), jax.nn.sigmoid(-score)
        gradient = product(share * jnp.where(t, -down, up), design) + ridge * b
        curve = product((design * (share * up * down)[:, None]).T, design)
        return jnp.linalg.solve(curve + jnp.diag(ridge.at[0].set(eps**2)), gradient)

    def better(state: tuple) -> tuple:
        b, now, _, count = state
        way = step(b)

        def worse(tried: tuple) -> Array:
            return (tried[1] > now * (1 + 4 * eps)) & (tried[2] < HALVINGS)

        def halve(tried: tuple) -> tuple:
            size = tried[0] / 2
            return size, loss(b - size * way), tried[2] + 1

        whole = jnp.ones((), b.dtype)
        size, found, _ = lax.while_loop(worse, halve, (whole, loss(b - way), 0))
        moved = size * jnp.abs(way).max() / (1 + jnp.abs(b).max())
        return b - size * way, found, moved, count + 1

    treated = jnp.clip(product(share, t.astype(share.dtype)), eps, 1 - eps)
    start = jnp.zeros(design.shape[1], design.dtype)
    start = start.at[0].set(jnp.log(treated) - jnp.log1p(-treated))
    state = start, loss(start), jnp.full((), jnp.inf, design.dtype), 0
    return lax.while_loop(lambda s: (s[2] > jnp.sqrt(eps)) & (s[3] < STEPS), better, state)[0]


def shares_beyond(
    chance: Float[Array, " n"], t: Bool[Array, " n"], weight: Float[Array, " n"]
) -> Float[Array, " 2"]:
    """The share by weight of controls, and of treated, that the other arm hardly reaches.

    A treated unit counts when its chance is above that of all controls but four, a control when
    its chance is below that of all treated but four; of a small arm one unit in 20 is passed over,
    not four. Rows of weight 0 count nothing.
    """
    columns = []
    for arm in (False, True):
        far = chance if arm else -chance
        other = (weight > 0) & (t != arm)
        most = lax.top_k(jnp.where(other, far, -jnp.inf), min(ALIKE, t.shape[0]))[0]
        edge = most[jnp.clip(other.sum() // 20, 0, most.shape[0] - 1)]
        mine = jnp.where(t == arm, weight, 0)
        total = mine.sum()
        share = jnp.where(far > edge, mine, 0).sum() / jnp.where(total > 0, total, 1)
        columns.append(jnp.where(total > 0, share, jnp.nan))
    return jnp.stack(columns)


def tells_apart(schema: Schema, slope: Float[np.ndarray, "k f"]) -> str:
    """The covariate with the largest standardised slope, on average over the folds."""
    size = np.abs(np.asarray(slope, np.float64)).mean(0)
    return schema.names[int(Encoding(schema).column[int(size.argmax())])]
