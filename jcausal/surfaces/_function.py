"""A known function as a response surface."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Trained, check_names, make_schema
from jcausal.surfaces._surface import Noise, ResponseSurface, evaluate_along


class Function(ResponseSurface):
    """Wrap `f`: points (m, p) -> (m, 2) as a response surface, with nothing to train.

    Make it once and pass it on: every new function object is a new trace. `f` may be an
    `eqx.Module` whose arrays are then traced. With `names` of the p columns that `f` reads, verbs
    find these in a sample, whatever their order there; without, `f` gets the sample's own order.

    **Raises:** ValueError for an `f` that cannot be called, or names that stand twice.

    **Example:**

        >>> import jcausal as jc, jax.numpy as jnp
        >>> surface = jc.Function(lambda x: jnp.stack([x[:, 0], x[:, 0] + 1], axis=1))
        >>> surface(jnp.ones((1, 1))).tolist()
        [[1.0, 2.0]]
    """

    f: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]]
    noise: Noise
    trained: Trained | None
    columns: Int[np.ndarray, " p"] | Int[Array, " p"] | None

    def __init__(
        self,
        f: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]],
        names: Sequence[str] | None = None,
    ) -> None:
        if not callable(f):
            raise ValueError(f"{f!r} cannot be called: give a function of points (m, p).")
        pytree: Any = f if isinstance(f, eqx.Module) else jax.tree_util.Partial(f)
        self.f = pytree
        self.noise = np.zeros(2)
        self.trained = None if names is None else _of_names(check_names("names", names))
        self.columns = None

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Evaluate f; ValueError unless it returns two columns."""
        out = jnp.asarray(self.f(x if self.columns is None else x[:, self.columns]))
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
        """Without the names."""
        return self if self.trained is None else without_training(self)  # type: ignore[return-value]


def _of_names(names: list[str]) -> Trained:
    """Columns that are told by their names alone."""
    p = len(names)
    return Trained(None, None, None, None, make_schema(p, names, ["number"] * p, None, [()] * p))


def as_surface(
    surface: ResponseSurface | Callable[[Float[Array, "m p"]], Float[Array, "m 2"]],
) -> ResponseSurface:
    """A surface as it is, a bare function wrapped."""
    return surface if isinstance(surface, ResponseSurface) else Function(surface)


def without_training(surface: ResponseSurface) -> ResponseSurface:
    """The surface without its memory of training rows, so that traces do not depend on it."""
    return eqx.tree_at(lambda s: s.trained, surface, None, is_leaf=lambda leaf: leaf is None)
