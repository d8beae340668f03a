"""Readers of trials: published counts, made-up files, other files; and the bench on them."""

import numpy as np
import pandas as pd
import pytest
from conftest import shared

import jcausal as jc

runs = pytest.importorskip("bench._allocation_runs", reason="the bench is not part of the wheel")
data = pytest.importorskip("bench._allocation_data", reason="the bench is not part of the wheel")


@pytest.mark.parametrize(
    ("name", "file", "controls", "treated", "difference"),
    [
        ("star", "star_k3.csv.gz", 1989, 1723, 1910.6 - 1888.1),
        ("nsw", "lalonde_nsw_full.csv", 425, 297, 886.30),
        ("acupuncture", "acupuncture_headache.csv", 140, 161, 22.34 - 16.25),
        ("licorice", "licorice_gargle.csv", 116, 117, 0.914 - 0.350),
        ("graduation", "graduation_pakistan.csv.gz", 408, 446, None),
        ("tup", "tup_india_figures.csv", None, None, None),
    ],
)
def test_published_numbers(name, file, controls, treated, difference):
    sample = getattr(jc.datasets, name)(shared(file))
    t, y = np.asarray(sample.t), np.asarray(sample.y, float)
    if controls is not None:
        assert ((~t).sum(), t.sum()) == (controls, treated)
    if difference is not None:
        assert y[t].mean() - y[~t].mean() == pytest.approx(difference, abs=0.06)
    if name == "star":
        schools = jc.allocation.group(sample, jc.allocation.ByColumn("school"))
        assert schools.groups == 79 and schools.filtered().groups == 78


FRAMES = dict(
    star=pd.DataFrame(
        dict(
            gkclasstype=["SMALL CLASS", "REGULAR CLASS", "REGULAR + AIDE CLASS", "SMALL CLASS"],
            gktreadss=[1.0, 2, 3, np.nan],
            gktmathss=[10.0, 20, 30, 40],
            gktlistss=[100.0, 200, 300, 400],
            gkwordskillss=[1000.0, 2000, 3000, 4000],
            gkschid=[7, 8, 7, 8],
            gksurban=["RURAL", "URBAN"] * 2,
            gender=["MALE", "FEMALE"] * 2,
            race=["WHITE", "BLACK"] * 2,
            birthyear=[1980.0, 1979, 1980, 1979],
            gkfreelunch=["FREE LUNCH", None, None, None],
        )
    ),
    acupuncture=pd.DataFrame(
        dict(group=[1, 0, 1], pk5=[3.0, 4, np.nan], age=[30, 40, 50], sex=[0, 1, 1])
        | dict(migraine=[1, 0, 0], chronicity=[3, 2, 1], pk1=[9.0, 8, 7], f1=[1.0, 2, 3])
    ),
    tup=pd.DataFrame(
        dict(treatment=[1, 0, 1, 0])
        | {f"pc_exp_month_v2_el{k}": [k * 1.0, k * 2.0, np.nan, k * 4.0] for k in (1, 2, 3, 4)}
    ),
)


def read(tmp_path, name, frame, **options):
    frame.to_csv(tmp_path / "trial.csv", index=False)
    return getattr(jc.datasets, name)(tmp_path / "trial.csv", **options)


def test_rows_are_read_as_the_files_have_them(tmp_path):
    pupils = read(tmp_path, "star", FRAMES["star"])
    np.testing.assert_array_equal(pupils.y, [1111, 2222])
    np.testing.assert_array_equal(pupils.t, [True, False])
    lunch = pupils.schema.names.index("free lunch")
    assert pupils.schema.levels[lunch] == ("FREE LUNCH", "missing")
    patients = read(tmp_path, "acupuncture", FRAMES["acupuncture"])
    np.testing.assert_array_equal(patients.y, [-3, -4])
    assert patients.schema.names[:2] == ("age", "sex") and patients.n == 2
    poor = read(tmp_path, "tup", FRAMES["tup"], endline=3)
    np.testing.assert_array_equal(poor.y, [3, 6, 12])
    np.testing.assert_array_equal(poor.points[:, 0], [1, 2, 4])


def test_other_files_are_refused(tmp_path, unchecked):
    for name, frame in FRAMES.items():
        with pytest.raises(jc.DataError, match=f"{frame.columns[-1]} is not among its"):
            read(tmp_path, name, frame.iloc[:, :-1])
    aides = FRAMES["star"].assign(gkclasstype="REGULAR + AIDE CLASS")
    with pytest.raises(jc.DataError, match="no pupil of a small or regular class"):
        read(tmp_path, "star", aides)
    with pytest.raises(ValueError, match="endline is 1"):
        read(tmp_path, "tup", FRAMES["tup"], endline=1)
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(jc.DataError, match=r"empty.csv is no CSV file"):
        jc.datasets.nsw(tmp_path / "empty.csv")


def test_the_bench_s_rows():
    """Reliability is 0 for noise and near 1 for wide effects; the promises are not negative."""
    rng = np.random.default_rng(0)
    code, t = np.repeat(np.arange(10), 40), np.arange(400) % 2
    for spread, low, high in ((0.0, 0.0, 0.6), (20.0, 0.95, 1.0)):
        y = spread * code * t + rng.normal(size=400)
        sample = jc.Sample(code[:, None].astype(float), t, y)
        found = data._reliability(jc.allocation.group(sample, jc.allocation.ByColumn(code)))
        assert low <= found <= high
    of = data.Divided("STAR", data.DIVISIONS["STAR"][0], np.linspace(0, 1, 40), 1, 0.5)
    records = pd.concat(list(runs.failures(of, 60, True)))
    assert set(records["reading"]) == set(runs.readings(True)) and len(records) == 9
    asked = records.groupby("reading", sort=False)["samples"].first()
    assert (
        asked.iloc[0] == pytest.approx(2 * asked.iloc[1], rel=0.01)
        and asked.iloc[2] < asked.iloc[0]
    )
    table = runs.table(records, "Algorithm 1, delta/M", {("STAR", "school"): 1.5})
    assert table["paper's axis"].tolist() == [1.5] and table["M"].tolist() == [40]
    assert runs.overview([of])["paper's M"].tolist() == [78]
