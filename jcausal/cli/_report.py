"""From effects to what is printed and written: summary, tables, figures."""

import re
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import jcausal as jc
from jcausal.cli._files import Writer, table_writers
from jcausal.cli._terminal import Bar
from jcausal.data import number_in_words
from jcausal.reports import Results, measure

LONGEST_NAME = 160  # bytes of a file's name without its ending: file systems take some 255


def measured(
    effects: jc.effects.Effects, level: float, seed: int, bar: Bar, by: Sequence[str] = ()
) -> Results:
    """Intervals, balance, and effects by group, by the usual rule."""
    rule = jc.inference.usual_interval(effects.sample, level)
    return measure(effects, rule, by=by, key=seed, progress=bar)


def report(results: Results, after: Sequence[str] = ()) -> str:
    """The summary in words; `after` are lines to stand below the effects."""
    effects = results.effects
    parts = [
        "\n".join([effects.summary(results.average), *results.notes, *after]),
        "balance before and after matching (|SMD| below 0.1 is good; shares: raw difference; "
        "worth: what the\ndifference left in that covariate alone moves the predicted outcome)\n"
        + _balance_words(results.balance),
    ]
    for name, table in results.groups.items():
        parts.append(f"effects by {name}\n{_group_words(table)}")
    parts += [words for words in (_chain_words(effects), _groups_words(effects)) if words]
    return "\n\n".join(parts)


def versions(sample: jc.Sample, seed: int) -> str:
    """What another run needs to give the same numbers."""
    import jax

    device = jax.devices()[0].platform
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "bartz"))
    return f"seed {seed}, {sample.x.dtype}, {device}; jcausal {jc.__version__}, {libraries}"


def tables(results: Results, text: str, *, parquet: bool) -> dict[str, Writer]:
    """The summary and the tables: a name, and a function that writes it to a path."""
    matching, rows = results.effects.matching, results.effects.to_frame()
    if results.units is not None:
        rows = rows.join(results.units.to_frame()[["std_error", "lower", "upper", "pooled"]])
    found = dict(effects=rows, balance=results.balance.reset_index())
    found |= dict(matched=matching.to_frame(), groups=matching.describe_frame())
    for name, table in results.groups.items():
        found[_file_name(f"effects by {name}", found)] = table
    return table_writers(found, text, parquet)


def pictures(results: Results, *, unit: str) -> dict[str, Writer]:
    """The pictures: a name, and a function that draws it and writes it to a path."""
    effects, matching = results.effects, results.effects.matching
    found: dict[str, Callable[[], object]] = dict(
        effects=lambda: jc.plot.effects(
            effects, interval=results.units, average=results.average, unit=unit
        ),
        love=lambda: jc.plot.love(results.balance),
    )
    if matching.edges() is not None:
        which, pair = _drawn_boxes(effects)
        if which:
            found["boxes"] = lambda: jc.plot.boxes(matching, which=which, covariates=pair)
    return {f"{name}.png": picture_writer(draw) for name, draw in found.items()}


def _file_name(wanted: str, taken: Iterable[str]) -> str:
    """A name that every file system takes, and that no other table has."""
    plain = re.sub(r"[^\w .-]", "_", wanted)
    plain = plain.encode()[:LONGEST_NAME].decode(errors="ignore")
    others = {name.casefold() for name in taken}
    tried = (plain + f" {k}" * (k > 0) for k in range(len(others) + 1))
    return next(name for name in tried if name.casefold() not in others)


def picture_writer(draw: Callable[[], object]) -> Writer:
    """Draw without a screen and save as PNG; no figure stays open, also of a picture that fails."""

    def write(path: Path) -> None:
        import matplotlib.pyplot as plt

        before = set(plt.get_fignums())
        try:
            with plt.ioff():
                axes = draw()
            axes.figure.savefig(path, dpi=150, format="png")  # type: ignore[attr-defined]
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)

    return write


def _balance_words(table: pd.DataFrame) -> str:
    shown = table[["mean_treated", "mean_control", "mean_control_matched"]].copy()
    shown.columns = pd.Index(["treated", "controls", "matched controls"])
    if table.attrs["estimand"] != "att":
        shown.insert(1, "matched treated", table["mean_treated_matched"])
    shown = shown.map(lambda v: f"{v:,.0f}" if abs(v) >= 1000 else f"{v:.2f}")
    for column in ("smd_before", "smd_after", "vr_after"):
        shown[column] = [" " if np.isnan(v) else f"{v:.2f}" for v in table[column]]
    if "worth" in table:
        shown["worth"] = [" " if np.isnan(v) else number_in_words(float(v)) for v in table["worth"]]
    arm = "treated" if table.attrs["estimand"] == "atc" else "control"
    sizes = [table.attrs[f"ess_{arm}_{when}"] for when in ("before", "after")]
    return (
        f"{shown.rename_axis(None).to_string()}\n"
        f"effective sample size of the {arm}s: {sizes[0]:,.0f} before, {sizes[1]:,.0f} after"
    ).replace("treateds", "treated")


def _group_words(table: pd.DataFrame) -> str:
    """The table, below it why estimates have no interval."""
    aside = ("level", "target", "pooled", "reason")
    shown = table.drop(columns=[c for c in aside if c in table]).to_string(
        index=False,
        na_rep="none",
        float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}",
    )
    reasons = {str(one) for one in table["reason"] if one} if "reason" in table else set()
    return "\n".join([shown, *(f"none: {one}" for one in sorted(reasons))])


def _chain_words(effects: jc.effects.Effects) -> str:
    """How well the chains of BART agree; nothing for other surfaces."""
    fitted = [s for s in effects.surfaces if isinstance(s, jc.surfaces.BARTSurface)]
    if not fitted:
        return ""
    lines = []
    for arm, word in enumerate(("control", "treated")):
        if np.isfinite(fitted[0].noise[arm]):
            rhat = ", ".join(f"{s.rhat[arm]:.2f}" for s in fitted)
            sd = ", ".join(number_in_words(float(s.noise[arm]) ** 0.5) for s in fitted)
            lines.append(
                f"{word} surface (BART, one a fold): {fitted[0].chains} chains, R-hat of the "
                f"noise {rhat}, noise sd {sd}"
            )
    return "\n".join(lines)


def _groups_words(effects: jc.effects.Effects) -> str:
    """A small, a middling and a large group among the matched, in words."""
    matching = effects.matching
    ite, ids = np.asarray(effects.ite), matching.sample.id
    return "some groups\n" + "\n".join(
        f"  unit {ids[int(matching.query[i])]}: {matching.describe(i)}; effect "
        f"{number_in_words(float(ite[i]))}"
        for i in _some_groups(effects)
    )


def _drawn_boxes(effects: jc.effects.Effects) -> tuple[list[int], list[str]]:
    """The boxes that the summary tells of, and the two covariates that they are best seen in.

    A box without a place there (it holds only missing values) is left out; all are where there
    are no two such covariates.
    """
    boxes = effects.matching
    edges, which = boxes.edges(), _some_groups(effects)
    assert edges is not None
    columns = sorted(jc.plot.bounding(boxes, which)[:2])
    placed = [bool(np.isfinite(box).all()) for box in edges.lower[:, columns]]
    names = [boxes.sample.schema.names[j] for j in columns]
    return [i for i in which if placed[i]] if len(columns) == 2 else [], names


def _some_groups(effects: jc.effects.Effects) -> list[int]:
    """Queries at a quarter, the middle and nine tenths of the matched, by their controls."""
    matched = np.flatnonzero(np.asarray(effects.matched))
    order = matched[np.argsort(np.asarray(effects.n_control)[matched], kind="stable")]
    places = (int(share * (len(order) - 1)) for share in (0.25, 0.6, 0.9) if len(order))
    return [int(order[place]) for place in dict.fromkeys(places)]
