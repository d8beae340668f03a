"""Effects in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Int

from jcausal.data import (
    By,
    Sample,
    as_labels,
    check_one_way,
    ids_of,
    is_traced,
    level_label,
    named,
    number_in_words,
    observed_means,
    on_host,
    readable_columns,
    rows_in_words,
    to_device,
)
from jcausal.effects._notes import (
    adjustment_words,
    careful_words,
    drift_words,
    partner_words,
    second_words,
)
from jcausal.matching import RESULTS, Boxes, Leaves, Pairs, code, sentence

if TYPE_CHECKING:
    from jcausal.effects._effects import Effects


def summary(effects: Effects, interval: object = None) -> str:
    """The average, the share matched and why not, group sizes."""
    _check_interval(effects, interval)
    matched, asked = (
        int(np.asarray(effects.matched).sum()),
        int(np.asarray(effects.matching.asked).sum()),
    )
    name, error = _estimand_name(effects), _error(interval)
    points = int((np.asarray(effects.matching.query) < 0).sum())
    if points:
        lines = [f"effects at {points} points (matched {matched} of {asked})"]
    else:
        of_ratio = str(getattr(interval, "target", "")).endswith("ratio")
        plain = interval is None or of_ratio
        value = number_in_words(float(effects.average)) if plain else str(interval)
        lines = [f"{name} (matched {matched} of {asked}{partner_words(effects)}): {value}"]
        lines += [*second_words(effects, error), *adjustment_words(effects)]
        lines += risks(effects, str(interval) if of_ratio else None)
    if effects.partitions is not None:
        low, high = effects.partitions.spread
        count, shown = len(effects.partitions.average), effects.partitions.shown
        lines.append(
            f"over {count} partitions the {name} runs from {number_in_words(low)} to "
            f"{number_in_words(high)}; partition "
            f"{shown + 1}, the median, is shown"
        )
    status = np.asarray(effects.matching.status)[np.asarray(effects.matching.asked)]
    for value in np.unique(status):
        if sentence(value) != "matched":
            lines.append(f"unmatched {int((status == value).sum())}: {sentence(value)}")
    sizes = np.asarray(effects.sizes)[np.asarray(effects.matched)]
    for arm, word in enumerate(("controls", "treated")):
        if sizes.size:
            low, middle, high = np.percentile(sizes[:, arm], [10, 50, 90])
            lines.append(
                f"{word} in a group: median {middle:,.0f}, 10% to 90% {low:,.0f} to {high:,.0f}"
            )
    said = [*_proof(effects), *_regressions(effects), *_caution(effects)]
    known = [*drift_words(effects), *surface_words(effects)]
    return "\n".join([*lines, *said, *known, *careful_words(effects, error)])


def _estimand_name(effects: Effects) -> str:
    """ATT, ATC or ATE, and of whom where some were left out on purpose."""
    left = np.asarray(effects.matching.status) == int(code(RESULTS.outside_support))
    return effects.estimand.upper() + (" on common support" if left.any() else "")


def _check_interval(effects: Effects, interval: Any) -> None:
    """Only an interval of these effects' average, or risk ratio, stands in its place."""
    if interval is None:
        return
    if not (hasattr(interval, "target") and hasattr(interval, "estimate")):
        raise ValueError(
            f"interval is {named(interval)}: pass what jc.interval(effects, jc.AbadieImbens()) "
            "gives."
        )
    if np.ndim(interval.estimate):
        raise ValueError(
            f"interval holds {interval.estimate.shape[0]} estimates, of groups or single queries: "
            "print it by itself, and pass here one of the average."
        )
    ratio = str(interval.target).endswith("ratio")
    own = float(effects.risk_ratio if ratio else effects.average)
    told = float(interval.estimate)
    scale = abs(own) + np.nan_to_num(float(interval.error))
    if np.isfinite([own, told]).all() and abs(own - told) > 1e-3 * scale:
        raise ValueError(
            f"interval is of other effects: its estimate is {number_in_words(told)}, that of these "
            f"{number_in_words(own)}."
        )


def _error(interval: object) -> float:
    """The standard error of an interval of the average; NaN where there is none."""
    error = np.asarray(getattr(interval, "error", np.nan), float)
    of_average = str(getattr(interval, "target", "")).endswith("average")
    return float(error) if of_average and error.ndim == 0 else float("nan")


def _caution(effects: Effects) -> list[str]:
    """What a reader must know of how the pairs were made."""
    matching = effects.matching
    return [matching.caution] if isinstance(matching, Pairs) and matching.caution else []


def _proof(effects: Effects) -> list[str]:
    """How many boxes are shown to be the best, of those that were searched for."""
    matching = effects.matching
    if not isinstance(matching, Boxes) or matching.proof is None:
        return []
    matched = np.asarray(effects.matched)
    proven, gap = matching.proven[matched], matching.gap[matched]
    words = f"boxes shown to be the best: {proven.sum():,} of {proven.size:,}"
    if not proven.all():
        words += f" (the others are within {number_in_words(float(gap.max()))} of it)"
    left_out = matching.proof.left_out[matched]
    if left_out.any():
        words += f"; {left_out.min():,} to {left_out.max():,} units were not looked at for each"
    return [words]


def _regressions(effects: Effects) -> list[str]:
    """What is to be known of effects from the regressions of leaves."""
    leaves = effects.matching
    if not isinstance(leaves, Leaves):
        return []
    lines, matched = [], int(np.asarray(leaves.matched).sum())
    beyond = int(np.asarray(leaves.extrapolated).sum())
    if beyond:
        lines.append(
            f"extrapolated {beyond} of {matched}: outside their leaf's controls in a feature"
        )
    if not leaves.honest:
        lines.append("not honest: tree and effects use the same control outcomes")
    return lines


def arm_r2(effects: Effects) -> dict[str, float]:
    """Mean out-of-sample R2 over the folds of each arm that was fitted, NaN where it is unknown."""
    fitted = [~np.isnan(np.asarray(surface.noise)) for surface in effects.surfaces]
    arms = np.all(fitted, axis=0) if fitted else [False, False]
    means = np.asarray(effects.r2, float).mean(0) if fitted else np.full(2, np.nan)
    return {word: float(means[a]) for a, word in enumerate(("controls", "treated")) if arms[a]}


def surface_words(effects: Effects) -> list[str]:
    """One line on how well the surfaces foretell outcomes they have not seen; none without any."""
    arms = [f"{word} {share_in_words(value)}" for word, value in arm_r2(effects).items()]
    folds = len(effects.surfaces)
    over = f" (means over {folds} folds)" if folds > 1 else ""
    return [f"surface, out of sample R2: {', '.join(arms)}{over}"] if arms else []


def share_in_words(value: float) -> str:
    """Two decimals without a leading zero; "unknown" for NaN."""
    if np.isnan(value):
        return "unknown"
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"-{text}" if value < 0 else text


def poor_fit(effects: Effects) -> list[str]:
    """One sentence for each arm whose trained surfaces explain nothing out of sample."""
    names = {type(surface).__name__.removesuffix("Surface") for surface in effects.surfaces}
    return [
        f"the {' and '.join(sorted(names))} surface of the {word} explains nothing out of sample "
        f"(R2 {share_in_words(value)}): the groups follow noise; add covariates that foretell the "
        "outcome, give more rows, or try another outcome model."
        for word, value in arm_r2(effects).items()
        if value <= 0
    ]


def risks(effects: Effects, ratio: str | None) -> list[str]:
    """Both risks, their difference and ratio when outcomes are 0 or 1; else nothing."""
    if not bool(effects.binary) or not np.asarray(effects.matched).any():
        return []
    low, high = float(effects.risk0), float(effects.risk1)
    difference = number_in_words(float(effects.risk_difference))
    if ratio is None:
        ratio = number_in_words(high / low) if low > 0 else "none, since the first is 0"
    return [
        f"risk {number_in_words(low)} without treatment, {number_in_words(high)} with: "
        f"difference {difference}, ratio {ratio}"
    ]


def check_binary(effects: Effects) -> None:
    """Refuse outcomes that are no risks, on concrete arrays."""
    y, valid = effects.sample.y, effects.sample.valid
    if is_traced(y, valid):
        return
    values = np.asarray(y)
    rows = np.flatnonzero(np.asarray(valid) & (values != 0) & (values != 1))
    if rows.size:
        raise ValueError(
            f"risks are of outcomes that are 0 or 1, and {rows.size} of {int(valid.sum())} are "
            f"others ({rows_in_words(rows)}): recode the outcome, or use the average effect."
        )


def effects_frame(effects: Effects) -> pd.DataFrame:
    """One row a query."""
    matching, asked = effects.matching, np.asarray(effects.matching.asked)
    query = np.asarray(matching.query)
    inside, treated = query >= 0, np.asarray(matching.query_treated)
    y = np.where(inside, np.asarray(effects.sample.y)[query], np.nan)
    columns = dict(
        id=ids_of(effects.sample, query),
        treated=[bool(arm) if k >= 0 else None for k, arm in zip(query, treated)],
        fold=np.asarray(matching.query_fold),
        y=y,
        y0=np.asarray(effects.y0),
        y1=np.asarray(effects.y1),
        effect=np.asarray(effects.ite),
        n_control=np.asarray(effects.n_control),
        n_treated=np.asarray(effects.n_treated),
        matched=np.asarray(effects.matched),
        reason=[sentence(s) for s in np.asarray(matching.status)],
    )
    if effects.prognosis is not None:
        columns["drift"] = np.asarray(effects.drift)
    if isinstance(matching, Leaves):
        columns |= dict(
            leaf=np.asarray(matching.leaf)[query], extrapolated=np.asarray(matching.extrapolated)
        )
    frame = pd.DataFrame(columns).loc[asked].reset_index(drop=True)
    frame.attrs.update(estimand=effects.estimand, share_matched=effects.share_matched)
    return frame


def group_labels(sample: Sample, by: By) -> np.ndarray | pd.Categorical:
    """A label a row from a covariate's name or an array; "missing" is the last group.

    **Raises:** `DataError` for a pandas object with other labels than the sample's; ValueError for
    an unknown name or a wrong length.
    """
    if not isinstance(by, str):
        labels = as_labels("by", sample.beside("by", by))
        if labels.shape != (sample.n,):
            raise ValueError(f"by has shape {labels.shape}, the sample has {sample.n} rows.")
        return labels
    schema = sample.schema
    if by not in schema.names:
        raise ValueError(
            f"there is no covariate {by!r}: they are {', '.join(schema.names)}; labels of the rows "
            f"(n,), such as frame[{by!r}] of the frame that was read, are taken too."
        )
    j = schema.names.index(by)
    values = sample.points[:, j]
    if schema.kinds[j] == "category":
        return pd.Categorical.from_codes(values.astype(int), schema.levels[j])
    valid = np.asarray(sample.valid)
    gap = np.isnan(values)
    known = values[valid & ~gap]
    if len(np.unique(known)) <= 10:
        if not gap.any():
            return values
        order, words = [level_label(v) for v in np.unique(known)], [level_label(v) for v in values]
    else:
        edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
        cut = pd.Series(pd.cut(values, list(edges), include_lowest=True))
        order, words = [str(part) for part in cut.cat.categories], cut.astype(str).to_numpy()
    return pd.Categorical(np.where(gap, "missing", words), categories=[*order, "missing"])


def group_codes(effects: Effects, by: By) -> tuple[Int[Array, " q"], tuple[object, ...]]:
    """The group of each query by its place among the labels in order; -1 beyond the queries asked.

    On concrete arrays only labels of queries count; under tracing those of all rows, which must
    be concrete.

    **Raises:** ValueError for an unknown name, a wrong length, or queries that are points.
    """
    matching = effects.matching
    if is_traced(by) or (isinstance(by, str) and is_traced(effects.sample)):
        raise ValueError("by= needs concrete labels under jit and vmap: pass an array (n,).")
    row_code, labels = factorized(group_labels(effects.sample, by))
    codes = _codes_of(matching.asked, matching.query, to_device(row_code.astype(np.int32)))
    if not is_traced(codes):
        host = np.array(codes)
        present, place = np.unique(host[host >= 0], return_inverse=True)
        if not present.size:
            raise ValueError("by= groups units of the sample, and every query is a point.")
        host[host >= 0] = place
        codes, labels = to_device(host), labels[present]
    return codes, tuple(labels.tolist())


def factorized(labels: np.ndarray | pd.Categorical | pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Each row's place among the distinct labels, and these in their order, a missing one last.

    **Raises:** `DataError` for labels that may be one, such as 1 and "1", or True and 1.
    """
    series = pd.Series(labels)
    try:
        code, found = pd.factorize(series, sort=True)
    except TypeError:  # tuples beside words or numbers: in the order in which they come
        code, found = pd.factorize(series)
    distinct, missing = found.tolist(), code < 0
    if series.dtype == object:
        check_one_way("by", series.to_numpy(), code, distinct)
    if missing.any():
        code, distinct = np.where(missing, len(distinct), code), [*distinct, np.nan]
    return code, pd.Index(distinct, dtype=object, tupleize_cols=False)


@on_host
def _codes_of(
    lib: Any, asked: Bool[Array, " q"], query: Int[Array, " q"], code: Int[Array, " n"]
) -> Int[Array, " q"]:
    return lib.where(asked & (query >= 0), code[query], -1)


def cate_frame(effects: Effects, by: By) -> pd.DataFrame:
    """Mean effect of each group of queries."""
    codes, labels = group_codes(effects, by)
    use = np.asarray(codes) >= 0
    matched = np.asarray(effects.matched)[use]
    frame = pd.DataFrame(
        dict(
            code=np.asarray(codes)[use],
            matched=matched,
            weight=np.asarray(effects.matching.query_weight)[use] * matched,
            effect=np.where(matched, np.asarray(effects.ite)[use], 0),
        )
    )
    frame["total"] = frame["weight"] * frame["effect"]
    out = frame.groupby("code").agg(
        queries=("matched", "size"),
        matched=("matched", "sum"),
        weight=("weight", "sum"),
        total=("total", "sum"),
    )
    out["effect"] = out["total"] / out["weight"].where(out["weight"] > 0)
    out.attrs.update(estimand=effects.estimand, share_matched=effects.share_matched)
    out.insert(0, "group", [labels[code] for code in out.index])
    return out.reset_index(drop=True).drop(columns=["weight", "total"])


def kept_and_dropped(effects: Effects) -> pd.DataFrame:
    """Covariate means of matched and unmatched queries."""
    matching = effects.matching
    query, matched = np.asarray(matching.query), np.asarray(effects.matched)
    asked = np.asarray(matching.asked) & (query >= 0)
    weight = np.asarray(matching.query_weight)
    labels, values, _ = readable_columns(effects.sample)
    columns: dict[str, list[float]] = {}
    for word, use in (("kept", asked & matched), ("dropped", asked & ~matched)):
        rows, w = query[use], weight[use]
        columns[word] = [float(len(rows)), *observed_means(values[rows], w)]
    return pd.DataFrame(columns, index=pd.Index(["queries", *labels], name="covariate"))
