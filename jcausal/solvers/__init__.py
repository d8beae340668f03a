"""Integer programs: what they are, and a pool of solvers for many of them."""

from jcausal.solvers._pool import Interrupted as Interrupted
from jcausal.solvers._pool import SolverPool as SolverPool
from jcausal.solvers._program import Ended as Ended
from jcausal.solvers._program import IntegerProgram as IntegerProgram
from jcausal.solvers._program import Solution as Solution
from jcausal.solvers._program import SolverError as SolverError
