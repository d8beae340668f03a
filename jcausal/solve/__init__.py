"""Integer programs: what they are, and a pool of solvers for many of them."""

from jcausal.solve._pool import Interrupted as Interrupted
from jcausal.solve._pool import SolverPool as SolverPool
from jcausal.solve._program import Ended as Ended
from jcausal.solve._program import IntegerProgram as IntegerProgram
from jcausal.solve._program import Solution as Solution
from jcausal.solve._program import SolverError as SolverError
