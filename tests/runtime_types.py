"""The run-time type check of the tests: NumPy's scalars count as Python's numbers."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

check = beartype(
    conf=BeartypeConf(
        hint_overrides=FrozenDict(
            {int: int | np.integer, float: float | int | np.floating | np.integer}
        )
    )
)
