"""The table of all methods: one line gives a new one the common battery of tests."""

from typing import Any, NamedTuple

from conftest import wavy

import jcausal as jc

ALL = ("att", "atc", "ate")
SURFACE = jc.Function(wavy)


class Row(NamedTuple):
    """A method as the battery needs it.

    `name`: the command's `--method`; `make`: the method with a surface as its outcome model, where
    it takes one; `estimands`; `traceable`: runs under jit and vmap; `draws`: draws at random beyond
    the partition; `surface`: is guided by a surface that is trained on other folds; `duplicates`: a
    unit of weight two is two units; `oracle`: where an independent implementation stands, which
    another test compares it with.
    """

    name: str
    make: Any
    estimands: tuple[str, ...]
    traceable: bool
    draws: bool
    surface: bool
    duplicates: bool
    oracle: str


METHODS = [
    Row("ahb", lambda f: jc.AHB(outcome=f), ALL, True, False, True, False, "level_boxes"),
    Row("fast-ahb", lambda f: jc.FastAHB(outcome=f), ALL, True, False, True, True, "fast_ahb"),
    Row(
        "exact-ahb",
        lambda f: jc.ExactAHB(outcome=f),
        ALL,
        False,
        False,
        True,
        True,
        "exact_ahb",
    ),
    Row("m5-match", lambda f: jc.M5Match(), ("att",), False, False, False, False, "subsets"),
    Row("m5-model", lambda f: jc.M5Model(), ("att",), True, False, False, False, "m5_tree"),
    Row("aipw", lambda f: jc.AIPW(outcome=f), ALL, True, False, True, False, "test_aipw"),
    Row(
        "optimal-matching",
        lambda f: jc.OptimalMatching(),
        ("att", "atc"),
        False,
        False,
        False,
        False,
        "test_optimal",
    ),
    Row("full-matching", lambda f: jc.FullMatching(), ALL, False, False, False, False, "test_full"),
    Row(
        "cardinality-matching",
        lambda f: jc.CardinalityMatching(balance=0.2),
        ALL,
        False,
        False,
        False,
        False,
        "test_cardinality",
    ),
]
