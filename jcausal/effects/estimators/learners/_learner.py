"""What all learners of unit effects have in common: folds, models apart from them, the average."""

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    FoldError,
    FoldWords,
    HonestyError,
    Sample,
    check_kind,
    is_traced,
    on_host,
    step_key,
    to_device,
)
from jcausal.effects._average import Average, Population
from jcausal.effects._learned import Foretold, Learned
from jcausal.effects.estimators._aipw import aipw_of, check_clip
from jcausal.effects.estimators._estimator import Estimator
from jcausal.matching import Progress, default
from jcausal.surfaces import OutcomeModel, Propensity, chances_of, check_model, deal_folds

Averaged = Literal["doubly_robust", "plug_in"]
WORDS = FoldWords(more="give more rows of that arm")
PLUG_IN = (
    "the average is the plain mean of the units' effects, and its error that of the doubly robust "
    "average: what the learner itself is wrong by is not in it, so that intervals may be too short"
)


class Learner(Estimator):
    """A way to learn the effect as a function of the covariates: hyperparameters only.

    The rows are dealt to folds. All models that tell the effects and outcomes of a fold are trained
    on the other rows alone. The average is the doubly robust one (`AIPW`) with the learner's own
    predictions of both outcomes, whose interval is right for every learner; or, if `average` is
    "plug_in", the mean of the units' effects.
    """

    outcome: eqx.AbstractVar[OutcomeModel]
    propensity: eqx.AbstractVar[Propensity]
    clip: eqx.AbstractVar[float | Array]
    average: eqx.AbstractVar[Averaged]

    def __check_init__(self) -> None:
        for name, model in self.models.items():
            check_trainable(name, model)
        check_kind(self.propensity, Propensity, "propensity", "write propensity=jc.Propensity()")
        check_clip(self.clip)

    @property
    @abstractmethod
    def models(self) -> dict[str, OutcomeModel]:
        """The models that it trains, by the names of the options."""

    @abstractmethod
    def learn(self, train: Sample, key: PRNGKeyArray) -> Learned:
        """Train on the valid rows of a sample, which are those outside of one fold."""

    @property
    def traceable(self) -> bool:
        """Whether it may run under jit and vmap: as its models."""
        models = self.propensity, *self.models.values()
        return not self.on_host and all(model.traceable for model in models)

    @property
    @default
    def on_host(self) -> bool:
        """Whether it runs on the host whatever its models."""
        return False

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def estimands(self) -> tuple[Population, ...]:
        """Whom it can average over."""
        return "att", "atc", "ate"

    def run(
        self,
        sample: Sample,
        estimand: Population,
        folds: int,
        key: PRNGKeyArray | None,
        progress: Progress | None,
    ) -> Average:
        """Deal folds, learn apart from each, foretell it, and average.

        **Raises:** `HonestyError` with one fold; `DataError` when a fold, or a part of the rest
        that nuisances are trained on, lacks an arm.
        """
        assert estimand != "ato"
        check_several(folds)
        assert key is not None
        fold, learned = dealt(sample, folds, key), []
        for k in range(folds):
            if progress is not None:
                progress("training the learner", k, folds)
            one = jax.random.fold_in(step_key(key, "fit"), k)
            learned.append(self.learn(sample.with_valid(_outside(fold, k)), one))
        found = _of_folds(sample, fold, learned)
        chances = chances_of(sample, self.propensity, key)
        made = aipw_of(sample, fold, found.outcomes, estimand, self.clip, chances)
        known = dict(ite=found.effect, ite_error=found.error, learned=tuple(learned))
        known |= dict(method=type(self).__name__)
        if self.average == "plug_in":
            mean = _mean_effect(found.effect, fold, sample.t, sample.weight, estimand)
            known |= dict(average=mean, aside=(PLUG_IN,))
        return dataclasses.replace(made, **known)


def dealt(sample: Sample, folds: int, key: PRNGKeyArray) -> Int[Array, " n"]:
    """A fold for each row that counts.

    **Raises:** `DataError` when a fold lacks an arm.
    """
    try:
        return deal_folds(sample, folds, key)
    except FoldError as error:
        units, _, least, clusters = error.counts
        raise FoldError(error.fact, units, folds, least, WORDS, clusters) from error


def check_several(folds: int) -> None:
    """Refuse one fold."""
    if folds == 1:
        raise HonestyError(
            "with folds=1 the models would be trained on the outcomes that are averaged: use at "
            "least 2 folds."
        )


def check_trainable(option: str, value: Any) -> None:
    """Refuse what is no outcome model, a fitted surface too.

    **Raises:** ValueError that says what to write.
    """
    check_model(option, value)
    if not isinstance(value, OutcomeModel):
        raise ValueError(
            f"{option} is fitted already or a function, and this method trains its own models: "
            f"write {option}=jc.BoostedTrees()."
        )


@on_host
def _outside(lib: Any, fold: Int[Array, " n"], k: int) -> Bool[Array, " n"]:
    return (fold != k) & (fold >= 0)


def _of_folds(sample: Sample, fold: Int[Array, " n"], learned: Sequence[Learned]) -> Foretold:
    """What each row's own fold says of it; 0 for rows of no fold."""
    x, dtype = sample.x, sample.x.dtype
    if is_traced(x, fold, learned):
        out = Foretold(jnp.zeros((sample.n, 2), dtype), jnp.zeros(sample.n, dtype))
        for k, one in enumerate(learned):
            here = one.at(x)
            outcomes = jnp.where((fold == k)[:, None], here.outcomes, out.outcomes)
            out = Foretold(outcomes, jnp.where(fold == k, here.effect, out.effect))
        return out
    outcomes, effect = np.zeros((sample.n, 2), dtype), np.zeros(sample.n, dtype)
    error, told = np.zeros(sample.n, dtype), False
    for k, one in enumerate(learned):
        mine = np.flatnonzero(np.asarray(fold) == k)
        here = one.at(to_device(np.asarray(x)[mine]))
        outcomes[mine], effect[mine] = np.asarray(here.outcomes), np.asarray(here.effect)
        if here.error is not None:
            error[mine], told = np.asarray(here.error), True
    errors = to_device(error) if told else None
    return Foretold(to_device(outcomes), to_device(effect), errors)


@on_host
def _mean_effect(
    lib: Any,
    effect: Float[Array, " n"],
    fold: Int[Array, " n"],
    t: Bool[Array, " n"],
    weight: Float[Array, " n"],
    estimand: Population,
) -> Float[Array, ""]:
    """The weighted mean over those who are averaged."""
    whose = dict(att=t, atc=~t, ate=lib.ones_like(t))[estimand] & (fold >= 0)
    share = lib.where(whose, weight, 0)
    return (share * lib.where(whose, effect, 0)).sum() / share.sum()
