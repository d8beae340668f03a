"""Balance of the covariates before and after matching."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    FROM_FRAME,
    Sample,
    check_kind,
    covariate_of_columns,
    like,
    observed_means,
    readable_columns,
    to_device,
)
from jcausal.diagnostics._overlap import common_area, largest_gap
from jcausal.diagnostics._worth import worth
from jcausal.effects import Average, Effects, Population
from jcausal.matching import Matching, Prognosis, check_same_rows


class Moments(NamedTuple):
    """Weighted means and variances of every row of the table in one arm."""

    mean: Float[np.ndarray, " r"]
    variance: Float[np.ndarray, " r"]


class _Compared(NamedTuple):
    """What is compared: weights (n,) after, whom they stand for, and what a model foretells.

    `fold` (n,), -1 for rows that count nothing; `share`: of the queries that are matched.
    """

    after: Float[np.ndarray, " n"]
    estimand: Population
    fold: Int[Array, " n"]
    share: float
    prognosis: Prognosis | None
    effects: Effects | None


def balance(test: Sample, matching: Matching | Effects | Average) -> Any:
    """How alike the two arms are in each covariate, before and after matching.

    The standardised mean difference (SMD) is (mean treated - mean control) over a standard
    deviation of the UNADJUSTED sample: the treated's for ATT, the controls' for ATC, both pooled
    for ATE. A binary covariate, and each level of a category, shows the raw difference of shares.
    The variance ratio (VR, treated over control) is blank for them. A number with missing values
    is compared over the rows that have it, and the share "NAME missing" has its own row.

    Where an outcome model guided the matching (or adjusted the effects), the first row is its
    prediction, the prognostic score, which sums up the covariates by what they are worth for the
    outcome: without the treatment for ATT, with it for ATC, a row each for ATE.

    **Arguments:** `test` the sample that was matched; `matching`, or effects made from one, or the
    average of a weighting such as `jc.IPTW()`.

    **Returns:** a frame, one row a covariate (or level), of the kind that the sample was read from
    (the covariate is the index of a pandas frame, else the first column): means before and after,
    `smd_before`, `smd_after`, `ks_before`, `ks_after` (largest gap of the weighted distribution
    functions), `overlap_before`, `overlap_after` (area that the weighted densities share: 1 =
    equal),
    `vr_before`, `vr_after`; of effects with surfaces `worth`, how far predictions of the queries
    move when a covariate alone is as among their partners (what the difference left is worth, in
    outcome units); and `ok` where |SMD| < 0.1 and VR within 0.5 to 2. `attrs`, which pandas alone
    has, hold `estimand`, `share_matched` and the effective sample sizes by arm, before and after.

    **Raises:** ValueError for other objects, for an average that is no difference of weighted means
    (`jc.AIPW()`), and when the matching was made on other rows.

    **Source:** Stuart (2010); denominators as in MatchIt and cobalt; prognostic scores: Hansen
    (2008), Biometrika 95(2); Stuart, Lee and Leacy (2013), J Clin Epidemiol 66(8).

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> boxes = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> list(jc.balance(test, boxes).columns[-3:])
        ['vr_before', 'vr_after', 'ok']
    """
    check_kind(test, Sample, "balance", FROM_FRAME)
    weighted = isinstance(matching, Average)
    of = _of_average(test, matching) if weighted else _of_matching(test, matching)
    effects, after = of.effects, of.after
    labels, columns, shares = _columns(test, of)
    treated, valid = np.asarray(test.t), np.asarray(test.valid)
    before = np.where(valid, np.asarray(test.weight, np.float64), 0)
    raw = [_moments(columns, before * (treated == arm)) for arm in (False, True)]
    new = [_moments(columns, after * (treated == arm)) for arm in (False, True)]
    scale = _scale(raw, shares, of.estimand)
    frame = pd.DataFrame(
        dict(
            mean_treated=raw[1].mean,
            mean_control=raw[0].mean,
            mean_treated_matched=new[1].mean,
            mean_control_matched=new[0].mean,
            smd_before=(raw[1].mean - raw[0].mean) / scale,
            smd_after=(new[1].mean - new[0].mean) / scale,
            **_distances(columns, treated, before, after),
            vr_before=_ratio(raw, shares),
            vr_after=_ratio(new, shares),
        ),
        index=pd.Index(labels, name="covariate"),
    )
    if effects is not None and effects.surfaces:
        place = covariate_of_columns(test.schema)
        scores = len(labels) - len(place)
        frame["worth"] = np.r_[np.full(scores, np.nan), worth(effects, after)[place]]
    inside = frame["vr_after"].between(0.5, 2) | frame["vr_after"].isna()
    frame["ok"] = (frame["smd_after"].abs() < 0.1) & inside
    frame.attrs.update(
        estimand=of.estimand,
        share_matched=of.share,
        **{
            f"ess_{word}_{when}": effective_size(weights[treated == arm])
            for word, arm in (("control", False), ("treated", True))
            for when, weights in (("before", before), ("after", after))
        },
    )
    return like(test.home, frame)


def _of_matching(test: Sample, matching: Matching | Effects) -> _Compared:
    """The matched data's weights."""
    effects, mass = None, None
    if isinstance(matching, Effects):
        effects, mass = matching, to_device(np.asarray(matching.totals)[..., 0])
        prognosis, matching = matching.prognosis, matching.matching
    else:
        check_kind(matching, Matching, "balance", "pass what jc.match returns, or effects")
        prognosis = matching.prognosis
    check_same_rows(test, matching)
    after = np.asarray(matching.matched_weights(mass), np.float64)
    share = float(np.asarray(matching.matched)[np.asarray(matching.asked)].mean())
    return _Compared(after, matching.estimand, matching.fold, share, prognosis, effects)


def _of_average(test: Sample, average: Average) -> _Compared:
    """What each unit counts in the mean of its arm."""
    if average.unit_weight is None:
        raise ValueError(
            f"balance: {average.method} is no difference of two weighted means, so that no weights "
            "could be balanced; jc.overlap(sample) shows the arms."
        )
    if average.sample.n != test.n or not np.array_equal(average.sample.row, test.row):
        raise ValueError("the average was made on other rows than those given: pass its sample.")
    after = np.asarray(average.unit_weight, np.float64)
    return _Compared(after, average.estimand, average.fold, 1.0, None, None)


def _columns(
    test: Sample, of: _Compared
) -> tuple[list[str], Float[np.ndarray, "n r"], Bool[np.ndarray, " r"]]:
    """Rows of the table: prognostic scores, then covariates; and which rows are shares."""
    labels, columns, shares = readable_columns(test)
    if of.prognosis is None:
        return labels, columns, shares
    scores = np.asarray(of.prognosis.units, np.float64)
    use = np.asarray(test.valid) & (np.asarray(of.fold) >= 0)
    names = dict(att=(0,), atc=(1,), ate=(0, 1))[of.estimand]
    words = ("prognostic score, untreated", "prognostic score, treated")
    found = [a for a in names if np.isfinite(scores[use, a]).all()]
    score_labels = ["prognostic score"] if len(names) == 1 else [words[a] for a in found]
    picked = scores[:, found]
    return (
        score_labels[: len(found)] + list(labels),
        np.concatenate([picked, columns], axis=1),
        np.concatenate([np.zeros(len(found), bool), shares]),
    )


def _distances(
    columns: Float[np.ndarray, "n r"],
    treated: Bool[np.ndarray, " n"],
    before: Float[np.ndarray, " n"],
    after: Float[np.ndarray, " n"],
) -> dict[str, list[float]]:
    """KS and overlap of every row of the table, over the units whose value is known."""
    out: dict[str, list[float]] = {}
    for word, measure in (("ks", largest_gap), ("overlap", common_area)):
        for when, weight in (("before", before), ("after", after)):
            found = out.setdefault(f"{word}_{when}", [])
            for column in columns.T:
                use = (weight > 0) & ~np.isnan(column)
                found.append(measure(column[use], treated[use], weight[use]))
    return out


def effective_size(weights: Float[np.ndarray, " n"]) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted units say as much. 0 without weight."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0


def _moments(columns: Float[np.ndarray, "n r"], weight: Float[np.ndarray, " n"]) -> Moments:
    """Weighted mean, and variance sum w (x - m)^2 / (sum w - sum w^2 / sum w); NaN if undefined.

    That of equal values is 0, not what rounding leaves of it.
    """
    known = ~np.isnan(columns)
    total, squares = weight @ known, weight**2 @ known
    mean = observed_means(columns, weight)
    freedom = total - squares / np.where(total > 0, total, 1)
    spread = weight @ np.where(known, (columns - mean) ** 2, 0)
    able = freedom > 1e-12 * total
    counted = known & (weight > 0)[:, None]
    low, high = (np.where(counted, columns, far) for far in (np.inf, -np.inf))
    spread = np.where(low.min(0) < high.max(0), spread, 0)
    return Moments(mean, np.where(able, spread / np.where(able, freedom, 1), np.nan))


def _scale(raw: list[Moments], shares: np.ndarray, estimand: Population) -> np.ndarray:
    """The SMD's denominator: of the unadjusted sample, 1 for shares."""
    control, treated = raw[0].variance, raw[1].variance
    pooled = (treated + control) / 2
    chosen = dict(att=treated, atc=control, ate=pooled, ato=pooled)[estimand]
    return np.where(shares, 1.0, np.sqrt(np.where(chosen > 0, chosen, np.nan)))


def _ratio(arms: list[Moments], shares: np.ndarray) -> np.ndarray:
    """Treated over control; blank for shares and where the controls do not vary."""
    control, treated = arms[0].variance, arms[1].variance
    known = ~shares & (control > 0)
    return np.where(known, treated / np.where(known, control, 1), np.nan)
