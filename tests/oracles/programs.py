"""Integer programs for tests: small ones, hard ones, endless ones."""

import numpy as np

import jcausal as jc


def program_of(cost, rows=(), low=(), high=(), *, lower=0.0, upper=1.0, integer=True, **options):
    """A program from a dense matrix."""
    cost = np.asarray(cost, float)
    rows = np.asarray(rows, float).reshape(len(low), cost.size)
    row, column = np.nonzero(rows)
    return jc.solvers.IntegerProgram(
        cost=cost,
        lower=np.full(cost.size, lower),
        upper=np.full(cost.size, upper),
        integer=np.full(cost.size, integer),
        start=np.searchsorted(row, np.arange(len(low) + 1)),
        column=column,
        value=rows[row, column],
        row_lower=np.asarray(low, float),
        row_upper=np.asarray(high, float),
        **options,
    )


SMALL = program_of([-1, -3], [[1, 1]], [0], [1.5])


def random_dense(seed):
    """Costs, rows and their bounds for up to 8 binary columns; some cannot be met."""
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 9)
    rows = rng.integers(-3, 4, (2, n)).astype(float)
    low = rng.integers(-3, 3, 2).astype(float)
    return rng.normal(size=n), rows, low, low + rng.integers(0, 4, 2)


def hard(seed, n=20, m=3):
    """Rows that hold about half of their sum: hundreds of nodes, or more."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 100, (m, n)).astype(float)
    half = rows.sum(1) // 2
    rows = np.concatenate([rows, np.eye(m), -np.eye(m)], axis=1)
    cost = np.concatenate([np.zeros(n), np.ones(2 * m)])
    upper = np.concatenate([np.ones(n), np.full(2 * m, 1e4)])
    return program_of(cost, rows, half, half)._replace(upper=upper)


TOUGH = hard(1, n=15)  # a tenth of a second
ENDLESS = hard(0, n=50, m=6)
MIXED = [program_of(*random_dense(seed)) for seed in range(12)] + [hard(seed) for seed in range(4)]
WORK = [hard(seed) for seed in range(16)]
FEW = dict(node_limit=60)


def plain(solutions):
    """What must not depend on where programs are solved: all but the seconds."""
    return [
        (each.ended, each.objective, each.bound, each.nodes, tuple(() if v is None else v))
        for each in solutions
        for v in [each.values]
    ]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(plain(ours), plain(theirs)):
        np.testing.assert_equal(a, b)


def alone(programs, **limits):
    """The solutions by one thread."""
    with jc.solvers.SolverPool(1) as pool:
        return pool.solve(programs, **limits)
