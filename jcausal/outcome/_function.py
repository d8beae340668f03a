"""A known function as a response surface."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.outcome._surface import Noise, ResponseSurface, Trained, evaluate_along


class Function(ResponseSurface):
    """Wrap `f`: points (m, p) -> (m, 2) as a response surface, with nothing to train.

    Make it once and pass it on: every new function object is a new trace. `f` may be an
    `eqx.Module` whose arrays are then traced.

    **Example:**

        >>> import jcausal as jc, jax.numpy as jnp
        >>> surface = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0] + 1], axis=1))
        >>> surface(jnp.ones((1, 1))).tolist()
        [[1.0, 2.0]]
    """

    f: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]]
    noise: Noise
    trained: Trained | None

    def __init__(self, f: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]]) -> None:
        pytree: Any = f if isinstance(f, eqx.Module) else jax.tree_util.Partial(f)
        self.f = pytree
        self.noise = np.zeros(2)
        self.trained = None

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Evaluate f; ValueError unless it returns two columns."""
        out = jnp.asarray(self.f(x))
        if out.shape != (x.shape[0], 2):
            raise ValueError(
                f"the function returned shape {out.shape} for {x.shape[0]} points: it must be "
                f"({x.shape[0]}, 2), columns f0 and f1."
            )
        return out.astype(x.dtype)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """By evaluation."""
        return evaluate_along(self, centre, j, at, wanted)

    def lean(self) -> "Function":
        """Itself."""
        return self


def as_surface(
    surface: ResponseSurface | Callable[[Float[Array, "m p"]], Float[Array, "m 2"]],
) -> ResponseSurface:
    """A surface as it is, a bare function wrapped."""
    return surface if isinstance(surface, ResponseSurface) else Function(surface)


def without_training(surface: ResponseSurface) -> ResponseSurface:
    """The surface without its memory of training rows, so that traces do not depend on it."""
    return eqx.tree_at(lambda s: s.trained, surface, None, is_leaf=lambda leaf: leaf is None)
