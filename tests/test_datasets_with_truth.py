"""Data sets with known effects: the counts and effects that their makers publish."""

import numpy as np
import pytest
from conftest import DATA, close

import jcausal as jc

pytestmark = pytest.mark.skipif(
    not (DATA / "ihdp_covariates.csv").exists(), reason="the shared data sets are not here"
)
ACIC = (2.128, 4.679, 4.752, 4.796, 3.353, 2.928, 3.949, 1.521, 3.799, 4.223)


def test_ihdp():
    files = DATA / "ihdp_covariates.csv", DATA / "ihdp_npci_50_outcomes.csv.gz"
    found = jc.datasets.ihdp(*files)
    sample = found.sample
    assert sample.n == 747 and int(np.asarray(sample.t).sum()) == 139
    close(np.asarray(found.ite).mean(), 4.0161, rtol=1e-4)
    close(found.att, 4.0, rtol=1e-4)
    seen = np.where(np.asarray(sample.t), np.asarray(found.y1), np.asarray(found.y0))
    close(sample.y, seen)
    other = jc.datasets.ihdp(*files, replication=2)
    assert (np.asarray(other.sample.t) == np.asarray(sample.t)).all()
    assert (np.asarray(other.sample.y) != np.asarray(sample.y)).any()
    with pytest.raises(jc.DataError, match="has no rep 51: it has 1 to 50"):
        jc.datasets.ihdp(*files, replication=51)
    with pytest.raises(jc.DataError, match="is not the file of IHDP"):
        jc.datasets.ihdp(files[1], files[0])


@pytest.mark.parametrize("replication", [1, 10])
def test_acic_2016(replication):
    files = DATA / "acic2016_covariates.csv.gz", DATA / "acic2016_outcomes.csv.gz"
    found = jc.datasets.acic2016(*files, replication=replication)
    close(np.asarray(found.ite, float).mean(), ACIC[replication - 1], atol=6e-4)
    schema = found.sample.schema
    kinds = {name for name, kind in zip(schema.names, schema.kinds) if kind == "category"}
    assert found.sample.n == 4802 and kinds == {"x_2", "x_21", "x_24"}


def test_acic_2017():
    files = DATA / "acic2017_covariates.csv.gz", DATA / "acic2017_outcomes.csv.gz"
    found = jc.datasets.acic2017(*files, setting=1)
    assert found.sample.n == 4302 and "category" in found.sample.schema.kinds
    gap = np.asarray(found.y1, float) - np.asarray(found.y0, float)
    close(gap, found.ite, atol=1e-5)
    with pytest.raises(jc.DataError, match="has no setting 33: it has 1 to 32"):
        jc.datasets.acic2017(*files, setting=33)


def test_twins():
    found = jc.datasets.twins(DATA / "twins.csv.gz", key=0)
    assert found.sample.n == 11_400
    close(np.asarray(found.y0).mean(), 0.1769, atol=5e-5)
    close(np.asarray(found.y1).mean(), 0.1608, atol=5e-5)
    again, other = (jc.datasets.twins(DATA / "twins.csv.gz", key=k) for k in (0, 1))
    assert (np.asarray(again.sample.t) == np.asarray(found.sample.t)).all()
    assert (np.asarray(other.sample.t) != np.asarray(found.sample.t)).any()
    assert str(found).startswith("true ATT ")
