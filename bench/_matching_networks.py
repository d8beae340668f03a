"""Optimal pairs, full and cardinality matching beside pymatchit-causal: seconds, memory, totals."""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._real_data import nhefs, rhc

LIMIT = 300.0  # seconds that a peer is given
METHODS = {
    "optimal pairs": (jc.OptimalMatching, "optimal"),
    "full": (jc.FullMatching, "full"),
}


def drawn(treated: int, controls: int) -> jc.Sample:
    """Five normal covariates, of which the first is .7 larger among the treated."""
    rng = np.random.default_rng(0)
    t = np.arange(treated + controls) < treated
    x = rng.normal(size=(t.size, 5)) + 0.7 * t[:, None] * np.eye(5)[0]
    return jc.Sample(x, t, x[:, 0] + t)


def run(quick: bool) -> pd.DataFrame:
    """One row a method and size, each in a process of its own; peers beside the drawn samples."""
    sizes = [(200, 2_000)] if quick else [(200, 2_000), (2_000, 20_000)]
    lines = []
    for name in METHODS:
        for size in sizes:
            ours, theirs = (apart(who, name, *map(str, size)) for who in ("ours", "theirs"))
            lines.append(line(f"{name}, caliper .2 sd", "{:,} x {:,}".format(*size), ours, theirs))
    real = {} if quick else {"LaLonde PSID": "psid", "NHEFS": "nhefs", "RHC": "rhc"}
    for word, source in real.items():
        for name in (*METHODS, "cardinality"):
            lines.append(line(name, word, apart("real", name, source), {}))
    return pd.DataFrame(lines)


def line(method: str, size: str, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """A row of the table."""
    same = ""
    if "total" in ours and "total" in theirs:
        apart_ = abs(ours["total"] - theirs["total"]) / max(theirs["total"], 1e-300)
        same = f"total distance, within {apart_:.1g}"
    return {
        "method": method,
        "size": size,
        "first, s": ours.get("first", np.nan),
        "next, s": ours.get("next", np.nan),
        "peak memory, MB": ours.get("memory", np.nan),
        "pymatchit, s": theirs.get("first", np.nan),
        "pymatchit, MB": theirs.get("memory", np.nan),
        "the same": same,
        "note": theirs.get("note", ours.get("note", "")),
    }


def apart(*what: str) -> dict[str, Any]:
    """What a process of its own measures, or why it does not."""
    command = [sys.executable, "-m", "bench._matching_networks", *what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return dict(note=f"no answer in {LIMIT:,.0f} s")
    if done.returncode:
        return dict(note=done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def measured(call: Any, repeats: int = 2) -> tuple[Any, dict[str, Any]]:
    """A result with the seconds of the first and of the next call, and MB beyond what was there."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, found = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - began)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return found, dict(first=seconds[0], next=seconds[-1], memory=memory)


def logits(sample: jc.Sample) -> np.ndarray:
    """What both are to match on, in the order of the rows."""
    chance = np.asarray(jc.surfaces.propensity_scores(sample, jc.surfaces.LIKELIEST), np.float64)
    return np.log(chance) - np.log1p(-chance)


def ours(name: str, sample: jc.Sample) -> dict[str, Any]:
    """The library's own, with its total distance."""
    score = logits(sample)  # compiled before anything is measured
    method = METHODS[name][0](caliper=0.2)
    matching, told = measured(lambda: jc.match(sample, method))
    return told | dict(total=total_of(np.asarray(sample.t), score, parts_of(matching)))


def parts_of(matching: Any) -> pd.Series:
    """The part that each matched row is in."""
    if isinstance(matching, jc.matching.Strata):
        label = pd.Series(np.asarray(matching.strata))
        return label[label >= 0]
    held = np.asarray(matching.matched)
    query, rows = np.asarray(matching.query)[held], np.asarray(matching.rows)[held, 0]
    return pd.Series(np.tile(query, 2), index=np.concatenate([query, rows]))


def total_of(t: np.ndarray, score: np.ndarray, part: pd.Series) -> float:
    """All distances between treated and controls of the same part."""
    table = pd.DataFrame(dict(part=part.to_numpy(), t=t[part.index], score=score[part.index]))
    both = table[table["t"]].merge(table[~table["t"]], on="part")
    return float((both["score_x"] - both["score_y"]).abs().sum())


def theirs(name: str, sample: jc.Sample) -> dict[str, Any]:
    """The peer's on the same scores, with its total distance."""
    import pymatchit

    score = logits(sample)
    frame = pd.DataFrame(np.asarray(sample.points), columns=list("abcde"))
    frame["t"] = np.asarray(sample.t).astype(int)
    peer = pymatchit.MatchIt(frame, method=METHODS[name][1], distance=score, caliper=0.2)
    _, told = measured(lambda: peer.fit("t ~ a + b + c + d + e"), 1)
    part = peer.matched_data["subclass"].astype(int)
    return told | dict(total=total_of(np.asarray(sample.t), score, part))


def real(name: str, source: str) -> dict[str, Any]:
    """A method at its defaults on real data."""
    sample = dict(
        psid=lambda: jc.datasets.lalonde("psid"),
        nhefs=lambda: nhefs().sample(),
        rhc=lambda: rhc().sample(),
    )[source]()
    logits(sample)
    method = METHODS[name][0]() if name in METHODS else jc.CardinalityMatching()
    matching, told = measured(lambda: jc.match(sample, method))
    return told | dict(note="; ".join(matching.notes()))


if __name__ == "__main__":
    who, asked, *rest = sys.argv[1:]
    if who == "real":
        print(json.dumps(real(asked, rest[0])))
    else:
        sample = drawn(int(rest[0]), int(rest[1]))
        print(json.dumps((ours if who == "ours" else theirs)(asked, sample)))
