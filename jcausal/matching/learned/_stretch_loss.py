"""The loss by which a stretch is learnt, and its descent: compiled programs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

FAR = 1e30  # instead of an infinite distance, which has no gradient
CELLS = 2**21  # distances that are looked at together


class StretchRows(NamedTuple):
    """The units that teach, in the order of their draws, padded at the end.

    - `features` (r, f): ordered covariates over their sd, levels as 0 or 1/sqrt 2.
    - `column` (f,): the covariate of each feature.
    - `arm` (r,): 0 control, 1 treated, -1 in padding.
    - `y` (r,): outcomes with mean 0 and sd 1 in each arm; `weight` (r,): sampling weights.
    """

    features: Float[Array, "r f"]
    column: Int[Array, " f"]
    arm: Int[Array, " r"]
    y: Float[Array, " r"]
    weight: Float[Array, " r"]


class StretchSettings(NamedTuple):
    """How it is learnt: the options of `jc.Stretch` of these names; `units`: how many."""

    penalty: Float[Array, ""]
    learning_rate: Float[Array, ""]
    units: Int[Array, ""]
    batch: int
    steps: int


def square_distances(one: Float[Array, "m f"], other: Float[Array, "r f"]) -> Float[Array, "m r"]:
    """Squared Euclidean distances by a matrix product."""
    both = jnp.matmul(one, other.T, precision=lax.Precision.HIGHEST)
    square = jnp.square(one).sum(1)[:, None] + jnp.square(other).sum(1) - 2 * both
    return jnp.maximum(square, 0)


def kernel_means(
    square: Float[Array, "m r"], weight: Float[Array, "m r"], y: Float[Array, " r"]
) -> Float[Array, " m"]:
    """Means of y by the weights w exp(-d^2), 0 where all w are 0."""
    inside = weight > 0
    nearest = jnp.where(inside, square, FAR).min(1, keepdims=True)
    kernel = jnp.where(inside, weight * jnp.exp(lax.stop_gradient(nearest) - square), 0)
    total = kernel.sum(1)
    found = jnp.matmul(kernel, y, precision=lax.Precision.HIGHEST)
    return found / jnp.where(total > 0, total, 1)


def left_out_means(
    stretch: Float[Array, " p"], rows: StretchRows, some: Int[Array, " b"]
) -> Float[Array, " b"]:
    """What the other units of its arm foretell of each of some units."""
    points = rows.features * stretch[rows.column]
    square = square_distances(points[some], points)
    others = (rows.arm[some, None] == rows.arm) & (some[:, None] != jnp.arange(len(points)))
    return kernel_means(square, jnp.where(others, rows.weight, 0), rows.y)


def stretch_loss(
    stretch: Float[Array, " p"],
    rows: StretchRows,
    some: Int[Array, " b"],
    settings: StretchSettings,
) -> Float[Array, ""]:
    """Squared errors of some units, averaged in each arm and added, and the penalty times |M|."""
    totals = _arm_weights(rows)
    share = jnp.where(rows.arm >= 0, rows.weight / totals[rows.arm], 0)
    scale = settings.units / len(some)
    error = jnp.square(rows.y[some] - left_out_means(stretch, rows, some))
    return scale * (share[some] * error).sum() + settings.penalty * jnp.sqrt(
        jnp.square(stretch).sum() + jnp.finfo(stretch.dtype).tiny
    )


def _arm_weights(rows: StretchRows) -> Float[Array, " 2"]:
    """The weight of each arm; 1 for an empty one."""
    total = jnp.stack([jnp.where(rows.arm == arm, rows.weight, 0).sum() for arm in (0, 1)])
    return jnp.where(total > 0, total, 1)


@eqx.filter_jit
def learn(
    rows: StretchRows, start: Float[Array, " p"], settings: StretchSettings
) -> tuple[Float[Array, " p"], Float[Array, " 2"]]:
    """The stretch after Adam's steps on batches in turn, and mean squared errors by arm."""
    import optax

    rate = optax.cosine_decay_schedule(1.0, settings.steps)
    descent = optax.scale_by_adam()

    def step(i: Array, carry: tuple[Array, Any]) -> tuple[Array, Any]:
        stretch, state = carry
        some = (i * settings.batch + jnp.arange(settings.batch)) % settings.units
        slope = jax.grad(stretch_loss)(stretch, rows, some, settings)
        move, state = descent.update(slope, state)
        change = jax.tree.map(lambda m: -settings.learning_rate * rate(i) * m, move)
        return optax.apply_updates(stretch, change), state  # type: ignore[return-value]

    stretch, _ = lax.fori_loop(0, settings.steps, step, (start, descent.init(start)))
    stretch = jnp.abs(stretch)
    return stretch, _errors(stretch, rows)


def _errors(stretch: Float[Array, " p"], rows: StretchRows) -> Float[Array, " 2"]:
    """Weighted mean squared errors of all units by arm, in squared sd of the outcome."""
    r = len(rows.features)
    block = min(r, max(1, CELLS // r))
    blocks = -(-r // block)

    def one(some: Int[Array, " b"]) -> Float[Array, " b"]:
        return left_out_means(stretch, rows, some)

    places = jnp.minimum(jnp.arange(blocks * block), r - 1).reshape(blocks, block)
    found = lax.map(one, places).reshape(-1)[:r]
    square = rows.weight * jnp.square(rows.y - found)
    totals = _arm_weights(rows)
    return jnp.stack([jnp.where(rows.arm == arm, square, 0).sum() for arm in (0, 1)]) / totals
