"""What the data cannot tell: units beyond the other arm's values, an outcome that never varies."""

import equinox as eqx
import numpy as np
from jaxtyping import Bool

from jcausal.data import Sample, is_traced, number_in_words, to_device
from jcausal.matching import RESULTS, Estimand, Matching, code
from jcausal_kernels import MISSING


def outside_of(
    sample: Sample, estimand: Estimand
) -> tuple[Bool[np.ndarray, "n p"], tuple[str, ...]]:
    """Where a unit of an averaged arm lies beyond the other arm's range, or alone at a level.

    Units of weight 0 and padding are nobody. Also the covariates' names.
    """
    codes, t = np.asarray(sample.codes), np.asarray(sample.t)
    use = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    asked = dict(att=t, atc=~t, ate=np.ones_like(t))[estimand] & use
    out = np.zeros(codes.shape, bool)
    for arm in (False, True):
        mine, others = asked & (t == arm), use & (t != arm)
        for j, kind in enumerate(sample.schema.kinds):
            column, theirs = codes[mine, j], codes[others, j]
            if kind == "category":
                out[mine, j] = ~np.isin(column, theirs)
                continue
            known = theirs[theirs != MISSING]
            low, high = known.min(initial=MISSING), known.max(initial=-1)
            out[mine, j] = (column != MISSING) & ((column < low) | (column > high))
    return out, sample.schema.names


def flat_words(sample: Sample) -> list[str]:
    """One sentence where the outcome is the same in all rows that count."""
    use = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    y = np.asarray(sample.y)[use]
    if not y.size or y.min() < y.max():
        return []
    return [
        f"beware: the outcome is {number_in_words(float(y[0]))} in all {y.size:,} rows, so that an "
        "effect of 0 tells nothing of the treatment: name an outcome that varies"
    ]


def on_common_support(sample: Sample, matching: Matching) -> Matching:
    """The matching without queries outside the values of the other arm, which get a status.

    **Raises:** ValueError under tracing.
    """
    if is_traced(sample, matching):
        raise ValueError("support='common' needs concrete arrays: use it outside jit and vmap.")
    outside = np.asarray(outside_of(sample, "ate")[0].any(1))
    query, status = np.asarray(matching.query), np.asarray(matching.status)
    matched = np.equal(status, int(code(RESULTS.matched)))
    left = (query >= 0) & outside[query] & matched
    status = np.where(left, int(code(RESULTS.outside_support)), status)
    return eqx.tree_at(lambda m: m.status, matching, to_device(status.astype(np.int32)))
