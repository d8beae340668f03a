"""What is given where an outcome model or a surface belongs: one sentence for anything else."""

from typing import Any

from jcausal.data import named
from jcausal.surfaces._bart import BART
from jcausal.surfaces._mlp import MLP
from jcausal.surfaces._ridge import Ridge
from jcausal.surfaces._surface import OutcomeModel, ResponseSurface
from jcausal.surfaces.boosted_trees import BoostedTrees

MODELS = {one.__name__.lower(): one.__name__ for one in (BART, BoostedTrees, MLP, Ridge)}
READ = ("sklearn.ensemble", "sklearn.tree", "lightgbm", "xgboost")


def check_model(option: str, value: Any, *, trained: bool = False) -> None:
    """Refuse what is neither an outcome model (or, `trained`, a surface of one) nor a function.

    **Raises:** ValueError that says what to write.
    """
    made = _wanted(value, trained)
    if made is None:
        return
    write = f"{option}=jc.fit(train, {made}, key=0)" if trained else f"{option}={made}"
    if isinstance(value, type):
        raise ValueError(f"{value.__name__} is a class: write {write}.")
    name = type(value).__name__
    if isinstance(value, OutcomeModel):
        is_ = f"jc.{name}(...), which is not trained"
    elif _is_estimator(value):
        is_ = f"{name} of {type(value).__module__.split('.')[0]}"
    else:
        is_ = named(value)
    raise ValueError(f"{option} is {is_}: write {write}{_also(option, value)}.")


def _wanted(value: Any, trained: bool) -> str | None:
    """The model that was meant, as it is written; None where all is well."""
    if isinstance(value, type):
        if issubclass(value, OutcomeModel):
            return f"jc.{value.__name__}()"
        return f"jc.Trees({value.__name__}())" if _is_read(value) else "jc.BoostedTrees()"
    if isinstance(value, OutcomeModel):
        return f"jc.{type(value).__name__}()" if trained else None
    if _is_estimator(value) and not isinstance(value, ResponseSurface):
        read = _is_read(type(value))
        return f"jc.Trees({type(value).__name__}(...))" if read else "jc.BoostedTrees()"
    if callable(value):
        return None
    text = value.lower() if isinstance(value, str) else ""
    return f"jc.{MODELS.get(text, 'BoostedTrees')}()"


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "fit") and hasattr(value, "get_params")


def _is_read(cls: type) -> bool:
    return cls.__module__.startswith(READ)


def _also(option: str, value: Any) -> str:
    """What else may have been meant."""
    if _is_estimator(value) and not _is_read(type(value)):
        return ", or give a function of points (m, p) that returns f0 and f1, (m, 2)"
    if option == "outcome" and not _is_estimator(value):
        return "; outcomes stand in the sample, as jc.Sample(x, t, y)"
    return "; or use 'surface', or None for plain means" if option == "adjust" else ""
