"""The best boxes of many queries: the device search first, integer programs for what is left."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Literal

from jcausal.matching.boxes.exact._branch_and_bound import BestBox, SearchLimits, search, whole
from jcausal.matching.boxes.exact._integer_programs import PlacesAround, ladder_program, objective
from jcausal.matching.boxes.exact._places import Quest, places_around
from jcausal.solvers import IntegerProgram, Interrupted, Solution, SolverPool

Engine = Literal["auto", "device", "highs"]
CHUNK = 512  # queries whose problems are laid out together
DEARER = 100  # what a node of an integer program costs, in nodes of the search


def prove(
    quest: Quest,
    limits: SearchLimits,
    engine: Engine,
    pool: SolverPool | None,
) -> Iterator[tuple[int, BestBox | None]]:
    """Find the best box of every query.

    Yields (place of the query, what was found), None where no box holds enough units.

    **Raises:** KeyboardInterrupt upon Ctrl-C, after what is known of the queries at work.
    """
    q = len(quest.starts)
    with ExitStack() as stack:
        for first in range(0, q, CHUNK):
            every = {i: places_around(quest, i) for i in range(first, min(first + CHUNK, q))}
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


def _possible(places: PlacesAround) -> bool:
    return bool((places.units.sum(0) >= places.minimum).all())


def _searched(
    every: dict[int, PlacesAround], limits: SearchLimits, engine: Engine
) -> Iterator[tuple[int, BestBox]]:
    """What the device finds, or, where it is not asked, the whole box."""
    if engine == "highs":
        yield from ((i, whole(each)) for i, each in every.items())
        return
    names = list(every)
    for k, found in search(list(every.values()), limits):
        yield names[k], found


def _solved(
    every: dict[int, PlacesAround],
    left: list[tuple[int, BestBox]],
    limits: SearchLimits,
    pool: SolverPool,
) -> Iterator[tuple[int, BestBox]]:
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
    places: PlacesAround, known: BestBox, solution: Solution, decode: Callable, limits: SearchLimits
) -> BestBox:
    """The better of the two boxes, and the better of the two bounds."""
    best, total = known.reach, known.objective
    if solution.values is not None:
        reach = decode(solution.values)
        other = objective(places, reach)
        if other < total:
            best, total = reach, other
    bound = min(max(known.bound, solution.bound), total)
    ended = solution.ended
    if total - bound <= limits.gap:
        ended = "optimal"
    return BestBox(best, total, bound, ended, known.nodes + solution.nodes)
