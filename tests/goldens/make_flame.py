"""Golden groups of the Python package dame-flame 0.81 (MIT), made once.

    python -m venv venv && venv/bin/pip install dame-flame==0.81 && venv/bin/python make_flame.py

The holdout is the data themselves. `C` is in units of the squared outcome: `balance` of jcausal
times the sum of the arms' variances.
"""

import contextlib
import gzip
import io
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from dame_flame.matching import DAME, FLAME  # noqa: E402
from dame_flame.utils.data import generate_uniform_given_importance  # noqa: E402
from oracles.flame import UNITS  # noqa: E402

OPTIONS = dict(adaptive_weights="ridge", alpha=0.1, verbose=0, early_stop_pe=False, want_pe=True)


def its_own():
    """What its own generator draws: four covariates of three levels, no noise."""
    np.random.seed(0)  # noqa: NPY002
    frame = generate_uniform_given_importance(60, 60, bi_stdev=0.5)[0]
    return frame.rename(columns={j: f"c{j}" for j in range(4)})


def scale_of(frame):
    """The sum of the arms' variances."""
    return float(sum(frame.outcome[frame.treated == arm].var(ddof=0) for arm in (0, 1)))


def groups_of(method, frame, **options):
    """Its groups in the order in which they were made, rows in order, and its errors."""
    model = method(**OPTIONS, repeats=options.pop("repeats"))
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(holdout_data=frame.copy())
        model.predict(frame.copy(), **options)
    groups = [sorted(map(int, group)) for group in model.units_per_group]
    return dict(groups=groups, errors=[float(e) for e in model.pe_each_iter])


def cases(frame):
    scale = scale_of(frame)
    yield "flame C=0 repeats", lambda: groups_of(FLAME, frame, repeats=True, C=0.0)
    for balance in (0.0, 0.02, 1.0):
        name = f"flame C={balance:g}"
        yield name, lambda b=balance: groups_of(FLAME, frame, repeats=False, C=b * scale)
    yield "dame repeats", lambda: groups_of(DAME, frame, repeats=True)
    yield "dame", lambda: groups_of(DAME, frame, repeats=False)


def main():
    packages = ("dame-flame", "numpy", "pandas", "scikit-learn")
    found = dict(versions={name: version(name) for name in packages}, data={}, results={})
    frames = {name: make() for name, make in UNITS.items()} | dict(own=its_own())
    found["data"]["own"] = {name: frames["own"][name].tolist() for name in frames["own"]}
    for name, frame in frames.items():
        found["results"][name] = {}
        for case, made in cases(frame):
            began = time.time()
            found["results"][name][case] = made()
            print(name, case, len(found["results"][name][case]["groups"]), time.time() - began)
    text = json.dumps(found, separators=(",", ":"))
    (HERE / "flame.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
