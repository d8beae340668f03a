"""Times in panels: words that are dates or hold numbers, times with a zone, spans of time."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import jcausal as jc

ROLES = dict(unit="shop", time="when", outcome="sales", treatment="law")
FRAMES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "duckdb": lambda frame: relation(frame),
}


def relation(frame):
    con = duckdb.connect()
    con.execute("set TimeZone='Europe/Berlin'")
    con.register("data", frame)
    return con.sql("select * from data")


def long(times, seed=0, n=5):
    """Three cohorts and two shops never treated, the rows in any order."""
    m, rng = len(times), np.random.default_rng(seed)
    start = np.array([m // 3, m // 3, m // 2, m, m])[:n]
    d = np.arange(m) >= start[:, None]
    y = rng.normal(size=(n, m)) + 5 * d + np.arange(m)
    i, j = np.indices((n, m)).reshape(2, -1)
    frame = pd.DataFrame(dict(shop=i, place=j, sales=y[i, j], law=d[i, j].astype(int)))
    frame["when"] = np.array(times, object)[j] if isinstance(times[0], str) else times[j]
    return frame.sample(frac=1, random_state=seed)


MONTHS = [f"{y}-{m}" for y in (2019, 2020) for m in range(1, 13)]
DAYS = pd.date_range("2019-12-28", periods=6)
ORDERED = {
    "year-month": MONTHS,
    "month names": [f"{d:%b %Y}" for d in pd.date_range("2019-08-01", periods=7, freq="MS")],
    "two digits": ["Oct-99", "Nov-99", "Dec-99", "Jan-00", "Feb-00"],
    "full names": ["December 31st, 2019", "January 1st, 2020", "May 2nd, 2020", "June 3rd, 2020"],
    "quarters": ["2018Q4", "2019Q1", "2019Q2", "2020Q1"],
    "quarters first": ["Q3 2019", "Q4 2019", "Q1 2020", "Q2 2020"],
    "weeks first": ["week 9 2019", "week 10 2019", "week 1 2020", "week 2 2020"],
    "ISO weeks": ["2019-W9", "2019-W10", "2019-W52", "2020-W1"],
    "day first": ["30/12/2019", "31/12/2019", "01/01/2020", "02/01/2020"],
    "month first": ["12/30/2019", "12/31/2019", "01/01/2020", "01/02/2020"],
    "either first": ["01/01/2020", "02/02/2020", "03/03/2020", "04/04/2020"],
    "no separator": ["30122019", "31122019", "01012020", "02012020"],
    "Stata": [f"{d:%d%b%Y}".lower() for d in DAYS],
    "SAS": [f"{d:%d%b%Y}:10:00:00".upper() for d in DAYS],
    "clock": ["12:00 AM", "9:30 AM", "11 AM", "1:00 PM"],
    "zone": ["2020-10-25T02:30+02:00", "2020-10-25T02:00+01:00", "2020-10-25T03:00+01:00"],
    "months of two years": ["Nov-19", "Dec-19", "Jan-20"],
    "quarters of two years": ["19-Sep", "19-Dec", "20-Mar", "20-Jun"],
    "low lines": ["2020_9", "2020_10", "2021_1"],
    "fiscal years": ["FY98", "FY99", "FY00", "FY01"],
    "padded": ["08", "09", "10", "11"],
    "even decimals": ["0.50", "0.75", "1.00", "1.50"],
    "negative decimals": ["-1.50", "-1.25", "0.10"],
    "weekdays": ["Mon 30 Dec 2019", "Tue 31 Dec 2019", "Wed 1 Jan 2020", "Thu 2 Jan 2020"],
    "year.month": ["2019.1", "2019.2", "2019.10", "2019.11"],
    "month.year": ["11.2019", "12.2019", "01.2020", "02.2020"],
    "school years": ["1998/99", "1999/00", "2000/01", "2012/13"],
    "t9": [f"t{k}" for k in range(7, 13)],
    "week 9": [f"Week {k}" for k in range(7, 13)],
    "week-9": [f"week-{k}" for k in range(7, 13)],
    "signs": ["t-2", "t-1", "t0", "t+1", "t+2"],
    "numbers": ["-1", "8", "9", "10", "11"],
    "day of cycle": ["cycle 2 day 3", "cycle 2 day 10", "cycle 10 day 1"],
}


@pytest.mark.parametrize("kind", ORDERED)
def test_words_stand_in_the_order_of_time(kind):
    """The panel is that of the same data with times 0, 1, ..."""
    times = ORDERED[kind]
    frame = long(times)
    panel = jc.Panel.from_frame(frame, **ROLES)
    plain = jc.Panel.from_frame(frame.assign(when=frame["place"]), **ROLES)
    assert panel.time.tolist() == times
    np.testing.assert_array_equal(panel.y, plain.y)
    np.testing.assert_array_equal(panel.d, plain.d)


def test_averages_by_event_of_months_as_words_are_those_of_numbers():
    frame = long(MONTHS)
    found, plain = (
        jc.complete(jc.Panel.from_frame(f, **ROLES), jc.TwoWayFixedEffects()).event_study()
        for f in (frame, frame.assign(when=frame["place"]))
    )
    pd.testing.assert_frame_equal(found, plain)


TWO_ORDERS = {
    "day or month": (
        ["01/02/2020", "02/01/2020", "03/03/2020"],
        "'when' .*two orders, day-month-year .*'02/01/2020', '01/02/2020'.* or month-day-year "
        ".*'01/02/2020', '02/01/2020'",
    ),
    "no one form": (["13/01/2020", "01/13/2020", "01/14/2020"], "from the left .* from the right"),
    "two digits": (["01/02/20", "02/01/20", "03/03/20"], "year-month-day .* or day-month-year"),
    "day or year": (["Jan 19", "Feb 19", "Jan 20", "Feb 20"], "month-year .* or month-day"),
    "turn of the year": (["Oct", "Nov", "Jan", "Feb"], "month of one year .* or month of two"),
    "hyphens": (["t-1", "t-2", "t-3"], "with signs .*'t-3'.* or .* without signs .*'t-1'"),
    "decimals": (["v1.9", "v1.10", "v1.11"], "by their numbers .* or by their decimals"),
    "year.month": (["2019.9", "2019.11", "2019.12"], "as numbers .* or year-month"),
    "years of two centuries": (
        ["98", "99", "00", "01"],
        "as numbers .*'00', '01', '98'.* or year .*'98', '99', '00'",
    ),
    "versions": (["1.9", "1.10", "1.11"], "as numbers .*'1.10', '1.11', '1.9'.* or .*'1.9'"),
    "month and year in four digits": (["1198", "1298", "0199"], "as numbers .* or month-year"),
    "day and year in six digits": (["301219", "311219", "010120"], "as numbers .* or day-month"),
    "first working days": (["Nov-01", "Dec-01", "Jan-02"], "month-year .* or month-day of one"),
    "words": (["pre", "post", "late"], "by letters .* or as the rows have them"),
}


@pytest.mark.parametrize("kind", TWO_ORDERS)
def test_two_possible_orders_are_refused_and_shown(kind):
    times, words = TWO_ORDERS[kind]
    with pytest.raises(jc.DataError, match=words):
        jc.Panel.from_frame(long(times), **ROLES)


def test_words_without_numbers_stand_as_letters_and_rows_agree_or_as_a_category_says():
    frame = long(["after", "before", "later"]).sort_values(["shop", "place"])
    assert jc.Panel.from_frame(frame, **ROLES).time.tolist() == ["after", "before", "later"]
    order = ["before", "after", "later"]
    told = frame.assign(when=pd.Categorical(frame["when"], order, ordered=True))
    assert jc.Panel.from_frame(told, **ROLES).time.tolist() == order


def test_one_time_in_two_spellings_is_refused():
    with pytest.raises(jc.DataError, match="'when' writes one time in two ways, '2019-0?1' and"):
        jc.Panel.from_frame(long(["2019-1", "2019-01", "2019-2"]), **ROLES)
    with pytest.raises(jc.DataError, match="'0?9' and '0?9'"):
        jc.Panel.from_frame(long(["9", "09", "10"]), **ROLES)


def test_units_with_low_lines_stand_as_letters():
    frame = pd.DataFrame(dict(shop=["1_0", "1_0", "9", "9"], when=[1, 2] * 2))
    frame = frame.assign(sales=[5.0, 4.0, 6.0, 3.0], law=[0, 0, 0, 1])
    panel = jc.Panel.from_frame(frame, **ROLES)
    assert panel.unit.tolist() == ["1_0", "9"]
    np.testing.assert_array_equal(panel.y, [[5.0, 4.0], [6.0, 3.0]])


def test_columns_of_a_wide_frame_stand_in_the_order_of_time():
    frame = long(MONTHS)
    y, d = (frame.pivot(index="shop", columns="when", values=v) for v in ("sales", "law"))
    with pytest.raises(jc.DataError, match=r"'2019-12' stands before '2019-2': put them in order"):
        jc.Panel(y, d)
    panel = jc.Panel(y[MONTHS], d[MONTHS])
    np.testing.assert_array_equal(panel.y, jc.Panel.from_frame(frame, **ROLES).y)
    assert jc.Panel(y, d, time=np.arange(24)).m == 24
    with pytest.raises(jc.DataError, match="'2020' stands before '2019'"):
        jc.Panel(pd.DataFrame(np.eye(2), columns=[2020, 2019]), np.eye(2))


@pytest.mark.parametrize("kind", FRAMES)
def test_times_with_a_zone_keep_the_local_calendar(kind):
    """Midnight in Berlin is 22 or 23 o'clock of the day before in UTC; here the clock goes back."""
    days = pd.date_range("2020-10-23", periods=6, freq="D", tz="Europe/Berlin")
    panel = jc.Panel.from_frame(FRAMES[kind](long(days)), **ROLES)
    plain = jc.Panel.from_frame(long(days.tz_localize(None)), **ROLES)
    np.testing.assert_array_equal(panel.time, plain.time)
    np.testing.assert_array_equal(panel.y, plain.y)
    assert (
        panel.assignment.words == "staggered: 3 of 5 units treated, from 2020-10-25 to "
        "2020-10-26, all to the end"
    )


def test_an_hour_that_a_clock_shows_twice_is_refused():
    hours = pd.date_range("2020-10-25 00:00", periods=5, freq="h", tz="Europe/Berlin")
    with pytest.raises(
        jc.DataError, match=r"'when' has 2 times .* Europe/Berlin shows twice.*02:0"
    ):
        jc.Panel.from_frame(long(hours), **ROLES)
    assert jc.Panel.from_frame(long(hours.tz_convert("UTC")), **ROLES).m == 5


@pytest.mark.parametrize("kind", FRAMES)
def test_names_of_units_that_are_times_with_a_zone_keep_the_local_calendar(kind):
    days = pd.date_range("2020-06-01", periods=6, freq="D", tz="Europe/Berlin")
    frame = pd.DataFrame(dict(day=days, t=[0, 1] * 3, x=range(6), y=range(6)))
    roles = dict(treatment="t", outcome="y", covariates=["x"], id="day")
    sample = jc.Sample.from_frame(FRAMES[kind](frame), **roles)
    np.testing.assert_array_equal(sample.id, days.tz_localize(None).to_numpy())


def test_labels_that_are_times_with_a_zone_keep_the_local_calendar(unchecked):
    days = pd.Series(pd.date_range("2020-06-01", periods=2, freq="D", tz="Europe/Berlin"))
    sample = jc.Sample(np.arange(12.0)[:, None], np.arange(12) // 2 % 2, np.arange(12.0) ** 2)
    by = pl.from_pandas(days.iloc[np.arange(12) % 2].reset_index(drop=True))
    found = jc.GroupEstimates.from_trial(sample, by=by)
    assert found.labels == tuple(days.dt.tz_localize(None))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_spans_and_days_are_told_in_words(unit):
    spans = pd.to_timedelta(np.arange(6), unit="D").astype(f"timedelta64[{unit}]")
    panel = jc.Panel.from_frame(long(spans), **ROLES)
    assert "from 2 days to 3 days" in panel.summary()
    days = DAYS.astype(f"datetime64[{unit}]")
    found = jc.complete(jc.Panel.from_frame(long(days), **ROLES), jc.TwoWayFixedEffects())
    assert "from 2019-12-30 to 2019-12-31" in found.panel.summary()
    assert [str(v) for v in found.cohort_average()["cohort"]] == [str(d) for d in DAYS[2:4]]
    labels = jc.GroupEstimates([1.0, 2.0], label=spans.to_numpy()[:2]).labels
    assert labels == (pd.Timedelta(0), pd.Timedelta(days=1))


def test_placebos_name_units_and_times_in_words():
    d = np.arange(8) >= np.array([6, *[8] * 4])[:, None]
    y = np.random.default_rng(0).normal(size=(5, 8))
    hours = (np.arange(8) * 3_600_000_000).astype("timedelta64[us]")
    found = jc.complete(jc.Panel(y, d, time=hours), jc.TwoWayFixedEffects())
    label = jc.placebo(found, over="times").label
    assert label[0] == "from 0 days 03:00:00"
