"""From an average without groups to what is printed and written."""

import jcausal as jc
from jcausal.cli._files import Writer, table_writers
from jcausal.data import as_pandas
from jcausal.reports import sensitivity_words

NO_GROUPS = (
    "This method makes no groups: there are an average and the units behind it, and no balance, "
    "groups, matched data or pictures."
)


def average_report(found: jc.effects.Average, level: float) -> str:
    """The average with its interval and what to beware of, in words."""
    told = "\n".join([found.summary(level), *sensitivity_words(found, level)])
    return f"{told}\n\n{NO_GROUPS}"


def average_tables(
    found: jc.effects.Average, level: float, text: str, *, parquet: bool
) -> dict[str, Writer]:
    """The summary, the average, and what is known of every unit that counts."""
    made = dict(average=as_pandas(found.to_frame(level)), units=as_pandas(found.units_frame(level)))
    return table_writers(made, text, parquet)
