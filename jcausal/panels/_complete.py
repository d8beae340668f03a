"""The verb `complete`."""

import warnings

import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import (
    as_key,
    check_kind,
    check_object,
    is_traced,
    number_in_words,
    step_key,
)
from jcausal.panels._assignment import PatternError
from jcausal.panels._completer import Completed, Completer
from jcausal.panels._completion import Completion
from jcausal.panels._completion_words import flat_words, short_words
from jcausal.panels._panel import Panel


class CompletionWarning(UserWarning):
    """A completion is not what was asked for; the message says in what, with the numbers."""


def complete(
    panel: Panel,
    completer: Completer,
    *,
    key: PRNGKeyArray | Array | int | None = None,
    throw: bool = True,
) -> Completion:
    """Both potential outcomes of every unit at every time, as far as they are identified.

    **Arguments:**

    - `completer`: a method such as `jc.UnitMeans()`. `panel.summary()` says which methods fit the
      panel's assignment pattern.
    - `key`: for methods that draw at random.
    - `throw`: refuse a pattern that the method may not be used on, and a panel without any unit
      that is identified; warn when iterations did not converge, of an outcome that is the same in
      all cells, and of treated units with fewer times before their treatment than the method asks
      for. Must be False under jit and vmap, where
      nothing of this can be known.

    **Returns:** a `Completion`.

    **Raises:** `PatternError` with the reason; ValueError for covariates that the method does not
    use. **Warns:** `CompletionWarning`.

    **Example:**

        >>> import jcausal as jc
        >>> y = [[1.0, 3.0, 1.0, 3.0], [2.0, 5.0, 5.0, 2.0], [4.0, 4.0, 4.0, 4.0]]
        >>> panel = jc.Panel(y, [[0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 1, 0]])
        >>> jc.complete(panel, jc.UnitMeans()).unit_effect.tolist()
        [2.0, 3.0, 0.0]
    """
    check_kind(panel, Panel, "complete", "make one with jc.Panel.from_frame(frame, unit=..., ...)")
    check_object(completer)
    if not isinstance(completer, Completer):
        raise ValueError(f"{type(completer).__name__} is no completion method like UnitMeans().")
    name = type(completer).__name__
    if panel.covariates is not None and not completer.uses_covariates:
        raise ValueError(
            f"{name} does not use covariates: pass panel.without_covariates(), or a method that "
            "does, such as jc.TwoWayFixedEffects()."
        )
    traced = is_traced(panel, completer)
    if traced and not completer.traceable:
        raise ValueError(f"{name} needs concrete arrays: call it outside jit, vmap and grad.")
    if traced and throw:
        raise ValueError("throw=True cannot raise under jit, vmap or grad: pass throw=False.")
    if throw:
        check_pattern(panel, completer)
    step = None if key is None else step_key(as_key(key, "complete"), "comp")
    found = Completion(panel, completer, completer.run(panel.plain(), step))
    if throw:
        _check_found(found)
    return found


def check_pattern(panel: Panel, completer: Completer) -> None:
    """Refuse a pattern that the method may not be used on.

    **Raises:** `PatternError` with the reason, and the methods that fit.
    """
    reason = completer.refuse(panel.assignment)
    if reason is None:
        return
    name, fitting = type(completer).__name__, panel.completers()
    if name in fitting:
        raise PatternError(f"{name} may not be used with these options: {reason}.")
    instead = f"use {', '.join(fitting)}" if fitting else "no method here fits this pattern"
    raise PatternError(f"{name} may not be used here: {reason}; {instead}.")


def _check_found(found: Completion) -> None:
    """Refuse infinite outcomes and a panel without an effect; warn of rank 0, no convergence."""
    computed: Completed = found.completed
    broken = np.isinf(np.asarray(computed.y0)) | np.isinf(np.asarray(computed.y1))
    if broken.any():
        raise ValueError(f"{found.completer.words} gave {broken.sum()} infinite outcomes.")
    if not np.asarray(found.identified).any():
        raise PatternError(
            f"no unit's effect is identified by {found.completer.words}: {found.unidentified_words}"
        )
    for arm, values in enumerate((np.asarray(computed.y0), np.asarray(computed.y1))):
        known = values[np.isfinite(values)]
        if int(np.asarray(computed.rank)[arm]) == 0 and known.size and known.min() == known.max():
            _warn_rank(found, arm)
    few = short_words(found.panel, found.completer, computed)
    for text in flat_words(found.panel) + few:
        warnings.warn(f"{text}.", CompletionWarning, stacklevel=3)
    if not bool(computed.converged):
        warnings.warn(
            f"{found.completer.words} did not converge: give it more iterations, or a larger "
            "tolerance.",
            CompletionWarning,
            stacklevel=3,
        )


def _warn_rank(found: Completion, arm: int) -> None:
    """A rank of 0 completes every outcome of an arm by one number: say so, with the evidence."""
    values, word = np.asarray(found.singular_values)[arm], ("without", "with")[arm]
    numbers = ""
    if "threshold" in found.completed.details and values.size > 1:
        threshold = float(np.asarray(found.completed.details["threshold"])[arm])
        numbers = (
            f" (threshold {number_in_words(threshold)}; the largest singular value is "
            f"{number_in_words(float(values[0]))}, the widest gap "
            f"{number_in_words(float((values[:-1] - values[1:]).max()))})"
        )
    warnings.warn(
        f"{found.completer.words} found rank 0 {word} treatment{numbers}: all of these outcomes "
        "are completed by one number, and the effects mean little; choose another rule or method.",
        CompletionWarning,
        stacklevel=4,
    )
