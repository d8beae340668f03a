"""Effects in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jcausal.data import Sample, level_label, number_in_words, observed_means, readable_columns
from jcausal.match import sentence

if TYPE_CHECKING:
    from jaxtyping import Array

    from jcausal.estimate._effects import Effects


def summary(effects: Effects, interval: object = None) -> str:
    """The average, the share matched and why not, group sizes."""
    matched, asked = int(effects.matched.sum()), int(effects.matching.asked.sum())
    name = effects.estimand.upper()
    points = int((np.asarray(effects.matching.query) < 0).sum())
    if points:
        lines = [f"effects at {points} points (matched {matched} of {asked})"]
    else:
        value = number_in_words(float(effects.average)) if interval is None else str(interval)
        lines = [f"{name} (matched {matched} of {asked}): {value}"]
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
    return "\n".join(lines + surface_words(effects))


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


def effects_frame(effects: Effects) -> pd.DataFrame:
    """One row a query."""
    matching, asked = effects.matching, np.asarray(effects.matching.asked)
    query = np.asarray(matching.query)
    inside, treated = query >= 0, np.asarray(matching.query_treated)
    y = np.where(inside, np.asarray(effects.sample.y)[query], np.nan)
    columns = dict(
        id=[effects.sample.id[k] if k >= 0 else None for k in query],
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
    frame = pd.DataFrame(columns).loc[asked].reset_index(drop=True)
    frame.attrs.update(estimand=effects.estimand, share_matched=effects.share_matched)
    return frame


def group_labels(sample: Sample, by: str | np.ndarray | Array) -> np.ndarray | pd.Categorical:
    """A label a row from a covariate's name or an array; "missing" is the last group."""
    if not isinstance(by, str):
        labels = np.asarray(by)
        if labels.shape != (sample.n,):
            raise ValueError(f"by has shape {labels.shape}, the sample has {sample.n} rows.")
        return labels
    schema = sample.schema
    if by not in schema.names:
        raise ValueError(f"there is no covariate {by!r}: they are {', '.join(schema.names)}.")
    j = schema.names.index(by)
    values = sample.points[:, j]
    if schema.kinds[j] == "category":
        return np.array(schema.levels[j], object)[values.astype(int)]
    valid = np.asarray(sample.valid)
    gap = np.isnan(values)
    known = values[valid & ~gap]
    if len(np.unique(known)) <= 10:
        labels, order = values, [level_label(v) for v in np.unique(known)]
        words = [level_label(v) for v in values]
    else:
        edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
        cut = pd.Series(pd.cut(values, list(edges), include_lowest=True))
        labels = words = cut.astype(str).to_numpy()
        order = [str(interval) for interval in cut.cat.categories]
    if not gap.any():
        return labels
    return pd.Categorical(np.where(gap, "missing", words), categories=[*order, "missing"])


def cate_frame(effects: Effects, labels: np.ndarray | pd.Categorical) -> pd.DataFrame:
    """Mean effect of each group of queries."""
    query = np.asarray(effects.matching.query)
    use = np.asarray(effects.matching.asked) & (query >= 0)
    matched = np.asarray(effects.matched)[use]
    frame = pd.DataFrame(
        dict(
            group=labels[query[use]],
            matched=matched,
            weight=np.asarray(effects.matching.query_weight)[use] * matched,
            effect=np.where(matched, np.asarray(effects.ite)[use], 0),
        )
    )
    frame["total"] = frame["weight"] * frame["effect"]
    out = frame.groupby("group", dropna=False, observed=True).agg(
        queries=("matched", "size"),
        matched=("matched", "sum"),
        weight=("weight", "sum"),
        total=("total", "sum"),
    )
    out["effect"] = out["total"] / out["weight"].where(out["weight"] > 0)
    out.attrs.update(estimand=effects.estimand, share_matched=effects.share_matched)
    return out[["queries", "matched", "effect"]].reset_index()


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
