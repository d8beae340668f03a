"""LaLonde's data: the published counts and differences, and the shared copies."""

import numpy as np
import pandas as pd
import pytest
from conftest import DATA

import jcausal as jc


@pytest.mark.parametrize(
    ("controls", "count", "difference"),
    [("experiment", 260, 1794.34), ("psid", 2490, -15204.78), ("cps", 15992, -8497.52)],
)
def test_published_numbers(controls, count, difference):
    sample = jc.datasets.lalonde(controls)
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    assert (t.sum(), (~t).sum()) == (185, count)
    assert y[t].mean() - y[~t].mean() == pytest.approx(difference, abs=0.02)
    assert sample.schema.names[0] == "age" and sample.schema.units[-1] == "$"
    assert sample.schema.kinds.count("binary") == 4


def test_the_package_holds_the_shared_copy():
    file = DATA / "lalonde_psid_controls.csv"
    if not file.exists():
        pytest.skip(f"the shared data sets are not here: {file.name}")
    theirs = pd.read_csv(file)
    sample = jc.datasets.lalonde("psid")
    ours = sample.points[185:]
    columns = ["age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75"]
    np.testing.assert_array_equal(ours, theirs[columns].to_numpy(float))


def test_other_controls_are_refused(unchecked):
    with pytest.raises(ValueError, match="controls is 'nsw'"):
        jc.datasets.lalonde("nsw")
