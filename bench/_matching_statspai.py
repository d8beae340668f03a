"""Nearest neighbours beside StatsPAI: the same metric, the same estimate, seconds, memory."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._large import peak

SIZES = {"LaLonde, PSID": None, "3,087 treated of 20,000 x 10": (20_000, 3_087, 10)}


def run(quick: bool) -> pd.DataFrame:
    """One row a size, each library in a process of its own."""
    if find_spec("statspai") is None:
        return pd.DataFrame([dict(note="StatsPAI is not installed: pip install statspai")])
    lines = []
    for name in list(SIZES)[: 1 if quick else None]:
        ours, theirs = (_apart(who, name) for who in ("ours", "theirs"))
        lines.append(
            {
                "size": name,
                "ATT": ours["att"],
                "StatsPAI's ATT": theirs["att"],
                "first, s": ours["first"],
                "next, s": ours["next"],
                "StatsPAI, s": theirs["next"],
                "peak, MB": ours["peak"],
                "StatsPAI, MB": theirs["peak"],
            }
        )
    return pd.DataFrame(lines)


def _apart(who: str, name: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench._matching_statspai", who, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def sample_of(name: str) -> jc.Sample:
    """LaLonde's men, or normal numbers that decide the treatment a little."""
    size = SIZES[name]
    if size is None:
        return jc.datasets.lalonde("psid")
    n, treated, features = size
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, features))
    t = np.zeros(n, bool)
    t[np.argsort(-(0.3 * x[:, 0] + rng.logistic(size=n)))[:treated]] = True
    return jc.Sample(x, t, x[:, 0] + t + rng.normal(size=n))


def measured(who: str, name: str) -> dict[str, float]:
    """1-NN with replacement, all ties, by the inverse of the whole sample's covariance."""
    sample = sample_of(name)
    points = sample.points
    if who == "ours":
        metric = np.linalg.inv(np.cov(points.T))
        method = jc.NearestNeighbors(metric=metric)

        def att() -> float:
            return float(jc.estimate(sample, method).att)
    else:
        import statspai

        frame = pd.DataFrame(points, columns=[f"x{j}" for j in range(points.shape[1])])
        frame = frame.assign(t=np.asarray(sample.t).astype(int), y=np.asarray(sample.y, float))
        asked: dict[str, Any] = dict(y="y", treat="t", covariates=list(frame.columns[:-2]))

        def att() -> float:
            found = statspai.match(frame, **asked, method="nnmatch", estimand="ATT", n_matches=1)
            return float(found.estimate)

    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        value = att()
        seconds.append(time.perf_counter() - began)
    return dict(att=value, first=seconds[0], next=seconds[1], peak=1000 * peak())


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:3])))
