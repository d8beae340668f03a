"""Evolution: a population of weights, of which the best have children."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from jcausal.matching._matcher import Progress
from jcausal.matching.learned._balance_tests import is_gain, ranked

WIDE = np.log(1000.0)  # first weights lie between 1/1000 and 1000
FAR = 2 * WIDE  # and none farther from 1 than so much in logs
PARENTS = 4  # one of so many is a parent
BEYOND = 0.25  # how far a child may lie beyond its parents, as a share of the way between them
DIGITS = 9  # of p-values that are the same
MUTANTS = 0.3  # share of a child's weights that move
STRANGERS = 0.2  # share of a generation that is drawn anew

Grade = Callable[[Float[np.ndarray, "P r"]], Float[np.ndarray, "P g"]]


class EvolutionPlan(NamedTuple):
    """How long it goes on.

    - `population`: candidates of a generation; `generations`: of them at most.
    - `wait`: it ends after so many without gain.
    """

    population: int
    generations: int
    wait: int


class Evolved(NamedTuple):
    """The best weights (r,), their p-values (g,), those of equal weights, and the generations."""

    weights: Float[np.ndarray, " r"]
    p: Float[np.ndarray, " g"]
    p_of_equal: Float[np.ndarray, " g"]
    generations: int


def evolve(
    grade: Grade, columns: int, plan: EvolutionPlan, key: PRNGKeyArray, progress: Progress | None
) -> Evolved:
    """Weights of `columns` coordinates whose graded p-values are the largest, smallest first.

    The first generation holds equal weights, each coordinate alone a hundredfold, and weights drawn
    evenly in logs. The best quarter of all seen so far are parents; a child's log weight lies
    between those of two parents or somewhat beyond, and some move by normal draws of a scale that
    is drawn for the child; a fifth of each generation is drawn anew. Draws follow the key
    and the generation.
    """
    found = _first(columns, plan.population, _draws(key, 0))
    logs, p = np.zeros((0, columns)), None
    kept, best, idle, done = max(2, plan.population // PARENTS), None, 0, 0
    equal = None
    for generation in range(1, plan.generations + 1):
        graded = grade(np.exp(found))
        equal = graded[0] if equal is None else equal
        logs = np.concatenate([logs, found])
        p = graded if p is None else np.concatenate([p, graded])
        order = _distinct(p, ranked(p))[:kept]
        logs, p, done = logs[order], p[order], generation
        idle = 0 if best is None or is_gain(p[0], best) else idle + 1
        best = p[0]
        if progress is not None:
            told = f"generations, smallest p-value {best.min():.2g}"
            progress(told, generation, plan.generations)
        if idle >= plan.wait or columns < 2:
            break
        found = _children(logs, plan.population, _draws(key, generation))
    assert p is not None and equal is not None
    return Evolved(np.exp(logs[0] - logs[0].mean()), np.sort(p[0]), np.sort(equal), done)


def _distinct(p: Float[np.ndarray, "P g"], order: Int[np.ndarray, " P"]) -> Int[np.ndarray, " k"]:
    """Places in their order, of those with the same p-values (the same matches) the first."""
    _, first = np.unique(np.sort(p, axis=1)[order].round(DIGITS), axis=0, return_index=True)
    return order[np.sort(first)]


def _draws(key: PRNGKeyArray, generation: int) -> np.random.Generator:
    """The draws of a generation."""
    return np.random.default_rng([*np.asarray(jax.random.key_data(key)).tolist(), generation])


def _first(columns: int, population: int, draws: np.random.Generator) -> Float[np.ndarray, "P r"]:
    """Logs of the first weights."""
    known = np.concatenate([np.zeros((1, columns)), np.log(100) * np.eye(columns)])[:population]
    return np.concatenate([known, _strangers(columns, population - len(known), draws)])


def _strangers(columns: int, many: int, draws: np.random.Generator) -> Float[np.ndarray, "s r"]:
    """Logs of weights drawn evenly in logs."""
    return draws.uniform(-WIDE, WIDE, (many, columns))


def _children(
    parents: Float[np.ndarray, "k r"], population: int, draws: np.random.Generator
) -> Float[np.ndarray, "P r"]:
    """Logs of the weights of the next generation; the better parents, which stand first, more."""
    strangers = int(population * STRANGERS)
    shape = population - strangers, parents.shape[1]
    one, other = draws.integers(0, len(parents), (2, 2, shape[0])).min(1)
    share = draws.uniform(-BEYOND, 1 + BEYOND, shape)
    child = parents[one] + share * (parents[other] - parents[one])
    scale = np.exp(draws.uniform(np.log(0.03), np.log(3.0), (shape[0], 1)))
    moves = draws.random(shape) < np.maximum(MUTANTS, 1 / parents.shape[1])
    child += np.where(moves, scale * draws.normal(size=shape), 0)
    child -= child.mean(1, keepdims=True)
    new = _strangers(shape[1], strangers, draws)
    return np.concatenate([np.clip(child, -FAR, FAR), new])
