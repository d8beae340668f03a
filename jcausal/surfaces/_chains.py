"""Whether the chains of a posterior tell the same."""

import numpy as np
from jaxtyping import Float


def split_rhat(draws: Float[np.ndarray, "chains s"]) -> float:
    """Gelman and Rubin's potential scale reduction with every chain cut in two halves.

    **Source:** Gelman et al., Bayesian Data Analysis (2013), section 11.4.
    """
    return float(split_rhats(draws[:, :, None])[0])


def split_rhats(draws: Float[np.ndarray, "chains s m"]) -> Float[np.ndarray, " m"]:
    """The same of m numbers; NaN for fewer than 4 draws a chain, 1 for what does not vary."""
    half = draws.shape[1] // 2
    if half < 2:
        return np.full(draws.shape[2], np.nan)
    parts = np.concatenate([draws[:, :half], draws[:, -half:]])
    within = parts.var(1, ddof=1).mean(0)
    between = half * parts.mean(1).var(0, ddof=1)
    varies = within > 0
    ratio = between / (half * np.where(varies, within, 1))
    return np.where(varies, np.sqrt((half - 1) / half + ratio), 1.0).astype(np.float64)
