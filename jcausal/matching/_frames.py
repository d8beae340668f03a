"""What all matchings say alike: matched data as a frame, group sizes in words."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jcausal.data import Sample, beside_covariates


def counts_in_words(controls: int, treated: int) -> str:
    """Group sizes in words: "14 controls, 2 treated"."""
    return f"{controls:,} control{'' if controls == 1 else 's'}, {treated:,} treated"


def matched_frame(
    sample: Sample,
    fold: Int[np.ndarray, " n"],
    weight: Float[np.ndarray, " n"],
    about: dict[str, np.ndarray],
) -> pd.DataFrame:
    """The matched data with weights: the rows that carry any. `about`: more columns (n,)."""
    rows = np.flatnonzero(weight)
    columns: dict[str, object] = dict(
        id=sample.id[rows], treated=np.asarray(sample.t)[rows].astype(int)
    )
    if sample.y is not None:
        columns["outcome"] = np.asarray(sample.y)[rows]
    columns["fold"] = fold[rows]
    columns |= {name: values[rows] for name, values in about.items()}
    columns["weight"] = weight[rows]
    return beside_covariates(columns, sample.schema, sample.points[rows])
