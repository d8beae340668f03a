"""LaLonde as in the authors' scripts: three files of controls as one.

The scripts put CPS-1, 2 and 3 into one table, although 2 and 3 are parts of 1, and PSID-1, a copy
of it in place of PSID-2, and PSID-3. Four fifths of the controls train the surface; all treated are
matched among the others, each with the 100 controls of the nearest predictions and no other
treated, and their predictions' standard deviation is the scale. From the average they drop the
treated whose objective is at or above its 95th percentile; theirs is maximised, so that these are
the best boxes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import jcausal as jc
from bench._lalonde import MODEL
from bench._lalonde_exact import NEAR, NEAREST
from bench._published import EXPERIMENT, STACKED

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
FILES = {
    "psid": ("psid_controls.csv", "psid_controls.csv", "psid3_controls.csv"),
    "cps": ("cps_controls.csv.gz", "cps2_controls.csv", "cps3_controls.csv"),
}
THEIRS = jc.ExactAHB(gamma0=7.5, gamma1=0.0, floor=0.0)
Kept = Literal["all", "without the best", "without the worst"]


def missing() -> list[str]:
    """The files that are not there."""
    names = {"lalonde_nsw_dw.csv"}.union(*map(set, _files().values()))
    return sorted(name for name in names if not (DATA / name).is_file())


def _files() -> dict[str, list[str]]:
    return {name: [f"lalonde_{part}" for part in parts] for name, parts in FILES.items()}


def stack(controls: str) -> jc.Sample:
    """The 185 treated of the experiment above three files of controls."""
    experiment = pd.read_csv(DATA / "lalonde_nsw_dw.csv")
    parts = [pd.read_csv(DATA / name) for name in _files()[controls]]
    frame = pd.concat([experiment[experiment["treat"] == 1], *parts], ignore_index=True)
    return jc.Sample.from_frame(frame, treatment="treat", outcome="re78")


def naive(sample: jc.Sample) -> float:
    """Difference of means of the outcome."""
    y, t = np.asarray(sample.y, np.float64), np.asarray(sample.t)
    return float(y[t].mean() - y[~t].mean())


def halves(sample: jc.Sample, seed: int) -> tuple[jc.Sample, jc.Sample]:
    """Four fifths of the controls to train on, and the others with all treated."""
    control = np.flatnonzero(~np.asarray(sample.t))
    drawn = np.random.default_rng(seed).permutation(control)
    cut = int(0.8 * control.size)
    test = np.concatenate([np.flatnonzero(np.asarray(sample.t)), drawn[cut:]])
    return sample.take(np.sort(drawn[:cut])), sample.take(np.sort(test))


def average(effects: np.ndarray, objective: np.ndarray, kept: Kept) -> float:
    """Mean effect of the treated that are kept; the objective is one that is minimised."""
    if kept == "without the best":
        return float(effects[-objective < np.quantile(-objective, 0.95)].mean())
    if kept == "without the worst":
        return float(effects[objective < np.quantile(objective, 0.95)].mean())
    return float(effects.mean())


def _ours(test: jc.Sample, surface: jc.surfaces.ResponseSurface) -> pd.DataFrame:
    """All treated at once, as the library does it."""
    boxes = jc.match(test, NEAR, surface=surface)
    return _found(test, boxes)


def _theirs(test: jc.Sample, surface: jc.surfaces.ResponseSurface) -> pd.DataFrame:
    """Every treated unit alone with its nearest controls."""
    level, t = np.asarray(surface(test.x))[:, 0], np.asarray(test.t)
    control, parts = np.flatnonzero(~t), []
    for i in np.flatnonzero(t):
        away = np.abs(level[control] - level[i])
        near = control[np.argsort(away, kind="stable")[:NEAREST]]
        few = test.take(np.concatenate([[i], near]))
        parts.append(_found(few, jc.match(few, THEIRS, surface=surface)))
    return pd.concat(parts, ignore_index=True)


def _found(sample: jc.Sample, boxes: jc.matching.Matching) -> pd.DataFrame:
    """Effect (of the unit's own outcome), objective, proof and controls of every treated unit."""
    assert isinstance(boxes, jc.matching.Boxes)
    effects = np.asarray(jc.estimate(sample, boxes, effect="own").ite, np.float64)
    return pd.DataFrame(
        dict(
            effect=effects,
            objective=boxes.objective,
            proven=boxes.proven,
            controls=np.asarray(boxes.sizes)[:, 0],
        )
    )


WAYS = {"ours": _ours, "as the scripts": _theirs}
KEPT: tuple[Kept, ...] = ("all", "without the best", "without the worst")


def collect(controls: tuple[str, ...], partitions: int) -> Iterator[pd.DataFrame]:
    """One line a stack, way and rule of what is kept; so far."""
    lines: list[dict[str, Any]] = []
    for name in controls:
        sample, seen = stack(name), {way: [] for way in WAYS}
        for seed in range(partitions):
            train, test = halves(sample, seed)
            surface = jc.fit(train, MODEL, arms="control", key=seed)
            for way, run in WAYS.items():
                seen[way].append(run(test, surface))
        print(f"  {name}, three files: {partitions} partitions", flush=True)
        about = dict(stack=name.upper(), rows=sample.n, naive=naive(sample))
        lines += [dict(about, **line) for line in _lines(name, seen)]
        yield pd.DataFrame(lines)


def _lines(name: str, seen: dict[str, list[pd.DataFrame]]) -> Iterator[dict[str, Any]]:
    for way, runs in seen.items():
        proven = float(np.mean([run["proven"].mean() for run in runs]))
        for kept in KEPT:
            atts = [average(run["effect"].values, run["objective"].values, kept) for run in runs]
            low, middle, high = np.percentile(atts, [5, 50, 95])
            yield {
                "way": way,
                "treated": kept,
                "partitions": len(runs),
                "median": middle,
                "5%": low,
                "95%": high,
                "paper": STACKED[name],
                "experiment": EXPERIMENT[0],
                "share proven": proven,
                "median controls": float(np.median([run["controls"].median() for run in runs])),
                "every": atts,
            }
