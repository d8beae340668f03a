"""How each query ended, as a code with a sentence: safe under jit and vmap."""

from typing import Any

import equinox as eqx
import numpy as np


class RESULTS(eqx.Enumeration):
    """The status of a query; the integers are stable."""

    matched = "matched"
    no_control = (
        "too few controls: the largest group that there could be holds fewer than are asked for; "
        "ask for fewer, or give the fold more controls"
    )
    no_treated = (
        "too few treated: the largest group that there could be holds fewer than are asked for; "
        "ask for fewer, or give the fold more treated"
    )
    surface_nan = (
        "the surface gave NaN on the way: check it at this unit's covariates, and that it was "
        "fitted for every arm whose gamma is above 0"
    )
    bad_input = "a covariate, weight or outcome of the sample is NaN or infinite"
    growing = "the search was stopped before this query was finished"
    not_asked = "not asked for: a row of the arm that the estimand does not query, or padding"
    no_leaf_control = (
        "its leaf holds no control of its fold: grow a smaller tree with a larger min_controls, "
        "or give more controls"
    )
    outside_support = (
        "left out by support='common': outside the values that the other arm has in a covariate"
    )
    outside_caliper = (
        "no unit of the other arm is as near as the caliper asks and alike in what is matched "
        "exactly: widen the caliper, or match fewer columns exactly"
    )
    all_taken = (
        "its possible partners are all taken by other queries: match with replacement, ask for a "
        "smaller ratio, or give more units of the other arm"
    )
    no_stratum_partner = (
        "its stratum holds no unit of the other arm: make the strata coarser, match on fewer "
        "covariates, or give more units"
    )
    left_out = (
        "left out: it is in no balanced subset of the size that was found; a larger tolerance "
        "(balance) keeps more"
    )


def code(result: Any) -> np.int32:
    """The integer of a result such as `RESULTS.matched`."""
    return np.int32(result._value)


_SENTENCES = {
    int(np.asarray(item._value)): RESULTS[item]
    for item in (
        RESULTS.matched,
        RESULTS.no_control,
        RESULTS.no_treated,
        RESULTS.surface_nan,
        RESULTS.bad_input,
        RESULTS.growing,
        RESULTS.not_asked,
        RESULTS.no_leaf_control,
        RESULTS.outside_support,
        RESULTS.outside_caliper,
        RESULTS.all_taken,
        RESULTS.no_stratum_partner,
        RESULTS.left_out,
    )
}


def sentence(status: int) -> str:
    """The sentence of a status code."""
    return _SENTENCES[int(status)]
