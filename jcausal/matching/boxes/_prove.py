"""The best boxes of many queries: the device search first, integer programs for what is left."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Literal

from jcausal.matching.boxes._around import Quest, around
from jcausal.matching.boxes._programs import Around, ladder_program, objective
from jcausal.matching.boxes._search import Found, Limits, search, whole
from jcausal.solvers import IntegerProgram, Interrupted, Solution, SolverPool

Engine = Literal["auto", "device", "highs"]
CHUNK = 512  # queries whose problems are laid out together
DEARER = 100  # what a node of an integer program costs, in nodes of the search


def prove(
    quest: Quest,
    limits: Limits,
    engine: Engine,
    pool: SolverPool | None,
) -> Iterator[tuple[int, Found | None]]:
    """Find the best box of every query.

    Yields (place of the query, what was found), None where no box holds enough units.

    **Raises:** KeyboardInterrupt upon Ctrl-C, after what is known of the queries at work.
    """
    q = len(quest.starts)
    with ExitStack() as stack:
        for first in range(0, q, CHUNK):
            every = {i: around(quest, i) for i in range(first, min(first + CHUNK, q))}
            yield from ((i, None) for i, each in every.items() if not _possible(each))
            every = {i: each for i, each in every.items() if _possible(each)}
            left = []
            try:
                for i, found in _searched(every, limits, engine):
                    if found.ended == "optimal" or engine == "device":
                        yield i, found
                    else:
                        left.append((i, found))
            except KeyboardInterrupt:
                yield from left
                raise
            if left and pool is None:
                pool = stack.enter_context(SolverPool())
            if left and pool is not None:
                yield from _solved(every, left, limits, pool)


def _possible(around: Around) -> bool:
    return bool((around.units.sum(0) >= around.minimum).all())


def _searched(
    every: dict[int, Around], limits: Limits, engine: Engine
) -> Iterator[tuple[int, Found]]:
    """What the device finds, or, where it is not asked, the whole box."""
    if engine == "highs":
        yield from ((i, whole(each)) for i, each in every.items())
        return
    names = list(every)
    for k, found in search(list(every.values()), limits):
        yield names[k], found


def _solved(
    every: dict[int, Around], left: list[tuple[int, Found]], limits: Limits, pool: SolverPool
) -> Iterator[tuple[int, Found]]:
    """What integer programs make of the queries that are left."""
    decoders = {}

    def programs() -> Iterator[IntegerProgram]:
        for i, found in left:
            program, decoders[i] = ladder_program(every[i], found.reach)
            yield program

    nodes = max(1, limits.nodes // DEARER)
    stop = None
    try:
        solutions: list[Solution | None] = [
            *pool.solve(programs(), time_limit=limits.seconds, node_limit=nodes, gap=limits.gap)
        ]
    except Interrupted as stopped:
        stop, solutions = stopped, list(stopped.found)
    for k, (i, found) in enumerate(left):
        solution = solutions[k] if k < len(solutions) else None
        if solution is not None:
            found = _together(every[i], found, solution, decoders[i], limits)
        yield i, found
    if stop is not None:
        raise KeyboardInterrupt


def _together(
    around: Around, known: Found, solution: Solution, decode: Callable, limits: Limits
) -> Found:
    """The better of the two boxes, and the better of the two bounds."""
    best, total = known.reach, known.objective
    if solution.values is not None:
        reach = decode(solution.values)
        other = objective(around, reach)
        if other < total:
            best, total = reach, other
    bound = min(max(known.bound, solution.bound), total)
    ended = solution.ended
    if total - bound <= limits.gap:
        ended = "optimal"
    return Found(best, total, bound, ended, known.nodes + solution.nodes)
