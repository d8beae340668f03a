"""By which model effects are adjusted."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import PRNGKeyArray

from jcausal.data import Sample, is_traced, step_key
from jcausal.matching import (
    EffectKind,
    Estimand,
    Matching,
    Prognosis,
    arms_asked,
    foretell,
)
from jcausal.surfaces import (
    Arms,
    OutcomeModel,
    ResponseSurface,
    check_model,
    deal_folds,
    fold_surface,
)

Adjust = Literal["auto", "surface"] | OutcomeModel | ResponseSurface | Callable | None
FOLDS = 2  # of a matching that has one, for a model that is trained


def adjustment(
    sample: Sample,
    matching: Matching,
    adjust: Adjust,
    effect: EffectKind,
    key: PRNGKeyArray | None,
    folds: int | None = None,
) -> tuple[Prognosis | None, bool]:
    """What is foretold of units and queries, and whether effects are adjusted by it.

    `folds`: how many the matching was made with, where it is known.

    **Raises:** ValueError for "surface" where there is none, a model where groups are regressions,
    a model without a key, and anything else that is none of these.
    """
    own = matching.prognosis
    if adjust is None:
        return own, False
    if isinstance(adjust, str):
        if adjust not in ("auto", "surface"):
            raise ValueError(
                f"adjust is {adjust!r}: use 'auto', 'surface', None or an outcome model such as "
                "jc.Ridge()."
            )
        if adjust == "surface" and own is None:
            raise ValueError(
                f"adjust='surface' needs a surface that guided the matching, and these "
                f"{type(matching).__name__} have none: pass an outcome model, adjust=jc.Ridge(), "
                "or None for plain means."
            )
        return own, own is not None and (adjust == "surface" or own.adjusts)
    smoother = matching.smoother()
    if smoother is not None:
        raise ValueError(f"effects by {smoother} are adjusted already: use adjust=None.")
    check_model("adjust", adjust)
    whose = arms_asked(sample, matching.estimand, matching.query, matching.asked)
    arms = _arms(whose, effect)
    return _by_model(sample, matching, adjust, arms, key, folds), True


def _arms(estimand: Estimand, effect: EffectKind) -> Arms:
    """The arms whose outcomes are averaged in groups."""
    if effect == "group":
        return "both"
    return dict(att="control", atc="treated", ate="both")[estimand]  # type: ignore[return-value]


def _by_model(
    sample: Sample,
    matching: Matching,
    model: OutcomeModel | ResponseSurface | Callable,
    arms: Arms,
    key: PRNGKeyArray | None,
    folds: int | None,
) -> Prognosis:
    """Predictions of a model that is trained, for each fold, on the others."""
    fold, query_fold, trained = matching.fold, matching.query_fold, isinstance(model, OutcomeModel)
    if not is_traced(matching.query) and (np.asarray(matching.query) < 0).any():
        raise ValueError("adjust= a model is for rows of the sample, and queries are points.")
    if trained and key is None:
        raise ValueError(
            f"adjust={type(model).__name__}() is trained on random folds: give key= a JAX key or "
            "an int."
        )
    step = None if key is None else step_key(key, "adjust")
    if folds is None:
        folds = 1 if is_traced(fold) else int(np.max(np.asarray(fold), initial=0)) + 1
    if trained and folds == 1:
        folds, fold = FOLDS, deal_folds(sample, FOLDS, step)
        query_fold = fold[matching.query]
    surfaces = [fold_surface(sample, model, arms, fold, k, step) for k in range(folds)]
    return foretell(sample.plain(), fold, matching.query, surfaces, query_fold=query_fold)
