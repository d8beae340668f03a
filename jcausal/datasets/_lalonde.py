"""LaLonde's data on the National Supported Work job training, as used by Dehejia and Wahba."""

from typing import Literal

import pandas as pd

from jcausal.data import Sample
from jcausal.datasets._read import read_packaged

Controls = Literal["psid", "cps", "experiment"]

NAMES = {
    "age": "age",
    "education": "education",
    "black": "black",
    "hispanic": "hispanic",
    "married": "married",
    "nodegree": "without degree",
    "re74": "income 1974",
    "re75": "income 1975",
}
UNITS = {"age": "years", "education": "years", "income 1974": "$", "income 1975": "$"}


def lalonde(controls: Controls = "psid") -> Sample:
    """The 185 treated men of the experiment with a choice of controls; outcome: income 1978 in $.

    "experiment": its own 260 randomised controls (difference of means 1,794.34, standard error
    671); "psid": 2,490 men of the Panel Study of Income Dynamics (difference -15,204.78); "cps":
    15,992 men of the Current Population Survey (difference -8,497.52).

    **Returns:** a `Sample` with 8 covariates: age, education (years), black, hispanic, married,
    without degree (0/1), income 1974 and 1975 ($).

    **Raises:** ValueError for other controls.

    **Source:** LaLonde (1986), American Economic Review 76(4); Dehejia and Wahba (1999), JASA 94;
    research data published by R. Dehejia.

    **Example:**

        >>> import jcausal as jc
        >>> jc.datasets.lalonde("experiment").n
        445
    """
    if controls not in ("psid", "cps", "experiment"):
        raise ValueError(f"controls is {controls!r}: use 'psid', 'cps' or 'experiment'.")
    experiment = read_packaged("lalonde_experiment")
    if controls == "experiment":
        frame = experiment
    else:
        treated = experiment[experiment["treat"] == 1]
        frame = pd.concat([treated, read_packaged(f"lalonde_{controls}")], ignore_index=True)
    return Sample.from_frame(
        frame.set_axis([NAMES.get(c, c) for c in frame.columns], axis=1),
        treatment="treat",
        outcome="re78",
        units=UNITS,
    )
