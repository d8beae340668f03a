"""The user's words for a report."""

from typing import NamedTuple


class Wording(NamedTuple):
    """What a report calls things.

    `title` of the page, "" for the question; `treatment` and `outcome` as words of a sentence;
    `unit` of the outcome, such as "$"; `seed`: the key that the run was given, None where unknown.
    """

    title: str = ""
    treatment: str = "the treatment"
    outcome: str = "the outcome"
    unit: str = ""
    seed: int | None = None
