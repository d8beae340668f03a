"""What trials of allocations came to: failures, and what would mend them."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Shown


class AllocationTrials(Shown, eqx.Module):
    """The value of the K groups chosen, for s numbers of samples, r trials and K = 1 to M.

    Made by `jc.simulate.allocation_trials`. `samples` (s,) are in total; `value` (s, r, M) is the
    sum of the true effects `tau` (M,) of the chosen; `eps` (s,) is what each number of samples is
    made for, None where it is made for none.
    """

    tau: Float[Array, " m"]
    samples: Int[Array, " s"]
    eps: Float[Array, " s"] | None
    value: Float[Array, "s r m"]

    @property
    def best(self) -> Float[Array, " m"]:
        """V*, the largest value of K groups, K = 1 to M."""
        return jnp.cumsum(-jnp.sort(-self.tau))

    @property
    def ratio(self) -> Float[Array, "s r m"]:
        """Value / V*."""
        return self.value / self.best

    @property
    def wanted(self) -> Float[Array, "s 1 m"]:
        """(1 - eps) V*, less the rounding of the sums.

        **Raises:** ValueError for trials without eps.
        """
        if self.eps is None:
            raise ValueError(
                "these trials have no eps: use .ratio, or EqualSamples(eps=...) instead."
            )
        rounding = 4 * jnp.finfo(self.tau.dtype).eps * np.sqrt(self.tau.shape[0])
        return (1 - self.eps - rounding)[:, None, None] * self.best

    @property
    def failed(self) -> Bool[Array, "s r m"]:
        """Which budgets K have a value below (1 - eps) V*."""
        return self.value < self.wanted

    @property
    def failure_rate(self) -> Float[Array, "s r"]:
        """The percentage of the budgets K = 1 to M that failed, of each trial."""
        return 100 * self.failed.mean(2)

    def shift(self, direction: Literal["any", "under"] = "any") -> Int[Array, "s r m"]:
        """How far the nearest budget K' is that did not fail in the same trial: 0 for K itself.

        "under" takes K' < K only; -1 where there is none.
        """
        at = jnp.arange(self.tau.shape[0])
        fine = ~self.failed
        far = at.shape[0] + 1
        below = at - lax.cummax(jnp.where(fine, at, -far), axis=2)
        above = lax.cummin(jnp.where(fine, at, 2 * far), axis=2, reverse=True) - at
        found = below if direction == "under" else jnp.minimum(below, above)
        return jnp.where(found < at.shape[0], found, -1)

    @property
    def extra(self) -> Int[Array, "s r m"]:
        """How many groups more, in the order of their estimates, reach (1 - eps) V* of K."""
        m = self.tau.shape[0]
        wanted = jnp.broadcast_to(self.wanted, self.value.shape).reshape(-1, m)
        first = jax.vmap(jnp.searchsorted)(self.value.reshape(-1, m), wanted)
        return jnp.maximum(first.reshape(self.value.shape) - jnp.arange(m), 0)

    @property
    def _single(self) -> bool:
        return self.value.ndim == 3

    def _said(self) -> str:
        sizes, trials, groups = self.value.shape
        return (
            f"{trials:,} trials of {groups:,} groups at each of {sizes:,} numbers of samples; "
            f"mean ratio {float(self.ratio.mean()):.3g}"
        )

    def _shown(self) -> pd.DataFrame:
        return self.to_frame()

    def to_frame(self) -> pd.DataFrame:
        """One row a number of samples: ratio; with eps also failures and what mends them.

        **Returns:** eps, samples (in total), ratio (mean over trials and budgets); failure_rate and
        its standard deviation over trials (%); among the budgets that failed the means of |K - K'|
        (any K', and K' < K) and of the extra groups, and how many had no K' < K.
        """
        columns: dict[str, np.ndarray] = dict(samples=np.asarray(self.samples))
        if self.eps is None:
            return pd.DataFrame(columns | dict(ratio=np.asarray(self.ratio.mean((1, 2)))))
        found = {name: np.asarray(each) for name, each in _measures(self).items()}
        failed, rate = found.pop("failed"), found.pop("rate")
        columns = dict(eps=np.asarray(self.eps)) | columns | dict(ratio=found.pop("ratio"))
        columns |= dict(failure_rate=rate.mean(1), failure_sd=rate.std(1))
        columns |= {name: _means(each, failed & (each >= 0)) for name, each in found.items()}
        columns["none_under"] = (failed & (found["shift_under"] < 0)).sum((1, 2))
        return pd.DataFrame(columns)


@jax.jit
def _measures(trials: AllocationTrials) -> dict[str, Array]:
    """All that a frame tells, compiled once."""
    return dict(
        failed=trials.failed,
        rate=trials.failure_rate,
        ratio=trials.ratio.mean((1, 2)),
        shift=trials.shift("any"),
        shift_under=trials.shift("under"),
        extra_groups=trials.extra,
    )


def _means(values: Int[np.ndarray, "s r m"], use: Bool[np.ndarray, "s r m"]) -> np.ndarray:
    """Means over the entries in use by row; NaN for none."""
    count = use.sum((1, 2))
    total = np.where(use, values, 0).sum((1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
