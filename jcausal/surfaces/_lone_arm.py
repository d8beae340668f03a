"""One arm's surface in place of both, where the other arm's was not fitted."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Trained, on_host
from jcausal.surfaces._surface import Noise, ResponseSurface


class LoneArm(ResponseSurface):
    """The surface of the arm that was fitted, in both columns. Made by `for_both_arms`."""

    noise: Noise
    trained: Trained | None
    surface: ResponseSurface
    arm: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """The fitted arm's outcome, twice."""
        return _twice(self.surface(x), self.arm)

    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """That of the fitted arm, twice."""
        return _twice(self.surface.along(centre, j, at, wanted), self.arm)

    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """That of the fitted arm, twice."""
        return _twice(self.surface.level_changes(centre, column, level, wanted), self.arm)

    def all_level_changes(
        self,
        centre: Float[Array, "m p"],
        columns: Int[np.ndarray, " c"],
        heights: Int[np.ndarray, " c"],
    ) -> Float[Array, "m c l 2"]:
        """That of the fitted arm, twice."""
        return _twice(self.surface.all_level_changes(centre, columns, heights), self.arm)

    def sees(self, p: int) -> Bool[Array, " p"]:
        """As the surface."""
        return self.surface.sees(p)

    def lean(self) -> "LoneArm":
        """With what its evaluation needs."""
        lean = self.surface.lean()
        return LoneArm(noise=self.noise, trained=None, surface=lean, arm=self.arm)


def for_both_arms(surface: ResponseSurface) -> ResponseSurface:
    """The surface as it is, or with a column that was not fitted replaced by the other (host)."""
    known = np.isfinite(np.asarray(surface.noise))
    if known.all() or not known.any():
        return surface
    arm = int(np.argmax(known))
    noise = np.full(2, np.asarray(surface.noise)[arm])
    return LoneArm(noise=noise, trained=surface.trained, surface=surface, arm=arm)


@on_host
def _twice(lib: Any, values: Float[Array, "*m 2"], arm: int) -> Float[Array, "*m 2"]:
    own = values[..., arm]
    return lib.stack([own, own], axis=-1)
