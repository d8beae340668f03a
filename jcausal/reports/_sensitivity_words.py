"""What a variable that was left out would have to do to change the answer, in words."""

from jaxtyping import Array, PRNGKeyArray

from jcausal.data import DataError
from jcausal.diagnostics import EValue, OmittedVariable, RosenbaumBounds, sensitivity
from jcausal.effects import Average, Effects
from jcausal.inference import Interval

Found = Effects | Average


def sensitivity_words(found: Found, level: float, average: Interval | None = None) -> list[str]:
    """How much a variable that was left out must explain, in one line."""
    try:
        told = sensitivity(found, OmittedVariable(level=level), interval=average)
    except (ValueError, DataError) as error:
        return [f"no sensitivity to a variable that was left out: {error}"]
    more = f"; {told.strongest}" if told.strongest else ""
    return [f"sensitivity: {told.line}{more}"]


WAYS = (
    ("A variable that was left out", OmittedVariable),
    ("E-value", EValue),
    ("Rosenbaum bounds", RosenbaumBounds),
)


def sensitivity_answers(
    found: Found,
    level: float,
    average: Interval | None = None,
    key: PRNGKeyArray | Array | int | None = None,
) -> list[tuple[str, str]]:
    """What every way says, by its name; of one that does not fit the result, why."""
    said = []
    for name, kind in WAYS:
        try:
            told = str(sensitivity(found, kind(level=level), interval=average, key=key))
        except (ValueError, DataError) as error:
            told = f"not for this result: {error}"
        said.append((name, told))
    return said
