"""What made the groups of effects, so that groups can be made elsewhere too."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from jcausal.matching import Matcher


class MadeBy(eqx.Module):
    """The method that made groups and the key that it was given.

    Arrays among its options stand apart from all else, so that effects go through compiled
    functions whatever words the method has. `adjusted_beside`: effects are adjusted by a model
    that is none of the method's.
    """

    made_of: ClassVar[tuple[str, ...]] = ("method", "key", "adjusted_beside")  # of a file

    arrays: tuple[Any, ...]
    others: tuple[Any, ...] = eqx.field(static=True)
    shape: Any = eqx.field(static=True)
    key: PRNGKeyArray | None
    adjusted_beside: bool = eqx.field(static=True)

    def __init__(self, method: Matcher, key: PRNGKeyArray | None, *, adjusted_beside: bool) -> None:
        leaves, self.shape = jax.tree.flatten(method)
        arrays = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        self.arrays = tuple(leaf if own else None for leaf, own in zip(leaves, arrays))
        self.others = tuple(None if own else leaf for leaf, own in zip(leaves, arrays))
        self.key = key
        self.adjusted_beside = adjusted_beside

    @property
    def method(self) -> Matcher:
        """The method as it was."""
        leaves = [b if a is None else a for a, b in zip(self.arrays, self.others)]
        return jax.tree.unflatten(self.shape, leaves)
