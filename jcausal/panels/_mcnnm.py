"""Matrix completion by the nuclear norm with unit and time effects."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jcausal.data import as_key, is_traced, on_host, rows_of, stacked, to_device
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import (
    HOLDS_OUT,
    Cells,
    Completed,
    Completer,
    Spectrum,
    completed,
    observed_y1,
)
from jcausal.panels._low_rank_arms import LowRankArm
from jcausal.panels._nuclear_norm import Fit, scan, walk
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import both_arms_reason, controls_reason
from jcausal.panels._truncated_svd import top_factors
from jcausal.panels._two_way import joined, two_way_fit

SHOWN = 20  # singular values that are told


class MCNNM(Completer):
    """Outcomes as unit effect + time effect + a matrix of small nuclear norm, lambda by CV.

    For the cells O of an arm: minimise (1/|O|) |P_O(Y - L - a 1^T - 1 g^T)|_F^2 + lambda |L|_*.
    With `cells="treated"` (default) this is done for the untreated cells, whatever their pattern,
    and a treated cell's effect is its outcome minus y0. With "all" both arms are completed, which
    needs both arms in every row, and the effect of every cell is the difference.

    Lambda is the value of a grid with the least squared error on cells held out. The grid has
    `grid` values, evenly spaced in their logarithms, from the least lambda at which L is 0 down to
    `ratio` times that. Each of `folds` training sets is a random |O|^2 / (n m) of the cells in O,
    so that it is to O as O is to all cells. Each solution starts from the ones before on the grid,
    and the search ends after `patience` values in a row that are worse than the best before them:
    the smallest values, of high rank, cost the most and are hardly ever the best.
    Held-out cells whose unit and time no chain of training cells joins do not count.

    Iterations (accelerated, 4 n m l operations each; l is the rank and some more) end when M moves
    by less than `tolerance` times the norm of the centred outcomes, at most 1,000 for each lambda.
    A cell whose unit and time no chain of cells in O joins is NaN.

    **Arguments:** `cells`; `penalty`: a lambda to use instead of the grid; `grid`, `folds`, `ratio`
    and `patience` (None: the whole grid) of the cross-validation, which needs a key; `tolerance`.

    Under jit and vmap the whole grid is looked at, there is room for rank 20, and `converged` is
    False where that did not suffice for the solution. Not differentiable. `details` by arm: lambda
    (k,), and "lambdas", "squared error by lambda" (k, grid; inf where not looked at), with k = 1
    or, for all cells, 2 arms.

    **Source:** Athey, Bayati, Doudchenko, Imbens and Khosravi (2021), JASA 116(536).

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.low_rank_panel(key=0, n=30, m=30)
        >>> found = jc.complete(data.panel, jc.MCNNM(penalty=0.05))
        >>> bool(found.identified.all())
        True
    """

    cells: Cells = eqx.field(static=True, default="treated")
    penalty: float | Array | None = None
    grid: int = eqx.field(static=True, default=30)
    folds: int = eqx.field(static=True, default=5)
    ratio: float = eqx.field(static=True, default=1e-3)
    patience: int | None = eqx.field(static=True, default=5)
    tolerance: float = eqx.field(static=True, default=1e-5)
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    def __check_init__(self) -> None:
        if self.penalty is not None and not is_traced(self.penalty) and not self.penalty >= 0:
            raise ValueError(f"penalty is {self.penalty}: it must not be negative.")
        if self.grid < 2 or self.folds < 2:
            raise ValueError(f"grid is {self.grid}, folds {self.folds}: each must be at least 2.")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}: use at least 1, or None for no end.")
        if not (0 < self.ratio < 1 and self.tolerance > 0):
            raise ValueError("ratio must lie between 0 and 1, and tolerance above 0.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return f"nuclear-norm matrix completion ({self.cells} cells)"

    def refuse(self, assignment: Assignment) -> str | None:
        """Untreated cells beside treated ones; for effects on all cells both arms in a row."""
        check = controls_reason if self.cells == "treated" else both_arms_reason
        return check(assignment)

    def refuse_copies(self) -> str | None:
        """Held-out cells of a unit stand in its copies."""
        return HOLDS_OUT if self.penalty is None else None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """The untreated cells, and for "all" the treated ones."""
        if self.penalty is None:
            key = as_key(key, "jc.MCNNM's cross-validation")
        arms = (panel.control, panel.treated)[: 1 if self.cells == "treated" else 2]
        keys = [None if key is None else jax.random.fold_in(key, k) for k in (0, 1)]
        found = [_arm(self, panel.y, use, k) for use, k in zip(arms, keys)]
        both = len(found) == 2
        none = found[1] if both else _no_arm(found[0])
        details = [arm.details for arm in found]
        return completed(
            found[0].y,
            found[1].y if both else observed_y1(panel),
            spectrum=Spectrum(
                stacked(found[0].rank, none.rank), stacked(found[0].values, none.values)
            ),
            converged=_all(*(arm.converged for arm in found)),
            details={name: stacked(*(each[name] for each in details)) for name in details[0]},
        )


@on_host
def _all(lib: Any, *flags: Bool[Array, ""]) -> Bool[Array, ""]:
    return lib.stack(flags).all()


@on_host
def _no_arm(lib: Any, like: LowRankArm) -> LowRankArm:
    """An arm that is not completed."""
    none = lib.full_like(like.values, lib.nan)
    return like._replace(rank=lib.full_like(like.rank, -1), values=none)


def _arm(
    method: MCNNM, y: Float[Array, "n m"], use: Bool[Array, "n m"], key: PRNGKeyArray | None
) -> LowRankArm:
    """Choose lambda, then fit along the grid down to it.

    All of it on what the two-way fit leaves: the effects are in the model, so that its minimum
    moves along, and digits are not spent on the level.
    """
    level, rest, top, count = _beginning(y, use)
    if method.penalty is not None:
        lambdas, chosen, details = _one_lambda(method.penalty, y.dtype), to_device(0), {}
    else:
        assert key is not None
        lambdas = _lambdas(top, count, method.ratio, method.grid)
        errors = _errors(method, rest, use, lambdas, key)
        chosen = _least(errors)
        details = {"lambdas": lambdas, "squared error by lambda": errors}
    found = _down(method, rest, use, _thresholds(lambdas, count), chosen)
    low, rank, values = _ended(found, level, use)
    details = {"lambda": rows_of(lambdas, chosen)} | details
    return LowRankArm(low, rank, values, _converged(found, method.tolerance), details)


@jax.jit
def _beginning(
    y: Float[Array, "n m"], use: Bool[Array, "n m"]
) -> tuple[Array, Array, Array, Array]:
    """The two-way fit, what it leaves, the largest singular value of that, and the cells in use.

    L is 0 from there on.
    """
    fit, _ = two_way_fit(y, use)
    rest = jnp.where(use, y - fit, 0)
    return fit, rest, top_factors(rest, 1, 1).s[0], use.sum()


@jax.jit
def _ended(
    found: Fit, level: Float[Array, "n m"], use: Bool[Array, "n m"]
) -> tuple[Float[Array, "n m"], Int[Array, ""], Float[Array, " k"]]:
    """The arm with its level, NaN where no chain of cells leads; rank; singular values to tell."""
    low = jnp.where(joined(use), found.m + level, jnp.nan)
    values = jnp.zeros(min(SHOWN, *use.shape), low.dtype)
    shown = found.s[: values.size]
    return low, (found.s > 0).sum(), values.at[: shown.size].set(shown)


@on_host
def _one_lambda(lib: Any, penalty: float | Array, dtype: np.dtype) -> Float[Array, " 1"]:
    return lib.asarray(penalty, dtype)[None]


@on_host
def _lambdas(lib: Any, top: Array, count: Array, ratio: float, grid: int) -> Float[Array, " k"]:
    """From the least lambda at which L is 0 down."""
    steps = lib.linspace(0, 1, grid, dtype=top.dtype)
    return (2 * top / count.astype(top.dtype) * ratio**steps).astype(top.dtype)


@on_host
def _thresholds(lib: Any, lambdas: Float[Array, " k"], count: Array) -> Float[Array, " k"]:
    return lambdas * count.astype(lambdas.dtype) / 2


@on_host
def _least(lib: Any, errors: Float[Array, " k"]) -> Int[Array, ""]:
    return lib.argmin(errors)


@on_host
def _converged(lib: Any, found: Fit, tolerance: float) -> Bool[Array, ""]:
    return (found.change <= tolerance) & ~found.short


def _errors(
    method: MCNNM,
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    lambdas: Float[Array, " k"],
    key: PRNGKeyArray,
) -> Float[Array, " k"]:
    """Mean squared error on held-out cells by lambda, over the folds."""
    keys = jax.random.split(key, method.folds)
    if is_traced(y, use):
        total, count = lax.map(lambda k: _traced_fold(method, y, use, lambdas, k), keys)
        return total.sum(0) / jnp.maximum(count.sum(), 1)
    walks, tests = zip(*(_fold(method, y, use, lambdas, keys, k) for k in range(method.folds)))
    count = max(sum(int(np.asarray(test).sum()) for test in tests), 1)
    errors: list[float] = []
    for found in zip(*walks):
        total = sum(float(_squared(y, fit.m, test)) for fit, test in zip(found, tests))
        errors.append(total / count)
        if method.patience and len(errors) - 1 - int(np.argmin(errors)) >= method.patience:
            break
    rest = [np.inf] * (method.grid - len(errors))
    return to_device(np.asarray(errors + rest, y.dtype))


def _fold(
    method: MCNNM,
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    lambdas: Float[Array, " k"],
    keys: Key[Array, " folds"],
    fold: int,
) -> tuple[Iterator[Fit], Bool[Array, "n m"]]:
    """Solutions by lambda for one training set, and the cells that it leaves out."""
    train, test, start, thresholds = _begun(y, use, lambdas, keys, fold)
    return walk(y, train, np.asarray(thresholds), start, method.tolerance), test


@jax.jit
def _begun(
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    lambdas: Float[Array, " k"],
    keys: Key[Array, " folds"],
    fold: Int[Array, ""] | int,
) -> tuple[Array, Array, Array, Array]:
    """A fold's cells to train and to test on, the two-way fit of the former, the thresholds."""
    train, test = _split(use, keys[fold])
    return train, test, two_way_fit(y, train)[0], lambdas * train.sum() / 2


def _traced_fold(
    method: MCNNM,
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    lambdas: Float[Array, " k"],
    key: PRNGKeyArray,
) -> tuple[Float[Array, " k"], Int[Array, ""]]:
    """Squared errors by lambda on the cells that a training set leaves out, and their number."""
    train, test, start, thresholds = _begun(y, use, lambdas, key[None], 0)

    def tell(fit: Fit) -> Array:
        return _squared(y, fit.m, test)

    return scan(y, train, thresholds, start, method.tolerance, tell)[1], test.sum()


@jax.jit
def _squared(
    y: Float[Array, "n m"], m: Float[Array, "n m"], test: Bool[Array, "n m"]
) -> Float[Array, ""]:
    return jnp.where(test, (y - m) ** 2, 0).sum()


def _down(
    method: MCNNM,
    y: Float[Array, "n m"],
    use: Bool[Array, "n m"],
    thresholds: Float[Array, " k"],
    chosen: Int[Array, ""],
) -> Fit:
    """The solution at the chosen threshold, by way of the larger ones."""
    start = to_device(np.zeros(y.shape, y.dtype))
    if is_traced(y, use, thresholds):
        rest = jnp.maximum(thresholds, thresholds[chosen])
        return scan(y, use, rest, start, method.tolerance, lambda found: found.change)[0]
    steps = np.asarray(thresholds)[: int(chosen) + 1]
    fits = list(walk(y, use, steps, start, method.tolerance))
    return fits[-1]


@jax.jit
def _split(use: Bool[Array, "n m"], key: PRNGKeyArray) -> tuple[Array, Array]:
    """A random |O|^2 / (n m) of the cells, at least one left out, and those that can be told."""
    order = jnp.where(use, jax.random.uniform(key, use.shape), jnp.inf)
    count = use.sum()
    size = jnp.minimum((count * (count / use.size)).astype(count.dtype), count - 1)
    limit = jnp.sort(order.ravel())[jnp.maximum(size - 1, 0)]
    train = order <= limit
    return train, use & ~train & joined(train)
