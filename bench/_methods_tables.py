"""What the records of `bench methods` say: tables, ranks, and where jcausal's own methods lose."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from bench._methods_roster import ROSTER
from bench._methods_suites import paper_figures

OWN = tuple(name for name, entry in ROSTER.items() if entry.own)
UNIT_ERRORS = ("unit_error", "unit_error_all", "unit_error_common")
MEASURED = (
    *UNIT_ERRORS,
    *("bias", "bias_matched", "size", "covers", "covers_all", "length", "matched", "seconds"),
)
CLEAR = 1.1  # times the best own method's error, from which it loses


def by_row(records: pd.DataFrame) -> pd.DataFrame:
    """One line a row of data and method: means over the runs; errors over |ATT| of a run."""
    lines = []
    records = records.reindex(columns=[*records.columns, *(set(MEASURED) - set(records.columns))])
    for (row, method), seen in records.groupby(["row", "method"], sort=False):
        if "absent" in seen and seen["absent"].fillna(False).astype(bool).all():
            continue
        size = seen["size"]
        line = dict(row=row, method=method, runs=len(seen), matched=seen["matched"].mean())
        line |= {name: (seen[name] / size).mean() for name in UNIT_ERRORS}
        bias, matched = seen["bias"] / size, seen["bias_matched"] / size
        line |= dict(bias=bias.mean(), rmse=float(np.sqrt((bias**2).mean())))
        line |= dict(
            rmse_matched=float(np.sqrt((matched**2).mean())),
            coverage=seen["covers"].mean(),
            coverage_all=seen["covers_all"].mean(),
            length=(seen["length"] / size).mean(),
        )
        lines.append(line | dict(seconds=seen["seconds"].median()))
    return pd.DataFrame(lines)


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """One line a method: means over the rows; the first has the least error of the ATT.

    `unit rank` and `ATT rank`: the mean place among the methods of a row, by the error of single
    effects of all treated and by |bias| of the ATT of all treated (RMSE over the runs).
    """
    measured = table.dropna(subset=["rmse"]).copy()
    places = measured.groupby("row")
    measured["ATT rank"] = places["rmse"].rank()
    measured["unit rank"] = places["unit_error_all"].rank()
    means = measured.groupby("method", sort=False).agg(
        **{
            "rows": ("row", "size"),
            "ATT rank": ("ATT rank", "mean"),
            "unit rank": ("unit rank", "mean"),
            "RMSE of the ATT": ("rmse", "mean"),
            "of the matched": ("rmse_matched", "mean"),
            "error of single effects": ("unit_error_all", "mean"),
            "of those matched": ("unit_error", "mean"),
            "of the common": ("unit_error_common", "mean"),
            "coverage": ("coverage", "mean"),
            "length": ("length", "mean"),
            "unmatched": ("matched", lambda share: 1 - share.mean()),
            "seconds": ("seconds", "median"),
        }
    )
    means["unmatched"] = means["unmatched"].map(lambda share: f"{share:.0%}" if share else "0")
    return means.sort_values("ATT rank").reset_index()


def wide(
    table: pd.DataFrame, name: str, word: Callable[[float], str] | None = None
) -> pd.DataFrame:
    """A row of data a line, a method a column."""
    known = table.dropna(subset=[name])
    found = known.pivot_table(index="row", columns="method", values=name, sort=False)
    order = [method for method in ROSTER if method in found.columns]
    found = found[order]
    return (found.map(word) if word else found).reset_index()


def beside_the_paper(table: pd.DataFrame) -> pd.DataFrame:
    """The AHB paper's figure and ours, where it has one: errors of single effects over |ATT|."""
    lines = []
    for row, seen in table.groupby("row", sort=False):
        theirs, ours = paper_figures(str(row)), seen.set_index("method")["unit_error"]
        line: dict[str, object] = dict(row=row)
        for method, entry in ROSTER.items():
            if entry.paper and method in ours:
                pair = theirs.get(entry.paper, np.nan), ours[method]
                line[method] = " / ".join("NA" if v != v else f"{v:.2f}" for v in pair)
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def losses(table: pd.DataFrame) -> str:
    """Where another method is clearly better than the best of jcausal's own, in words."""
    said = []
    for name, words in (("rmse", "the ATT"), ("unit_error_all", "single effects")):
        known = table.dropna(subset=[name])
        known = known[known["method"] != "best counterfactual"]  # it knows the true outcomes
        for row, seen in known.groupby("row", sort=False):
            errors = seen.set_index("method")[name]
            own = errors[errors.index.isin(OWN)]
            others = errors[~errors.index.isin(OWN)]
            if len(own) and len(others) and own.min() > CLEAR * others.min():
                said.append(
                    f"{row}, {words}: {others.idxmin()} {others.min():.3g}, the best own "
                    f"{own.idxmin()} {own.min():.3g}, AHB {errors.get('AHB', np.nan):.3g}"
                )
    if not said:
        return "Nowhere is another method clearly better than the best of jcausal's own."
    return "Where jcausal's own methods lose by more than a tenth:\n\n- " + "\n- ".join(said)


def undercovering(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the ATT of the matched by 95% intervals, with its binomial error."""
    lines = []
    for (row, method), seen in table.groupby(["row", "method"], sort=False):
        coverage, runs = float(seen["coverage"].iloc[0]), int(seen["runs"].iloc[0])
        error = np.sqrt(max(coverage * (1 - coverage), 0.05 * 0.95) / runs)
        low = coverage + 2.576 * error < 0.95
        lines.append(
            dict(row=row, method=method, runs=runs, coverage=coverage, error=error)
            | dict(length=float(seen["length"].iloc[0]), under="too short" if low else "")
        )
    return pd.DataFrame(lines)


def real_answers(records: pd.DataFrame) -> pd.DataFrame:
    """A line a question and method: the median over partitions, its spread, the interval."""
    lines = []
    for (row, method), seen in records.groupby(["row", "method"], sort=False):
        known = seen.dropna(subset=["estimate"]) if "estimate" in seen else seen.iloc[:0]
        line = dict(row=row, method=method, partitions=len(seen))
        if len(known):
            low, middle, high = np.percentile(known["estimate"], [5, 50, 95])
            line |= dict(
                median=middle, spread=f"{low:,.4g} to {high:,.4g}" if len(known) > 1 else ""
            )
            line |= dict(lower=known["lower"].median(), upper=known["upper"].median())
            line |= dict(matched=known["matched"].mean(), seconds=known["seconds"].median())
            line["estimand"] = known["estimand"].iloc[0]
        note = seen["note"].iloc[0] if not len(known) else ""
        lines.append(line | dict(note=str(note)[:120]))
    return pd.DataFrame(lines).fillna({"note": "", "spread": "", "estimand": ""})
