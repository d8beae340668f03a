"""The clusters that errors allow for: those of the sample, or matched sets."""

from typing import Literal

import numpy as np
from jaxtyping import Int

from jcausal.data import Sample
from jcausal.matching import Matching

Clusters = Literal["auto", "sample", "sets", "units"]


def clusters_of_units(
    sample: Sample, matching: Matching | None, wanted: Clusters
) -> tuple[Int[np.ndarray, " n"], str]:
    """A label for each unit (n,), and what the clusters are, in words.

    "auto": the sample's clusters, else matched sets with one unit of an arm each (pairs, full
    matching, and not strata), else units.

    **Raises:** ValueError where the sample has none, or groups overlap.
    """
    units = np.arange(sample.n)
    if wanted in ("auto", "sample") and sample.cluster is not None:
        return np.asarray(sample.cluster), "clusters of the sample"
    if wanted == "sample":
        raise ValueError("cluster is 'sample', and the sample has none: give it cluster=.")
    if wanted in ("auto", "sets") and matching is not None:
        sets = matching.matched_sets()
        if sets is not None and (wanted == "sets" or _few_of_an_arm(sets, sample)):
            return np.where(sets >= 0, sets, sets.max() + 1 + units), "matched sets"
        if sets is None and wanted == "sets":
            raise ValueError(
                "cluster is 'sets', and some units are in two groups that are not the same: use "
                "cluster='units', or a matching without replacement or by strata."
            )
    return units, "units"


def _few_of_an_arm(sets: Int[np.ndarray, " n"], sample: Sample) -> bool:
    """Whether each set holds one treated or one control unit."""
    inside, t = sets >= 0, np.asarray(sample.t)
    arms = [np.bincount(sets[inside & (t == a)], minlength=sets.max() + 1) for a in (False, True)]
    return bool((np.minimum(*arms) <= 1).all())
