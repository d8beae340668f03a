"""What a completion method is, and what it gives."""

from abc import abstractmethod
from typing import Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import Options, to_device
from jcausal.panels._assignment import Assignment
from jcausal.panels._masked import or_nan
from jcausal.panels._panel import Panel

Cells = Literal["all", "treated"]
HOLDS_OUT = "it holds cells out to choose a number, and a unit's copy tells what was held out"


class StdErrors(eqx.Module):
    """A method's own standard errors; NaN where it has none.

    `unit` (n,) of the unit effects, `time` (m,) of the time effects, `average` () of the mean
    effect over all identified cells, in outcome units.
    """

    unit: Float[Array, " n"]
    time: Float[Array, " m"]
    average: Float[Array, ""]


class Completed(eqx.Module):
    """What a method computes: both outcomes in every cell, NaN where they are not identified.

    `y0`, `y1` (n, m). A method whose effects are on treated cells leaves `y1` the observed outcome
    there and NaN elsewhere (see `observed_y1`); `y0` is its fit in every cell, treated or not, and
    NaN for units that it does not fit (donors).
    `rank` (2,) by arm (control, treated), -1 where an arm has no factors. `singular_values`
    (2, k) of the matrix that each arm's rank was read from, largest first, NaN where an arm has
    none; k is 0 for methods without. `details` holds numbers that the method chose, under names
    that its docstring gives. `converged` () tells whether iterations ended below the tolerance.
    `std_errors` are the method's own, None without.
    """

    y0: Float[Array, "n m"]
    y1: Float[Array, "n m"]
    rank: Int[Array, " 2"]
    singular_values: Float[Array, "2 k"]
    converged: Bool[Array, ""]
    std_errors: StdErrors | None
    details: dict[str, Array]


class Spectrum(NamedTuple):
    """The rank (2,) of each arm, and the singular values (2, k) that it was read from.

    As the fields of `Completed`: -1 and NaN for an arm without factors.
    """

    rank: Int[Array, " 2"]
    values: Float[Array, "2 k"]


def completed(
    y0: Float[Array, "n m"],
    y1: Float[Array, "n m"],
    *,
    spectrum: Spectrum | None = None,
    converged: Bool[Array, ""] | None = None,
    std_errors: StdErrors | None = None,
    details: dict[str, Array] | None = None,
) -> Completed:
    """A `Completed` with what a method does not have left out."""
    if spectrum is None:
        nothing = to_device(np.zeros((2, 0), y0.dtype))
        spectrum = Spectrum(to_device(np.full(2, -1)), nothing)
    return Completed(
        y0=y0,
        y1=y1,
        rank=spectrum.rank,
        singular_values=spectrum.values,
        converged=to_device(True) if converged is None else converged,
        std_errors=std_errors,
        details=details or {},
    )


def observed_y1(panel: Panel) -> Float[Array, "n m"]:
    """The observed outcomes of treated cells, NaN elsewhere."""
    return or_nan(panel.treated, panel.y)


class Completer(Options, eqx.Module):
    """A completion method: hyperparameters only, stored as given.

    `cells` tells whose effect is estimated: "all" cells' or "treated" ones' only; `traceable`
    whether `run` may be under jit, vmap and grad; `uses_covariates` whether it looks at the
    panel's covariates: if not, a panel that has some is refused; `times_before` how many times
    before its treatment a treated unit's fit asks for: of units with fewer `complete` warns.
    """

    cells: eqx.AbstractVar[Cells]
    traceable: eqx.AbstractVar[bool]
    uses_covariates: eqx.AbstractVar[bool]
    times_before: eqx.AbstractVar[int]

    @property
    @abstractmethod
    def words(self) -> str:
        """The method's name for readers, with the options that matter."""

    @abstractmethod
    def refuse(self, assignment: Assignment) -> str | None:
        """Why the method may not be used on this assignment pattern; None when it may."""

    @abstractmethod
    def refuse_copies(self) -> str | None:
        """Why the method may not be run on units drawn with replacement; None when it may."""

    @abstractmethod
    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Complete a panel that was not refused; the panel comes without its words.

        Outcomes are 0 and d is False where `panel.mask` is False. A method that draws at random
        calls `as_key(key, "jc.NAME")`, which says so when there is no key.
        """
