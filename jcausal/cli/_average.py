"""From an average without groups to what is printed and written."""

import numpy as np
import pandas as pd

import jcausal as jc
from jcausal.cli._files import Writer, table_writers
from jcausal.data import as_pandas

NO_GROUPS = (
    "This method makes no groups: there are an average and the units behind it, and no balance, "
    "groups, matched data or pictures."
)


def average_report(found: jc.effects.Average, level: float) -> str:
    """The average with its interval and what to beware of, in words."""
    return f"{found.summary(level)}\n\n{NO_GROUPS}"


def average_tables(
    found: jc.effects.Average, level: float, text: str, *, parquet: bool
) -> dict[str, Writer]:
    """The summary, the average, and what is predicted for every unit that counts."""
    fold = np.asarray(found.fold)
    predicted = np.asarray(found.predicted)
    units = pd.DataFrame(
        dict(
            id=found.sample.id,
            fold=fold,
            treated=np.asarray(found.sample.t).astype(int),
            propensity=np.asarray(found.propensity),
            y0=predicted[:, 0],
            y1=predicted[:, 1],
            influence=np.asarray(found.influence),
        )
    )
    made = dict(average=as_pandas(found.to_frame(level)), units=units.loc[fold >= 0])
    return table_writers(made, text, parquet)
