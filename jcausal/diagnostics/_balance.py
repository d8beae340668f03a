"""Balance of the covariates before and after matching."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from jcausal.data import (
    FROM_FRAME,
    By,
    Sample,
    check_kind,
    check_number,
    covariate_of_columns,
    like,
)
from jcausal.diagnostics._compared import (
    Compared,
    Weighed,
    compared,
    effective_size,
    sampling_weights,
)
from jcausal.diagnostics._groups_of_units import UnitGroups, groups_of_units
from jcausal.diagnostics._statistics import USUAL, Statistic, WeightedColumn, chosen, smd
from jcausal.diagnostics._terms import Term, covariate_terms, score_terms
from jcausal.diagnostics._worth import worth
from jcausal.effects import Population

VARIANCES = (0.5, 2)  # ratios within which variances count as alike


def balance(
    test: Sample,
    matching: Weighed | Mapping[str, Weighed],
    *,
    statistics: Sequence[str | Statistic] = USUAL,
    squares: bool = False,
    interactions: bool = False,
    binary: Literal["raw", "std"] = "raw",
    by: By | None = None,
    threshold: float = 0.1,
) -> Any:
    """How alike the two arms are in each covariate, before and after matching.

    The standardised mean difference (SMD) is (mean treated - mean control) over a standard
    deviation of the UNADJUSTED sample: the treated's for ATT, the controls' for ATC, both pooled
    for ATE. A binary covariate, and each level of a category, shows the raw difference of shares.
    The variance ratio (VR, treated over control) is blank for them. A number with missing values
    is compared over the rows that have it, and the share "NAME missing" has its own row.

    Where an outcome model guided the matching (or adjusted the effects), the first row is its
    prediction, the prognostic score, which sums up the covariates by what they are worth for the
    outcome: without the treatment for ATT, with it for ATC, a row each for ATE.

    **Arguments:**

    - `test`: the sample that was matched.
    - `matching`, or effects made from one, or the average of a weighting such as `jc.IPTW()`; or
      several of them by name, {"1-NN": ..., "weights": ...}.
    - `statistics`: words and functions. "smd"; "vr"; "ks", the largest gap of the weighted
      distribution functions (MatchIt's eCDF max); "ecdf_mean", their mean gap; "overlap", the area
      that the weighted densities share (1 = equal). A function of a
      `jc.diagnostics.WeightedColumn` makes columns that bear its name.
    - `squares`, `interactions`: rows of numbers squared, and of products of two covariates.
    - `binary`: "std" divides differences of shares by sqrt(p (1 - p)), as MatchIt does.
    - `by`: a table for each group of units: "cluster"; "stratum" or "leaf" of a matching that has
      them; a covariate's name, or labels (n,), as in `Effects.cate`. Denominators are those of the
      whole sample.
    - `threshold`: |SMD| below which `ok` holds.

    **Returns:** a frame, one row a covariate (or level), of the kind that the sample was read from
    (the covariate is the index of a pandas frame, else the first column): means before and after,
    each statistic as `smd_before`, `smd_after`, ...; of effects with surfaces `worth`, how far
    predictions of the queries move when a covariate alone is as among their partners (what the
    difference left is worth, in outcome units); and `ok` where |SMD| and, of numbers, VR within
    0.5 to 2 hold. Of several matchings, or by groups, the rows stand below each other, and the
    first columns are `method`, `group`, `covariate`. `attrs` of one table, which pandas alone has,
    hold `estimand`, `share_matched` and the effective sample sizes by arm, before and after; all
    of these are a frame in `jc.diagnostics.sample_sizes`.

    **Raises:** ValueError for other objects, for an average that is no difference of weighted means
    (`jc.AIPW()`), for an unknown statistic or group, and when the matching was made on other rows.

    **Source:** Stuart (2010); denominators as in MatchIt and cobalt; prognostic scores: Hansen
    (2008), Biometrika 95(2); Stuart, Lee and Leacy (2013), J Clin Epidemiol 66(8).

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> boxes = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> list(jc.balance(test, boxes).columns[-3:])
        ['vr_before', 'vr_after', 'ok']
        >>> pairs = jc.match(test, jc.NearestNeighbors())
        >>> both = jc.balance(test, {"boxes": boxes, "pairs": pairs}, statistics=["smd"])
        >>> both.groupby("method")["smd_after"].size().tolist()
        [9, 8]
    """
    check_kind(test, Sample, "balance", FROM_FRAME)
    if binary not in ("raw", "std"):
        raise ValueError(f"binary is {binary!r}: use 'raw' or 'std'.")
    if not check_number("threshold", threshold) > 0:
        raise ValueError(f"threshold is {threshold}: it must be above 0.")
    of = compared(test, matching)
    groups = [groups_of_units(test, one.matching, by) for one in of]
    measures = _Measures(
        np.asarray(test.t), sampling_weights(test), chosen(statistics), binary, threshold
    )
    tables = [measures.rows(score_terms(test, one), [one], [g])[0] for one, g in zip(of, groups)]
    shared = measures.rows(covariate_terms(test, squares, interactions), of, groups)
    frames = [
        _with_worth(test, one, pd.DataFrame(first + rest), by is None)
        for one, first, rest in zip(of, tables, shared)
    ]
    return like(test.home, _laid_out(test, of, frames, isinstance(matching, Mapping), by))


class _Measures(NamedTuple):
    """What is measured of every row: arms and sampling weights (n,), statistics, marks."""

    treated: Bool[np.ndarray, " n"]
    before: Float[np.ndarray, " n"]
    statistics: dict[str, Statistic]
    binary: str
    threshold: float

    def rows(
        self, terms: Iterable[Term], of: Sequence[Compared], groups: Sequence[UnitGroups]
    ) -> list[list[dict[str, Any]]]:
        """The rows of each matching, one a term and group; each term is sorted once."""
        found: list[list[dict[str, Any]]] = [[] for _ in of]
        counts = np.any([self.before > 0, *(one.after != 0 for one in of)], axis=0)
        for term in terms:
            held = np.flatnonzero(counts & ~np.isnan(term.values))
            scales: dict[Population, float] = {}
            sorted_by: dict[int, list[tuple[Any, Int[np.ndarray, " m"]]]] = {}
            for rows, one, by in zip(found, of, groups):
                if one.estimand not in scales:
                    scales[one.estimand] = self._scale(term, held, one.estimand)
                if id(by.code) not in sorted_by:
                    sorted_by[id(by.code)] = _in_order(term.values, by, held)
                for label, part in sorted_by[id(by.code)]:
                    row = self._row(term, part, one.after, scales[one.estimand])
                    rows.append(dict(group=label, covariate=term.label) | row)
        return found

    def _scale(self, term: Term, held: Int[np.ndarray, " m"], estimand: Population) -> float:
        """The SMD's denominator: of the unadjusted sample, 1 for shares unless they are asked."""
        if term.share and self.binary == "raw":
            return 1.0
        values = term.values[held]
        order = np.argsort(values, kind="stable")
        rows = held[order]
        whole = WeightedColumn(values[order], self.treated[rows], self.before[rows], 1, term.share)
        zero, one = whole.variances
        if term.share:
            zero, one = (p * (1 - p) for p in whole.means)
        square = dict(att=one, atc=zero, ate=(zero + one) / 2, ato=(zero + one) / 2)[estimand]
        return float(np.sqrt(square)) if square > 0 else float("nan")

    def _row(
        self,
        term: Term,
        rows: Int[np.ndarray, " m"],
        after: Float[np.ndarray, " n"],
        scale: float,
    ) -> dict[str, Any]:
        values, treated = term.values[rows], self.treated[rows]
        columns = [
            WeightedColumn(values, treated, weight[rows], scale, term.share)
            for weight in (self.before, after)
        ]
        names = ("mean_control{}", "mean_treated{}")
        told = {
            name.format(end): mean
            for column, end in zip(columns, ("", "_matched"))
            for name, mean in reversed(list(zip(names, column.means)))
        }
        for name, statistic in self.statistics.items():
            for column, when in zip(columns, ("before", "after")):
                told[f"{name}_{when}"] = float(statistic(column))
        return told | self._mark(columns[1])

    def _mark(self, after: WeightedColumn) -> dict[str, bool]:
        """Whether the means, and the variances where they were asked for, are alike."""
        if "smd" not in self.statistics:
            return {}
        low, high = VARIANCES
        ratio = self.statistics["vr"](after) if "vr" in self.statistics else np.nan
        inside = np.isnan(ratio) or low <= ratio <= high
        return dict(ok=bool(abs(smd(after)) < self.threshold and inside))


def _in_order(
    values: Float[np.ndarray, " n"], by: UnitGroups, held: Int[np.ndarray, " m"]
) -> list[tuple[Any, Int[np.ndarray, " k"]]]:
    """The groups' labels with their rows by value."""
    code = by.code[held]
    inside = held[code >= 0]
    code = by.code[inside]
    several = len(by.label) > 1
    keys = (values[inside], code) if several else (values[inside],)
    rows = inside[np.lexsort(keys)]
    ends = np.searchsorted(by.code[rows], np.arange(len(by.label) + 1))
    return [(label, rows[a:b]) for label, a, b in zip(by.label, ends[:-1], ends[1:])]


def _with_worth(test: Sample, of: Compared, frame: pd.DataFrame, whole: bool) -> pd.DataFrame:
    """With what differences left are worth, by effects that have surfaces."""
    effects = of.effects
    if effects is None or not effects.surfaces or not whole:
        return frame
    place = covariate_of_columns(test.schema)
    scores = len(score_terms(test, of))
    found = np.full(len(frame), np.nan)
    found[scores : scores + len(place)] = worth(effects, of.after)[place]
    at = frame.columns.get_loc("ok") if "ok" in frame else len(frame.columns)
    frame.insert(int(at), "worth", found)  # type: ignore[arg-type]
    return frame


def _laid_out(
    test: Sample,
    of: Sequence[Compared],
    frames: Sequence[pd.DataFrame],
    several: bool,
    by: By | None,
) -> pd.DataFrame:
    """One frame of all tables; of a single one the covariate is the index."""
    if not several and by is None:
        frame = frames[0].drop(columns="group").set_index("covariate")
        frame.attrs.update(estimand=of[0].estimand, share_matched=of[0].share)
        frame.attrs.update(_sizes(test, of[0]))
        return frame
    if several:
        for one, frame in zip(of, frames):
            frame.insert(0, "method", one.name)
    table: Any = pd.concat(frames, ignore_index=True)
    if "ok" in table:
        table = table[[*table.columns.drop("ok"), "ok"]]
    return table.drop(columns="group") if by is None else table


def _sizes(test: Sample, of: Compared) -> dict[str, float]:
    treated, before = np.asarray(test.t), sampling_weights(test)
    return {
        f"ess_{word}_{when}": effective_size(weights[treated == arm])
        for word, arm in (("control", False), ("treated", True))
        for when, weights in (("before", before), ("after", of.after))
    }
