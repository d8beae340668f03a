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
    another test compares it with; `chains`: its numbers are those of Markov chains, which go
    another way when the arms are swapped.
    """

    name: str
    make: Any
    estimands: tuple[str, ...]
    traceable: bool
    draws: bool
    surface: bool
    duplicates: bool
    oracle: str
    chains: bool = False


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
    Row("cem", lambda f: jc.CEM(bins=3), ALL, True, False, False, True, "test_cem"),
    Row(
        "subclassification",
        lambda f: jc.Subclassification(groups=4),
        ALL,
        False,
        False,
        False,
        False,
        "test_subclass",
    ),
    Row(
        "flame",
        lambda f: jc.FLAME(outcome=f, bins="q3"),
        ALL,
        False,
        False,
        True,
        False,
        "flame",
    ),
    Row("dame", lambda f: jc.DAME(outcome=f, bins="q3"), ALL, False, False, True, False, "flame"),
    Row("aipw", lambda f: jc.AIPW(outcome=f), ALL, True, False, True, False, "test_aipw"),
    Row("tmle", lambda f: jc.TMLE(outcome=f), ALL, True, False, True, False, "test_tmle"),
    Row("iptw", lambda f: jc.IPTW(), ALL, True, False, False, True, "test_weighting"),
    Row(
        "overlap-weights",
        lambda f: jc.OverlapWeights(),
        ("ato",),
        True,
        False,
        False,
        True,
        "test_weighting",
    ),
    Row(
        "entropy-balance",
        lambda f: jc.EntropyBalance(),
        ALL,
        True,
        False,
        False,
        True,
        "test_weighting",
    ),
    Row("cbps", lambda f: jc.CBPS(), ALL, True, False, False, True, "test_weighting"),
    Row(
        "nearest-neighbors",
        lambda f: jc.NearestNeighbors(),
        ALL,
        False,
        False,
        False,
        False,
        "test_nearest",
    ),
    Row(
        "nearest-neighbors",
        lambda f: jc.NearestNeighbors(ties="first", ratio=2),
        ALL,
        True,
        False,
        False,
        False,
        "test_nearest",
    ),
    Row(
        "prognostic-neighbors",
        lambda f: jc.PrognosticNeighbors(outcome=f),
        ALL,
        False,
        False,
        True,
        False,
        "test_nearest",
    ),
    Row("boss", lambda f: jc.BOSS(steps=200), ("att",), False, True, False, False, "test_boss"),
    Row(
        "genetic-matching",
        lambda f: jc.GeneticMatching(population=20, generations=5),
        ALL,
        False,
        True,
        False,
        False,
        "test_genetic",
    ),
    Row(
        "malts",
        lambda f: jc.MALTS(stretch=jc.Stretch(steps=20), k=5),
        ALL,
        False,
        False,
        True,
        False,
        "test_malts",
    ),
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
        "s-learner",
        lambda f: jc.SLearner(outcome=jc.Ridge()),
        ALL,
        True,
        False,
        False,
        False,
        "test_learners",
    ),
    Row(
        "t-learner",
        lambda f: jc.TLearner(outcome=jc.Ridge()),
        ALL,
        True,
        False,
        False,
        False,
        "test_learners",
    ),
    Row(
        "x-learner",
        lambda f: jc.XLearner(outcome=jc.Ridge(), effect=jc.Ridge()),
        ALL,
        True,
        False,
        False,
        False,
        "test_learners",
    ),
    Row(
        "r-learner",
        lambda f: jc.RLearner(outcome=jc.Ridge(), effect=jc.Ridge()),
        ALL,
        True,
        False,
        False,
        False,
        "test_learners",
    ),
    Row(
        "dr-learner",
        lambda f: jc.DRLearner(outcome=jc.Ridge(), effect=jc.Ridge()),
        ALL,
        True,
        False,
        False,
        False,
        "test_learners",
    ),
    Row("forest", lambda f: jc.Forest(trees=8), ALL, False, False, False, False, "test_forests"),
    Row(
        "causal-forest",
        lambda f: jc.CausalForest(outcome=jc.Ridge(), trees=8),
        ALL,
        False,
        False,
        False,
        False,
        "test_forests",
    ),
    Row("dml", lambda f: jc.DML(outcome=jc.Ridge()), ALL, True, False, False, False, "test_dml"),
    Row(
        "dml",
        lambda f: jc.DML(kind="partial_linear", outcome=jc.Ridge()),
        ("ato",),
        True,
        False,
        False,
        False,
        "test_dml",
    ),
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
    Row(
        "bart-effect",
        lambda f: jc.BARTEffect(
            bart=jc.BART(trees=10, chains=2, burn=20, draws=20, thin=1), arms="together"
        ),
        ALL,
        False,
        False,
        False,
        False,
        "test_bayesian",
        chains=True,
    ),
    Row(
        "bcf",
        lambda f: jc.BCF(trees=10, effect_trees=5, chains=2, burn=20, draws=20, thin=1),
        ALL,
        False,
        False,
        False,
        False,
        "test_bayesian",
        chains=True,
    ),
]
