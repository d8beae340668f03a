"""What each unit adds to an average: by its outcome, and by what is foretold of it as a query."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int

from jcausal.data import add_at, on_host
from jcausal.effects import Effects, own_predictions
from jcausal.inference._average import Form


def outcome_scores(effects: Effects, form: Form) -> Float[Array, " n"]:
    """c_k: the coefficient of each unit's outcome, or residual, in the form."""
    return _scaled(effects.coefficients(form.share), effects.sample.t, form.scale)


def query_scores(effects: Effects, form: Form) -> Float[Array, " n"]:
    """v_k (h_k - mean of h): how far what is foretold of a query is from the average of it.

    h = scale_1 f1 - scale_0 f0 at the query, f of another fold; 0 where nothing is adjusted. An arm
    that was not fitted takes the other's f.
    """
    if effects.prognosis is None or not effects.adjusted:
        return _no_scores(effects.sample.weight)
    told = own_predictions(effects.sample, effects.matching.fold, effects.prognosis)
    return _of_queries(form, told, effects.matching.query, effects.sample.t)


@on_host
def _scaled(
    lib: Any, c: Float[Array, " n"], t: Bool[Array, " n"], scale: Float[Array, " 2"]
) -> Float[Array, " n"]:
    return c * scale[t.astype(lib.int32)]


@on_host
def _no_scores(lib: Any, like: Float[Array, " n"]) -> Float[Array, " n"]:
    return lib.zeros_like(like)


@on_host
def _of_queries(
    lib: Any,
    form: Form,
    told: Float[Array, "q 2"],
    query: Int[Array, " q"],
    t: Bool[Array, " n"],
) -> Float[Array, " n"]:
    use = form.share > 0
    h = lib.where(use, form.scale[1] * told[:, 1] - form.scale[0] * told[:, 0], 0)
    gap = lib.where(use & (query >= 0), form.share * (h - (form.share * h).sum()), 0)
    return add_at(lib, t.shape[0], lib.maximum(query, 0), gap)
