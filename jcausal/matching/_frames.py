"""What all matchings say alike: matched data as a frame, group sizes in words."""

import numpy as np
import pandas as pd

from jcausal.data import beside_covariates
from jcausal.matching._matching import Matching


def counts_in_words(controls: int, treated: int) -> str:
    """Group sizes in words: "14 controls, 2 treated"."""
    return f"{controls:,} control{'' if controls == 1 else 's'}, {treated:,} treated"


def matched_frame(matching: Matching) -> pd.DataFrame:
    """The matched data with weights: the rows that carry any."""
    sample = matching.sample
    weight = np.asarray(matching.matched_weights())
    rows = np.flatnonzero(weight > 0)
    columns: dict[str, object] = dict(
        id=sample.id[rows], treated=np.asarray(sample.t)[rows].astype(int)
    )
    if sample.y is not None:
        columns["outcome"] = np.asarray(sample.y)[rows]
    columns |= dict(fold=np.asarray(matching.fold)[rows], weight=weight[rows])
    return beside_covariates(columns, sample.schema, sample.points[rows])
