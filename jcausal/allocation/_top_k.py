"""What may be treated: a family of sets of groups, and the best of them. The K largest."""

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Options, is_traced

Rows = Float[Array, "b k"] | Float[np.ndarray, "b k"]
Marks = Bool[Array, "b k"] | Bool[np.ndarray, "b k"]


class Best(NamedTuple):
    """The best sets for b rows of values, and what a better one could add at most (0: proven)."""

    chosen: Marks
    gap: Float[Array, " b"] | Float[np.ndarray, " b"]


class Budget(Options, eqx.Module):
    """A family of sets of groups that may be treated; holds hyperparameters only.

    `robust`: the lower estimates are summed in place of the estimates.
    """

    robust: eqx.AbstractVar[bool]

    @property
    @abstractmethod
    def traceable(self) -> bool:
        """Whether it may be used under jit, vmap and grad."""

    @property
    @abstractmethod
    def needs_positive(self) -> bool:
        """Whether groups are left out whose lower estimate is not above 0."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The budget for readers."""

    @abstractmethod
    def in_order(self, labels: pd.Index | None) -> "Budget":
        """The same budget with what it knows of each group in the order of these labels."""

    @abstractmethod
    def check(self, groups: int) -> None:
        """Refuse a number of groups that the budget does not fit."""

    @abstractmethod
    def best(self, values: Rows, allowed: Marks) -> Best:
        """The sets with the largest sums of values among the allowed groups."""

    @abstractmethod
    def spend(
        self, chosen: Bool[Array, " k"] | Bool[np.ndarray, " k"]
    ) -> Array | np.ndarray | float:
        """What the chosen groups cost."""


class TopK(Budget):
    """The K groups with the largest estimates; every group costs the same.

    **Arguments:**

    - `budget`: K, at least 1; may be traced.
    - `at_most`: treat only groups whose lower estimate is above 0, so perhaps fewer than K, and
      compare with the best set of at most K. False treats exactly K, whatever their estimates,
      and compares with the best K.
    - `robust`: take the K largest lower estimates (value - rho) instead: of all sets the one whose
      value is the largest in the worst case. With equal rho the same.

    Ties are broken by position: the earlier group is taken.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, algorithm 1, step 3.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.allocate([0.9, 0.1, 0.5, 0.3], jc.TopK(2), rho=0.05)
        >>> found.chosen.tolist(), float(found.guaranteed_ratio)
        ([True, False, True, False], 1.0)
    """

    budget: int | Int[Array, ""]
    at_most: bool = eqx.field(static=True, default=True)
    robust: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        if not is_traced(self.budget) and self.budget < 1:
            raise ValueError(f"budget is {self.budget}: at least one group must be paid for.")

    @property
    def needs_positive(self) -> bool:
        """As `at_most`."""
        return self.at_most

    @property
    def traceable(self) -> bool:
        """Always."""
        return True

    @property
    def words(self) -> str:
        """As "at most 3 groups"."""
        return f"{'at most' if self.at_most else 'exactly'} {int(self.budget):,} groups"

    def in_order(self, labels: pd.Index | None) -> "TopK":
        """Itself: it knows nothing of single groups."""
        return self

    def check(self, groups: int) -> None:
        """**Raises:** ValueError when there are fewer groups than the budget pays for."""
        if not is_traced(self.budget) and self.budget > groups:
            raise ValueError(
                f"budget is {self.budget} and there are {groups} groups: it must be at most that."
            )

    def best(self, values: Rows, allowed: Marks) -> Best:
        """All values above the K-th largest, and of those equal to it the first."""
        xp = values.__array_namespace__()
        values = xp.where(allowed, values, -xp.inf)
        last = values.shape[1] - self.budget
        kth = xp.take(xp.sort(values, axis=1), xp.asarray(last), axis=1)[:, None]
        above, ties = values > kth, values == kth
        room = self.budget - above.sum(axis=1, keepdims=True)
        chosen = above | (ties & (xp.cumsum(ties, axis=1) <= room))
        chosen &= allowed & (values > 0 if self.at_most else values > -xp.inf)
        return Best(chosen, xp.zeros(values.shape[0], values.dtype))

    def spend(
        self, chosen: Bool[Array, " k"] | Bool[np.ndarray, " k"]
    ) -> Array | np.ndarray | float:
        """How many are chosen."""
        return chosen.sum()


def any_group(values: Rows) -> Marks:
    """All groups allowed."""
    return (jnp if is_traced(values) else np).ones(values.shape, bool)
