"""What a matching method is."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import Options, Sample, is_traced
from jcausal.matching._matching import Estimand, Matching
from jcausal.surfaces import Arms, OutcomeModel, ResponseSurface

EffectKind = Literal["own", "group"]  # how the effect of a query is formed: see `Effects`
Progress = Callable[[str, int, int], None]


class Task(NamedTuple):
    """What is to be matched: folds of the sample, and queries that are rows or points.

    `honest`: surfaces that are given were trained on other rows. `effect`: how effects are formed.
    `key`: None where the caller gave none and no partition is drawn. `most`: no fold holds more
    rows than so many, where that is known without their values.
    """

    sample: Sample
    fold: Int[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]
    asked: Bool[Array, " q"]
    at: Float[np.ndarray, "q p"] | None
    estimand: Estimand
    key: PRNGKeyArray | None = None
    honest: bool = True
    effect: EffectKind = "own"
    most: int | None = None


class Matcher(Options, eqx.Module):
    """A matching method: hyperparameters only, stored as given.

    One that no surface guides has `cross_fits` False, and a property `outcome` that is None: it
    gets no surface, and all rows in one fold. What it draws at random it draws from `task.key`, by
    `jcausal.data.row_draws`, so that draws follow the units and not the order of the rows.
    """

    outcome: eqx.AbstractVar[OutcomeModel | ResponseSurface | Callable]

    @abstractmethod
    def arms(self, estimand: Estimand, effect: EffectKind) -> Arms:
        """Which response surfaces the method looks at."""

    @property
    @abstractmethod
    def traceable(self) -> bool:
        """Whether fitting and matching may run under jit, vmap and grad."""

    @property
    @abstractmethod
    def cross_fits(self) -> bool:
        """Whether surfaces are trained on other folds; else the method gets none, and one fold."""

    @abstractmethod
    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Matching:
        """Match every query inside its own fold k, guided by `surfaces[k]`."""


class DesignMatcher(Matcher):
    """A method that looks at covariates and treatment alone: no surface guides it.

    All rows are in one fold, and outcomes are not read: the sample may have none. Effects are plain
    means unless `jc.estimate(adjust=)` names an outcome model.
    """

    outcome: None = eqx.field(  # pyright: ignore[reportIncompatibleVariableOverride]
        static=True, init=False, repr=False, default=None
    )

    @property
    def cross_fits(self) -> bool:
        """Never."""
        return False

    def arms(self, estimand: Estimand = "att", effect: EffectKind = "own") -> Arms:
        """The arms whose outcomes are averaged."""
        if effect == "group" or estimand == "ate":
            return "both"
        return "control" if estimand == "att" else "treated"

    def check_rows(self, task: Task) -> None:
        """Refuse points outside the sample, and tracing where the method runs on the host.

        **Raises:** ValueError.
        """
        name = type(self).__name__
        if is_traced(task) and not self.traceable:
            raise ValueError(
                f"{name} runs on the host and cannot be used under jit, vmap or grad: match "
                "outside, or use jc.AHB."
            )
        if task.at is not None:
            raise ValueError(rows_only(name))


def rows_only(name: str) -> str:
    """Why a method has no groups for points outside of the sample, and what has."""
    return (
        f"{name} matches rows of the sample: query= takes them, at= does not; for points outside "
        "of it use jc.AHB, jc.NearestNeighbors or jc.CEM, or predict by a learner such as "
        "jc.DRLearner()."
    )


def prefixed(progress: Progress | None, prefix: str) -> Progress | None:
    """The same report with a prefix before every stage."""
    if progress is None:
        return None
    return lambda stage, done, total: progress(prefix + stage, done, total)
