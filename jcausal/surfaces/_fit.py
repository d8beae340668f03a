"""The verb `fit`."""

from collections.abc import Callable

from jaxtyping import Array, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    DataError,
    Sample,
    as_key,
    check_key,
    check_kind,
    is_traced,
    step_key,
)
from jcausal.surfaces._check_model import check_model
from jcausal.surfaces._function import as_surface
from jcausal.surfaces._surface import Arms, OutcomeModel, ResponseSurface


def fit(
    train: Sample,
    model: OutcomeModel | ResponseSurface | Callable,
    *,
    arms: Arms = "both",
    key: PRNGKeyArray | Array | int | None = None,
) -> ResponseSurface:
    """Train a response surface on a sample.

    **Arguments:** `model` an outcome model (`jc.BoostedTrees()`, `jc.BART()`, `jc.MLP()`,
    `jc.Ridge()`), or a surface or function, which is returned as it is; `arms` which of f0 and f1
    to fit (the other column is NaN); `key` a JAX key or an int, needed by models that draw.

    **Returns:** a `ResponseSurface` that remembers its training rows.

    **Raises:** `DataError` without outcomes; ValueError for a missing key, for what is no model,
    or for a model that cannot be traced under jit, vmap or grad.

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> jc.fit(train, jc.Ridge())(test.x).shape
        (223, 2)
    """
    check_kind(train, Sample, "fit", FROM_FRAME)
    check_model("model", model)
    if not isinstance(model, OutcomeModel):
        return as_surface(model)
    if key is not None:
        check_key(key)
    if arms not in ("both", "control", "treated"):
        raise ValueError(f"arms is {arms!r}: use 'both', 'control' or 'treated'.")
    if train.y is None:
        raise DataError("the sample has no outcome to train on: attach it with with_outcome(y).")
    name = type(model).__name__
    if not model.traceable and is_traced(train, key):
        raise ValueError(
            f"{name} runs on the host and cannot be fitted under jit, vmap or grad: fit it "
            "outside, or use jc.BoostedTrees, jc.MLP, jc.Ridge or jc.Function."
        )
    drawn = step_key(as_key(key, name), "fit") if model.needs_key else None
    return model.fit(train, drawn, arms)
