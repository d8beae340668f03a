"""Panels: Proposition 99 in the package, and three more read by path."""

from os import PathLike

import pandas as pd

from jcausal.datasets._read import read_packaged, read_table
from jcausal.panels import Panel


def prop99() -> Panel:
    """Cigarette sales in 39 states, 1970 to 2000; California is treated from 1989 on.

    Proposition 99 raised California's tax by 25 cents a pack in January 1989. States with large
    tobacco programmes or taxes of their own are left out, as in the paper. Outcome: packs sold per
    head and year.

    **Returns:** a `Panel` of 39 x 31 cells, all observed, 12 of them treated. **Raises:** nothing.

    **Source:** Abadie, Diamond and Hainmueller (2010), JASA 105(490); the file is that of the
    synthdid project (copyright 2019, Stanford University; BSD 3-clause licence, beside the file).

    **Example:**

        >>> import jcausal as jc
        >>> panel = jc.datasets.prop99()
        >>> panel.assignment.words
        'block: 1 of 39 units treated from 1989 to the end'
    """
    frame = read_packaged("prop99")
    return _panel(frame, ("State", "Year", "PacksPerCapita"), "treated", "packs per head")


def basque(path: str | PathLike, *, since: int = 1970) -> Panel:
    """Output per head in 17 Spanish regions, 1955 to 1997; the Basque Country is treated.

    Terrorism began around 1970 and was at its height from 1975 on. The file's region 1 is Spain as
    a whole, and is left out. Outcome: GDP per head in thousands of dollars of 1986.

    **Arguments:** `path`: the CSV file of the R package Synth's data set "basque"; `since`: the
    first year that counts as treated.

    **Returns:** a `Panel` of 17 x 43 cells. **Raises:** `DataError` for another file; OSError.

    **Source:** Abadie and Gardeazabal (2003), American Economic Review 93(1).
    """
    frame = read_table(path, "the Basque Country", ("regionno", "regionname", "year", "gdpcap"))
    frame = frame[frame["regionno"] != 1]
    treated = (frame["regionno"] == 17) & (frame["year"] >= since)
    frame = frame.assign(treated=treated.astype(int))
    return _panel(frame, ("regionname", "year", "gdpcap"), "treated", "GDP per head (1000 $)")


def german_reunification(path: str | PathLike) -> Panel:
    """Output per head in 17 countries, 1960 to 2003; West Germany is treated from 1990 on.

    Outcome: GDP per head in dollars at purchasing power parity.

    **Arguments:** `path`: a CSV file with the columns country, year, gdp of the paper's data.

    **Returns:** a `Panel` of 17 x 44 cells. **Raises:** `DataError` for another file; OSError.

    **Source:** Abadie, Diamond and Hainmueller (2015), American Journal of Political Science 59(2).
    """
    frame = read_table(path, "German reunification", ("country", "year", "gdp"))
    treated = (frame["country"] == "West Germany") & (frame["year"] >= 1990)
    frame = frame.assign(treated=treated.astype(int))
    return _panel(frame, ("country", "year", "gdp"), "treated", "GDP per head ($)")


def turnout(path: str | PathLike) -> Panel:
    """Turnout in presidential elections in 47 states, 1920 to 2012; nine adopt a reform in turn.

    The treatment is registration on election day. Outcome: turnout in percent.

    **Arguments:** `path`: a CSV file with the columns abb, year, turnout, policy_edr of the data of
    the R package gsynth.

    **Returns:** a `Panel` of 47 x 24 cells. **Raises:** `DataError` for another file; OSError.

    **Source:** Xu (2017), Political Analysis 25(1).
    """
    frame = read_table(path, "turnout", ("abb", "year", "turnout", "policy_edr"))
    return _panel(frame, ("abb", "year", "turnout"), "policy_edr", "turnout (%)")


def _panel(frame: pd.DataFrame, columns: tuple[str, str, str], treatment: str, word: str) -> Panel:
    """Unit, time, outcome; the outcome under a readable name."""
    unit, time, outcome = columns
    named = frame.rename(columns={outcome: word})
    return Panel.from_frame(named, unit=unit, time=time, outcome=word, treatment=treatment)
