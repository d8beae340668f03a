"""Weights that are exponential in the covariates: convex losses, and what their fit adds to errors.

With z = (1, standardised features) and nu = z'b each model minimises a mean loss that is convex in
nu, and a unit's weight is a function of nu: one Newton method and one sandwich serve all.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.surfaces import product

Loss = Literal[
    "logistic",
    "moments",
    "controls_to_treated",
    "treated_to_controls",
    "controls_to_all",
    "treated_to_all",
]
STEPS, HALVINGS = 100, 30


class Curve(NamedTuple):
    """A loss at nu, its first and its second derivative, each (n,)."""

    value: Float[Array, " n"]
    slope: Float[Array, " n"]
    curve: Float[Array, " n"]


class WeightFit(NamedTuple):
    """A fitted model.

    - `b` (g,): coefficients; `score` (n,): z'b.
    - `gap` (g,): the gradient of the mean loss that is left, in a balancing model the difference
      of moments.
    - `part` (n, g): how far each row moves the coefficients, -H^+ share l' z.
    """

    b: Float[Array, " g"]
    score: Float[Array, " n"]
    gap: Float[Array, " g"]
    part: Float[Array, "n g"]


def _logistic(score: Array, t: Array) -> Curve:
    sign = jnp.where(t, -1, 1).astype(score.dtype)
    up, down = jax.nn.sigmoid(score), jax.nn.sigmoid(-score)
    return Curve(jax.nn.softplus(sign * score), jnp.where(t, -down, up), up * down)


def _entropy(weighed: Array, target: Array) -> Callable[[Array, Array], Curve]:
    """The dual of entropy balancing: `weighed` rows get exp(nu), to reach the means of `target`."""

    def at(score: Array, t: Array) -> Curve:
        raised = jnp.where(weighed, jnp.exp(score), 0)
        wanted = target.astype(score.dtype)
        return Curve(raised - wanted * score, raised - wanted, raised)

    return at


def _moments(score: Array, t: Array) -> Curve:
    """Just identified covariate balance for the average effect: sum (t/e - (1-t)/(1-e)) z = 0."""
    raised = jnp.exp(jnp.where(t, -score, score))
    sign = jnp.where(t, -1, 1).astype(score.dtype)
    return Curve(raised + sign * score, sign * (1 + raised), raised)


def loss_of(kind: Loss, t: Bool[Array, " n"]) -> Callable[[Array, Array], Curve]:
    """The loss of a model; "controls_to_treated" weighs controls to the treated's means, etc."""
    everybody = jnp.ones_like(t)
    return dict(
        logistic=_logistic,
        moments=_moments,
        controls_to_treated=_entropy(~t, t),
        treated_to_controls=_entropy(t, ~t),
        controls_to_all=_entropy(~t, everybody),
        treated_to_all=_entropy(t, everybody),
    )[kind]


def fit_weights(
    kind: Loss,
    design: Float[Array, "n g"],
    t: Bool[Array, " n"],
    share: Float[Array, " n"],
    penalty: Float[Array, ""],
) -> WeightFit:
    """Least sum share l(design b) + penalty |b[1:]|^2 / 2, by Newton steps that are halved.

    Directions without curvature, such as all levels' sum, are left alone (a generalised inverse).
    Rows of share 0 count nothing.
    """
    ridge = jnp.full(design.shape[1], penalty, design.dtype).at[0].set(0)
    at, eps = loss_of(kind, t), jnp.finfo(design.dtype).eps
    counts = share > 0

    def of(b: Array) -> tuple[Array, Curve]:
        curve = Curve(*(jnp.where(counts, one, 0) for one in at(product(design, b), t)))
        return product(share, curve.value) + (ridge * b**2).sum() / 2, curve

    def gradient(b: Array, curve: Curve) -> Array:
        return product(share * curve.slope, design) + ridge * b

    def better(state: tuple) -> tuple:
        b, now, curve, _, count = state
        slope = gradient(b, curve)
        way = product(inverse(_hessian(design, share, curve, ridge)), slope)

        def worse(tried: tuple) -> Array:
            lost = ~(tried[1] <= now + 4 * eps * jnp.abs(now))  # NaN and infinity too
            return lost & (tried[2] < HALVINGS)

        def halve(tried: tuple) -> tuple:
            return tried[0] / 2, of(b - tried[0] / 2 * way)[0], tried[2] + 1

        whole = jnp.ones((), b.dtype)
        size, _, halvings = lax.while_loop(worse, halve, (whole, of(b - way)[0], 0))
        new = jnp.where(halvings < HALVINGS, b - size * way, b)
        moved = jnp.abs(new - b).max() / (1 + jnp.abs(b).max())
        return new, *of(new), moved, count + 1

    def going(state: tuple) -> Array:
        return (state[3] > 4 * eps) & (state[4] < STEPS)

    b = jnp.zeros(design.shape[1], design.dtype)
    state = b, *of(b), jnp.full((), jnp.inf, design.dtype), 0
    b, _, curve, _, _ = lax.while_loop(going, better, state)
    undone = inverse(_hessian(design, share, curve, ridge))
    parts = product(design * (share * curve.slope)[:, None], undone)
    return WeightFit(b, product(design, b), gradient(b, curve), -parts)


def _hessian(design: Array, share: Array, curve: Curve, ridge: Array) -> Array:
    return product((design * (share * curve.curve)[:, None]).T, design) + jnp.diag(ridge)


def inverse(matrix: Float[Array, "g g"]) -> Float[Array, "g g"]:
    """The generalised inverse of a symmetric matrix without negative roots."""
    root, direction = jnp.linalg.eigh(matrix)
    tiny = matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.maximum(root[-1], 0)
    kept = root > tiny
    return product(direction * jnp.where(kept, 1 / jnp.where(kept, root, 1), 0), direction.T)
