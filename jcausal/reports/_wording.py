"""The user's words for a report."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, PRNGKeyArray

from jcausal.inference import AverageMethod


class Wording(NamedTuple):
    """What a report calls things.

    `title` of the page, "" for the question; `treatment` and `outcome` as words of a sentence;
    `unit` of the outcome, such as "$"; `seed`: the key that the run was given, None where unknown;
    `reword`: what the library's sentences become, such as options of a command.
    """

    title: str = ""
    treatment: str = "the treatment"
    outcome: str = "the outcome"
    unit: str = ""
    seed: int | None = None
    reword: Callable[[str], str] = str


class Request(NamedTuple):
    """How a page is made: words, the method (or None), the rule of intervals, and its key."""

    wording: Wording
    method: object
    rule: AverageMethod
    key: PRNGKeyArray | Array | int | None
