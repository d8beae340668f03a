"""Effects as frames."""

import numpy as np
import pandas as pd

from jcausal.data import By, ids_of, observed_means, readable_columns
from jcausal.effects._group_effects import EffectsOfGroups
from jcausal.effects._group_labels import group_codes
from jcausal.matching import sentence


def effects_frame(effects: EffectsOfGroups) -> pd.DataFrame:
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
    columns |= matching.columns()
    frame = pd.DataFrame(columns).loc[asked].reset_index(drop=True)
    frame.attrs.update(estimand=effects.estimand, share_matched=effects.share_matched)
    return frame


def cate_frame(effects: EffectsOfGroups, by: By) -> pd.DataFrame:
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


def kept_and_dropped(effects: EffectsOfGroups) -> pd.DataFrame:
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
