"""The matching methods beside those who did them first: seconds, memory, what is the same."""

import argparse
import importlib
from typing import Any

import pandas as pd

from bench._keep import keep, markdown

PARTS = ("nearest", "statspai", "strata", "networks", "learned", "real")
SAID = {
    "nearest": "Nearest neighbours: seconds of one call, the first and the next; peak memory of "
    "the process. Peers are scikit-learn and, without replacement, R MatchIt (measured once).",
    "statspai": "1-NN with replacement, all ties, Mahalanobis by the whole sample: each in a "
    "process of its own.",
    "strata": "Coarsened exact matching and FLAME: seconds of one call, the first and the next.",
    "networks": "Optimal pairs and full matching: seconds and peak memory beside "
    "pymatchit-causal, which holds all distances.",
    "learned": "Genetic matching, MALTS and BOSS at their defaults.",
    "real": "Every matching method at its defaults on real data: the effect on the treated with "
    "its Abadie-Imbens interval, plain means and adjusted by Ridge; seconds of the first and the "
    "next call.",
}


def main(options: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    for part in PARTS:
        if part in options.parts:
            found: pd.DataFrame = importlib.import_module(f"bench._matching_{part}").run(
                options.quick
            )
            _keep(options, part, found)


def _keep(options: argparse.Namespace, part: str, found: pd.DataFrame) -> None:
    command = f"python -m bench matching --parts {part}" + (" --quick" if options.quick else "")
    name = f"matching-{part}" + ("-quick" if options.quick else "")
    text = f"# Matching methods: {part}\n\n{SAID[part]}\n\n{markdown(found)}"
    rows: dict[str, Any] = dict(rows=found.to_dict("records"))
    print(keep(options.out, name, command, text, rows), flush=True)
