"""The page of an allocation."""

import numpy as np

from jcausal.allocation import Allocation
from jcausal.data import as_pandas, label_in_words, number_in_words
from jcausal.reports._charts import Chart, forest
from jcausal.reports._documentation import described
from jcausal.reports._methods_text import MethodsText, references, software
from jcausal.reports._render import as_json, rendered, versions
from jcausal.reports._unit_rows import ROWS, row_table, spread
from jcausal.reports._wording import Wording

DRAWN = 40  # groups with a row in the picture


def allocation_page(found: Allocation, wording: Wording) -> str:
    """The page as HTML."""
    said = found.summary().splitlines()
    groups = found.estimates.groups
    sure = float(found.guaranteed_ratio)
    share = f"at least {sure:.1%}" if sure > 0 else "no share"
    return rendered(
        "allocation.html",
        title=wording.title or "Who should be treated?",
        wording=wording,
        answer=f"{int(np.asarray(found.chosen).sum()):,} of {groups:,} groups",
        sure=f"{share} of the best value is sure",
        said=said,
        chart=_chart(found, wording),
        drawn=min(groups, DRAWN),
        groups=groups,
        units=as_json(dict(columns=row_table(_columns(found)))),
        limits=[f"{ROWS:,} of {groups:,} groups are listed, evenly over all."] * (groups > ROWS),
        text=_text(found),
        versions=versions(wording.seed, np.asarray(found.estimates.value).dtype, None),
        summary=found.summary(),
    )


def _columns(found: Allocation) -> dict[str, np.ndarray]:
    frame = as_pandas(found.to_frame()).iloc[spread(found.estimates.groups, ROWS)]
    columns = dict(group=np.array([label_in_words(v) for v in frame["group"]], object))
    for name in ("estimate", "std_error", "rho", "lower", "upper"):
        if name in frame:
            columns[name.replace("_", " ")] = frame[name].to_numpy(float)
    for name, word in (("chosen", "treated"), ("contested", "at the threshold")):
        columns[word] = np.where(frame[name].astype(bool), "yes", "no")
    return columns


def _chart(found: Allocation, wording: Wording) -> Chart:
    """Estimates with their errors, the largest first, around the threshold where there are many."""
    value = np.asarray(found.estimates.value, float)
    order = np.argsort(-value, kind="stable")
    chosen = np.asarray(found.chosen)[order]
    last = int(np.flatnonzero(chosen).max(initial=0))
    begin = int(np.clip(last - DRAWN // 2, 0, max(value.size - DRAWN, 0)))
    order = order[begin : begin + DRAWN]
    ends = (value, np.asarray(found.lower, float), np.asarray(found.upper, float))
    bounds = np.stack([np.asarray(a)[order] for a in ends], axis=1)
    picked = np.asarray(found.chosen)[order]
    labels = [
        label_in_words(found.estimates.labels[k]) + (" (treated)" if one else "")
        for k, one in zip(order, picked)
    ]
    return forest(labels, bounds, f"effect{f' ({wording.unit})' if wording.unit else ''}")


def _text(found: Allocation) -> MethodsText:
    used = described(found.budget)
    sentences = [
        f"{int(np.asarray(found.chosen).sum()):,} of {found.estimates.groups:,} groups were chosen "
        f"under the budget {found.budget.words}: {used.line}",
        f"The certificate holds with probability {1 - found.delta:.0%}, when every effect lies "
        f"within its error of its estimate: {number_in_words(float(found.kept))} at least, "
        f"{number_in_words(float(found.lost))} at most lost.",
        software(),
    ]
    return MethodsText(sentences, references([used, described(Allocation)]))
