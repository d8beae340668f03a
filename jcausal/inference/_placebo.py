"""Placebos: the same method where nothing happened, on other units or at earlier times."""

import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import (
    Shown,
    as_key,
    check_count,
    check_kind,
    check_share,
    label_in_words,
    like,
    number_in_words,
    step_key,
    to_device,
)
from jcausal.inference._interval import About, Interval, normal_interval
from jcausal.inference._panel import run_again
from jcausal.panels import Completion, Panel, check_pattern

Over = Literal["units", "times"]
Statistic = Literal["effect", "ratio"]
Pool = Literal["untreated", "all"]


class Placebos(Shown, eqx.Module):
    """Estimates where nothing happened, beside the one that they are to be compared with.

    `own`, and `placebo` (k,), are mean effects on the (pretended) treated cells; `own_gap` (m,) and
    `gap` (k, m) the mean gap of the treated units by time, NaN at times that a placebo does not
    have; `own_ratio`, `ratio` (k,): root mean squared gap of these units on their treated cells
    over that on their untreated ones. `label` (k,) says what each placebo was.
    """

    found: Completion
    own: Float[Array, ""]
    placebo: Float[Array, " k"]
    own_gap: Float[Array, " m"]
    gap: Float[Array, "k m"]
    own_ratio: Float[Array, ""]
    ratio: Float[Array, " k"]
    label: tuple[str, ...] = eqx.field(static=True)
    over: Over = eqx.field(static=True)

    def p_value(self, statistic: Statistic = "effect") -> float:
        """(1 + placebos at least as large) / (1 + placebos), by |effect| or by the ratio of gaps.

        Over units the p-value of a permutation test that the effect is 0 for every unit and time;
        its least value is 1 / (1 + k). With one treated unit and pool="all" it is exact if any unit
        was as likely as another to be treated; with pool="untreated" placebos have one donor fewer
        than the real run, and small panels reject too often. Over times only a share: the same
        unit's placebos depend on each other. A placebo without an estimate does not count.

        **Raises:** ValueError for another statistic.
        """
        if statistic not in ("effect", "ratio"):
            raise ValueError(f"statistic is {statistic!r}: use 'effect' or 'ratio'.")
        if statistic == "ratio":
            return _rank(np.asarray(self.ratio), float(self.own_ratio))
        return _rank(np.abs(np.asarray(self.placebo)), abs(float(self.own)))

    @property
    def p_by_time(self) -> Float[np.ndarray, " m"]:
        """The same by |gap| at each time, among placebos that have it; NaN where own has none."""
        own, gap = np.abs(np.asarray(self.own_gap)), np.abs(np.asarray(self.gap))
        return np.array([_rank(gap[:, j], own[j]) for j in range(own.size)])

    @property
    def std_error(self) -> float:
        """Standard deviation of the placebos: what noise alone does to the estimate.

        With pool="all" the treated units' effect is in it, through the donors.
        """
        known = np.asarray(self.placebo)[np.isfinite(np.asarray(self.placebo))]
        return float(known.std(ddof=1)) if known.size > 1 else float("nan")

    def interval(self, *, level: float = 0.95) -> Interval:
        """Normal bounds of the average over treated cells with the placebos' error.

        It takes the treated units' noise to be like the others'.

        **Raises:** ValueError for a level outside (0, 1).

        **Source:** Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), American Economic
        Review 111(12), algorithm 4.
        """
        level = check_share("level", level)
        variance = to_device(np.asarray(self.std_error**2, self.own.dtype))
        words = f"{self._count_words} over {self.over}"
        none = to_device(np.zeros((), bool))
        about = About(level, "average over treated cells", words, "fewer than two placebos")
        found = normal_interval(self.own, variance, none, about)
        return dataclasses.replace(found, home=self.found.panel.home)

    def to_frame(self) -> Any:
        """One row a placebo, the real one first: label, effect, ratio, real."""
        return like(self.found.panel.home, self._shown())

    def _shown(self) -> pd.DataFrame:
        columns = {
            "label": ["the treated", *self.label],
            "effect": np.concatenate([[self.own], self.placebo]),
            "ratio": np.concatenate([[self.own_ratio], self.ratio]),
            "real": np.arange(len(self.label) + 1) == 0,
        }
        return pd.DataFrame(columns)

    @property
    def _single(self) -> bool:
        return self.own.ndim == 0

    @property
    def _count_words(self) -> str:
        lost = int(np.isnan(np.asarray(self.placebo)).sum())
        return f"{len(self.label)} placebos" + (f" ({lost} without an estimate)" if lost else "")

    def _said(self) -> str:
        """In one line."""
        effect = number_in_words(float(self.own))
        return (
            f"effect {effect}; {self._count_words} over {self.over} with standard deviation "
            f"{number_in_words(self.std_error)}; p {self.p_value():.3g} by effect, "
            f"{self.p_value('ratio'):.3g} by ratio of gaps"
        )


def _rank(values: Float[np.ndarray, " k"], own: float) -> float:
    known = values[~np.isnan(values)]
    if np.isnan(own) or not known.size:
        return float("nan")
    return float((1 + (known >= own).sum()) / (1 + known.size))


def placebo(
    found: Completion,
    *,
    over: Over = "units",
    draws: int = 200,
    pool: Pool = "untreated",
    key: PRNGKeyArray | Array | int | None = None,
) -> Placebos:
    """Run the same method where nothing happened, for panels with one or few treated units.

    **Arguments:**

    - `over`: "units": never treated units take the treated units' rows of the treatment: each of
      them in turn if one unit is treated, else random sets of as many.
      "times": the times from the first treatment on are left out, and the treated units are taken
      as treated from an earlier time on, each of the later half of those left in turn (absorbing
      treatment only).
    - `draws`: random sets of units; `key` for them, and for methods that draw.
    - `pool`, over units: "untreated" (default) leaves the treated units out of the placebos'
      panels, as the error and the interval ask for; "all" keeps them as if untreated, as an exact
      permutation test asks for.

    **Returns:** `Placebos` with p-values, a frame and an interval.

    **Raises:** ValueError when too few units are never treated, or too few times come before.

    **Warns:** `CompletionWarning` with the number of placebos that did not converge.

    **Source:** Abadie, Diamond and Hainmueller (2010), JASA 105(490), who keep California in the
    pool, and (2015), American Journal of Political Science 59(2).

    **Example:**

        >>> import jcausal as jc, numpy as np
        >>> y = np.random.default_rng(0).normal(size=(12, 10))
        >>> d = np.zeros((12, 10)); d[3, 7:] = 1
        >>> found = jc.complete(jc.Panel(y + 9 * d, d), jc.TwoWayFixedEffects())
        >>> round(jc.placebo(found).p_value(), 4)
        0.0833
    """
    check_kind(found, Completion, "placebo", "pass what jc.complete returns")
    if over not in ("units", "times"):
        raise ValueError(f"over is {over!r}: use 'units' or 'times'.")
    if pool not in ("untreated", "all"):
        raise ValueError(f"pool is {pool!r}: use 'untreated' or 'all'.")
    draws = check_count("draws", draws)
    step = None if key is None else step_key(as_key(key, "placebo"), "plac")
    if over == "units":
        plans = _over_units(found.panel, draws, pool, step)
    else:
        plans = _over_times(found.panel)
    check_pattern(plans[0].panel, found.completer)
    runs = run_again(found, (plan.panel for plan in plans), step)
    effect, gap, ratio = (
        to_device(np.stack(part))
        for part in zip(*(_measures(again, found.panel.m) for again in runs))
    )
    own = _measures(found, found.panel.m)
    label = tuple(plan.label for plan in plans)
    return Placebos(found, own[0], effect, own[1], gap, own[2], ratio, label, over)


class _Plan(NamedTuple):
    """A panel with a treatment that did not happen."""

    panel: Panel
    label: str


def _measures(found: Completion, m: int) -> tuple[Array, Array, Array]:
    """Mean effect on treated cells, mean gap of the treated units by time (m,), ratio of gaps."""
    panel, gap = found.panel, np.asarray(found.gap, float)
    treated = np.asarray(panel.treated)
    ever = np.any(treated, axis=1, keepdims=True) & np.isfinite(gap)
    by_time = np.full(m, np.nan)
    by_time[: panel.m] = found.treated_gap

    def size(use: np.ndarray) -> float:
        return float(np.sqrt((gap[use] ** 2).mean())) if use.any() else float("nan")

    before = size(ever & ~treated)
    ratio = size(ever & treated) / before if before > 0 else float("inf")
    dtype = found.y0.dtype
    return found.att, to_device(by_time.astype(dtype)), to_device(np.asarray(ratio, dtype))


def _over_units(panel: Panel, draws: int, pool: Pool, key: PRNGKeyArray | None) -> list[_Plan]:
    """Never treated units under the treated units' rows of the treatment."""
    d = np.asarray(panel.treated)
    treated, never = np.flatnonzero(d.any(1)), np.flatnonzero(~d.any(1))
    if never.size < treated.size + 2:
        raise ValueError(
            f"{never.size} of {panel.n} units are never treated, and a placebo treats "
            f"{treated.size} of them: at least 2 must be left."
        )
    kept = never if pool == "untreated" else np.arange(panel.n)
    rest = panel.take(kept)
    sets: Int[np.ndarray, "b k"] = np.arange(never.size)[:, None]
    if treated.size > 1:
        key = as_key(key, f"a placebo of {treated.size} treated units")
        sets = np.asarray(_orders(key, draws, never.size))[:, : treated.size]
    plans = []
    for chosen in sets:
        pretended = np.zeros((kept.size, panel.m), bool)
        pretended[np.searchsorted(kept, never[chosen])] = d[treated]
        label = ", ".join(map(label_in_words, panel.unit[never][chosen]))
        plans.append(_Plan(rest.with_treatment(pretended), label))
    return plans


@partial(jax.jit, static_argnames=("draws", "units"))
def _orders(key: PRNGKeyArray, draws: int, units: int) -> Int[Array, "b u"]:
    """Units in random orders."""
    keys = jax.random.split(jax.random.fold_in(key, 1), draws)
    return jax.vmap(lambda k: jax.random.permutation(k, units))(keys)


def _over_times(panel: Panel) -> list[_Plan]:
    """The times before any treatment, with treatment from each of the later half on."""
    facts = panel.assignment
    if not facts.absorbing:
        raise ValueError(
            f"placebos over times need a treatment that, once begun, stays ({facts.words})."
        )
    before = int(facts.start.min())
    if before < 4:
        raise ValueError(f"{before} times come before any treatment: at least 4 are needed.")
    ever = facts.start < panel.m
    rest = panel.take_times(np.arange(before))
    plans = []
    for start in range((before + 1) // 2, before):
        pretended = ever[:, None] & (np.arange(before) >= start)
        plans.append(
            _Plan(rest.with_treatment(pretended), f"from {label_in_words(panel.time[start])}")
        )
    return plans
