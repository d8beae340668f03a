"""A model of the chance of treatment, and the scores that it gives."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from jcausal.data import Options, Sample, is_traced
from jcausal.surfaces._propensity import fitted_chances


class Propensity(Options, eqx.Module):
    """The chance of treatment by a logistic regression on all covariates.

    **Arguments:** `penalty`: times half the squared slopes of the standardised features, added to
    the mean loss.
    """

    penalty: float | int = 1e-8


def propensity_scores(
    sample: Sample, propensity: Propensity, key: Any = None
) -> Float[np.ndarray, " n"]:
    """The chance of treatment of every row (n,); NaN for padding. Traced where the sample is."""
    fold = np.where(np.asarray(sample.valid), 0, -1) if not is_traced(sample) else sample.valid - 1
    return np.asarray(fitted_chances(sample, fold, 1, propensity.penalty).chance, np.float64)
