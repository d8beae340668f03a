"""The run-time type check of the tests: NumPy's scalars count as Python's numbers."""

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

check = beartype(
    conf=BeartypeConf(
        hint_overrides=BeartypeHintOverrides(
            {int: int | np.integer, float: float | int | np.floating | np.integer}
        )
    )
)
