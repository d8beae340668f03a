"""What FLAME and DAME have in common: units agree in as many useful covariates as they can."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Schema, is_traced, to_device
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task, rows_only
from jcausal.matching._matching import Estimand
from jcausal.matching._prognosis import Prognosis, foretell
from jcausal.matching._results import RESULTS, code
from jcausal.matching.strata._cells import CoarseCells, Grouped, Level, cells_of, grouped, level_of
from jcausal.matching.strata._coarse_columns import CoarseColumn, coarse_columns
from jcausal.matching.strata._coarsening import Bins, check_bins
from jcausal.matching.strata._predictive_errors import (
    ForetoldRows,
    PredictiveErrors,
    predictive_errors,
)
from jcausal.matching.strata._strata import Strata, strata_of, stratum_status
from jcausal.matching.strata._strata_words import few_matched
from jcausal.matching.strata._stratum_rules import ANY, rules_of
from jcausal.surfaces import Arms, OutcomeModel, ResponseSurface, check_model


class StopRules(NamedTuple):
    """When the search ends early.

    - `controls`, `treated`: once at most this share of an arm is unmatched.
    - `error`: before the predictive error exceeds that of all covariates by this share, or None.
    - `drops`: after so many drops, or None.
    """

    controls: float
    treated: float
    error: float | None
    drops: int | None


class AlmostExactSearch:
    """The state of one fold's search: which cells are unmatched, and the groups made so far."""

    def __init__(
        self, cells: CoarseCells, errors: PredictiveErrors, repeats: bool, stop: StopRules
    ) -> None:
        self.cells, self.errors, self.repeats, self.stop = cells, errors, repeats, stop
        self.unmatched = np.ones(cells.asked.size, bool)
        self.levels: list[Level] = []
        self.drops, self.stopped = 0, False
        every = np.ones(cells.codes.shape[1], bool)
        self.first_error = errors.of(every)
        self.match(every)

    def grouped(self, kept: Bool[np.ndarray, " c"]) -> Grouped:
        """Those who may be matched on the covariates kept: with repeats all, else the unmatched."""
        free = np.ones_like(self.unmatched) if self.repeats else self.unmatched
        return grouped(self.cells, kept, free)

    def match(self, kept: Bool[np.ndarray, " c"], found: Grouped | None = None) -> None:
        """Match on the covariates kept."""
        found = self.grouped(kept) if found is None else found
        level = level_of(self.cells, kept, found, self.unmatched)
        if level.groups:
            self.levels.append(level)
        self.unmatched[found.cells[found.both]] = False

    def left(self) -> Int[np.ndarray, " 2"]:
        """Controls and treated that are unmatched."""
        return self.cells.counts[self.unmatched].sum(0)

    @property
    def ends(self) -> bool:
        """Whether there is nothing left to do, or it is time to stop."""
        whole = self.cells.counts.sum(0)
        share = self.left() / np.maximum(whole, 1)
        nobody = not (self.unmatched & self.cells.asked).any()
        alone = not self.repeats and not self.left().all()
        enough = self.stop.controls and share[0] <= self.stop.controls
        enough = enough or (self.stop.treated and share[1] <= self.stop.treated)
        return bool(self.stopped or nobody or alone or enough or self.drops == self.stop.drops)

    def too_far(self, error: float) -> bool:
        """Whether a drop would raise the predictive error too much, which ends the search."""
        most = self.stop.error
        self.stopped = most is not None and error > (1 + most) * max(self.first_error, 1e-12)
        return self.stopped


class AlmostExactMatcher(Matcher):
    """A method that gives up covariates, least useful first, until units agree in the others."""

    bins: eqx.AbstractVar[Bins]
    repeats: eqx.AbstractVar[bool]
    penalty: eqx.AbstractVar[float | int]
    stop_controls: eqx.AbstractVar[float | int]
    stop_treated: eqx.AbstractVar[float | int]
    stop_error: eqx.AbstractVar[float | int | None]
    stop_drops: eqx.AbstractVar[int | None]
    outcome: eqx.AbstractVar[OutcomeModel | ResponseSurface | Callable]

    def __check_init__(self) -> None:
        check_bins(self.bins)
        check_model("outcome", self.outcome)
        if not self.penalty > 0:
            raise ValueError(f"penalty is {self.penalty}: it must be positive.")
        for name in ("stop_controls", "stop_treated"):
            if not 0 <= getattr(self, name) < 1:
                value = getattr(self, name)
                raise ValueError(f"{name} is {value}: it is a share, from 0 to below 1.")
        for name in ("stop_error", "stop_drops"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}: it must not be negative.")

    @abstractmethod
    def search(self, state: AlmostExactSearch, progress: Progress | None) -> None:
        """Match on fewer and fewer covariates; the state begins with exact matches."""

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """Both, whatever the estimand: the errors of both arms count."""
        return "both"

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def traceable(self) -> bool:
        """Never: cells are grouped on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Search inside each fold, guided by its surface.

        **Raises:** ValueError for points outside the sample, under jit, vmap or grad, and for a
        surface that lacks an arm; `DataError` for rules of columns that there are not.
        """
        self._check(task, surfaces)
        sample = task.sample
        prognosis = foretell(sample.plain(), task.fold, task.query, surfaces, adjusts=task.honest)
        columns = coarse_columns(sample, self.bins, "quantile")
        asked = np.zeros(sample.n, bool)
        asked[np.asarray(task.query)[np.asarray(task.asked)]] = True
        parts, broken = [], []
        for k, surface in enumerate(surfaces):
            rows = np.flatnonzero(np.asarray(task.fold) == k)
            cells = cells_of(sample, columns, rows, asked)
            foretold = _foretold(task, prognosis, surface, rows)
            if np.isnan(foretold.values).any():
                broken.append(k)
                continue
            errors = predictive_errors(cells, foretold, float(self.penalty))
            state = AlmostExactSearch(cells, errors, self.repeats, self._stop_rules())
            self.search(state, progress)
            parts.append((cells, state.levels))
        return _strata(task, columns, parts, broken, prognosis)

    def _stop_rules(self) -> StopRules:
        return StopRules(
            float(self.stop_controls), float(self.stop_treated), self.stop_error, self.stop_drops
        )

    def _check(self, task: Task, surfaces: Sequence[ResponseSurface]) -> None:
        """Refuse what the search cannot be run on."""
        name = type(self).__name__
        if is_traced(task, surfaces):
            raise ValueError(
                f"{name} runs on the host and cannot be used under jit, vmap or grad: match "
                "outside, or use jc.AHB."
            )
        if task.at is not None:
            raise ValueError(rows_only(name))
        if any(np.isnan(np.asarray(surface.noise)).any() for surface in surfaces):
            raise ValueError(
                f"{name} counts the errors of both arms, and the surface has one: fit it with "
                "arms='both'."
            )


def _foretold(
    task: Task, prognosis: Prognosis, surface: ResponseSurface, rows: Int[np.ndarray, " m"]
) -> ForetoldRows:
    """What the surface of a fold says of its rows, in float64."""
    sample = task.sample
    return ForetoldRows(
        values=np.asarray(prognosis.units, np.float64)[rows],
        noise=np.asarray(surface.noise, np.float64),
        treated=np.asarray(sample.t)[rows],
        weight=np.asarray(sample.weight, np.float64)[rows],
    )


Part = tuple[CoarseCells, list[Level]]


def _strata(
    task: Task,
    columns: list[CoarseColumn],
    parts: list[Part],
    broken: list[int],
    prognosis: Prognosis,
) -> Strata:
    """All levels of all folds as strata, numbered one after another."""
    n = task.sample.n
    place, rows, stratum, levels = np.full(n, -1), [], [], [np.zeros((0, len(columns)), int)]
    count = 0
    for cells, found in parts:
        for level in found:
            held = np.flatnonzero(level.group[cells.cell] >= 0)
            rows.append(cells.rows[held])
            stratum.append(level.group[cells.cell[held]] + count)
            own = level.served[cells.cell]
            place[cells.rows[own]] = level.group[cells.cell[own]] + count
            levels.append(_levels(cells, level))
            count += level.groups
    asked_for = np.concatenate(levels).astype(np.int32)
    query, asked = np.asarray(task.query), np.asarray(task.asked)
    place = np.where(asked, place[query], -1).astype(np.int32)
    status = stratum_status(np, place >= 0, asked)
    nan = asked & np.isin(np.asarray(task.query_fold), broken)
    status = np.where(nan, code(RESULTS.surface_nan), status)
    fields = strata_of(_joined(stratum), _joined(rows), count)
    return Strata(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        status=to_device(status),
        place=to_device(place),
        estimand=task.estimand,
        guide=rules_of(columns, asked_for, task.sample.schema),
        caution=_caution(task.sample.schema, columns, asked_for, place[asked]),
        prognosis=prognosis,
        **fields,
    )


def _joined(parts: list[Any]) -> Int[np.ndarray, " m"]:
    return np.concatenate(parts) if parts else np.zeros(0, int)


def _levels(cells: CoarseCells, level: Level) -> Int[np.ndarray, "k c"]:
    """What each group of a level asks of every covariate, -1 where it was given up."""
    held = np.flatnonzero(level.group >= 0)
    one = np.zeros(level.groups, int)
    one[level.group[held]] = held
    return np.where(level.kept, cells.codes[one], ANY)


def _caution(
    schema: Schema,
    columns: list[CoarseColumn],
    asked_for: Int[np.ndarray, "s c"],
    place: Int[np.ndarray, " q"],
) -> str:
    """In how many covariates queries agree with their groups, and which were given up most."""
    parts, matched = [few_matched(place >= 0)], place >= 0
    if matched.any():
        kept = asked_for[place[matched]] != ANY
        parts.insert(0, _agreement(schema, columns, kept))
    return "; ".join(part for part in parts if part)


def _agreement(schema: Schema, columns: list[CoarseColumn], kept: Bool[np.ndarray, "q c"]) -> str:
    share: Float[np.ndarray, " c"] = kept.mean(0)
    if share.min() == 1:
        return f"all matched queries agree with their groups in all {share.size} covariates"
    order = np.argsort(share, kind="stable")[:3]
    least = [f"{schema.names[columns[c].covariate]} {share[c]:.0%}" for c in order if share[c] < 1]
    return (
        f"queries agree with their groups in {share.sum():.1f} of {share.size} covariates on "
        f"average, {kept.all(1).mean():.0%} in all; least in {', '.join(least)}"
    )
