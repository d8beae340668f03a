"""A sample in the words of a page."""

import numpy as np
import pandas as pd

from jcausal.data import (
    Sample,
    more_in_words,
    number_in_words,
    outcome_in_words,
    units_in_words,
)
from jcausal.reports._render import TextTable, text_table
from jcausal.reports._wording import Wording


def question(wording: Wording) -> str:
    """The question as a title."""
    return f"What did {wording.treatment} do to {wording.outcome}?"


def sample_facts(sample: Sample) -> list[str]:
    """Units by arm, outcome, sampling weights and clusters."""
    first = [units_in_words(sample.t, sample.valid), outcome_in_words(sample.y, sample.valid)]
    return [*first, *more_in_words(sample.weight, sample.cluster, sample.valid)]


def covariate_table(sample: Sample) -> TextTable:
    """One row a covariate: kind, unit, range or levels, missing rows."""
    schema, points = sample.schema, sample.points[np.asarray(sample.valid)]
    flags, rows = schema.flag_of.values(), []
    for j, name in enumerate(schema.names):
        if j in flags:
            continue
        missing, values = int(np.isnan(points[:, j]).sum()), points[:, j]
        if schema.kinds[j] == "category":
            levels = list(schema.levels[j])
            if (j, j) in schema.flags:
                missing = int((values == len(levels) - 1).sum())
                levels = levels[:-1]
            held = ", ".join(levels[:8]) + (f" and {len(levels) - 8} more" * (len(levels) > 8))
        else:
            low, high = (number_in_words(float(v)) for v in (np.nanmin(values), np.nanmax(values)))
            held = f"{low} to {high}"
        row = dict(covariate=name, kind=schema.kinds[j], unit=schema.units[j], values=held)
        rows.append(row | dict(missing=missing))
    return text_table(pd.DataFrame(rows))
