"""The interval of an average where nobody says which."""

from jcausal.data import Sample
from jcausal.inference._abadie_imbens import AbadieImbens
from jcausal.inference._average import AverageMethod
from jcausal.inference._bootstrap import Bootstrap

LARGE = 50_000  # rows from which on Abadie and Imbens' neighbours take minutes


def usual_interval(sample: Sample, level: float = 0.95) -> AverageMethod:
    """Abadie and Imbens' interval; the bootstrap for clusters, and from 50,000 rows on.

    **Returns:** a method for `jc.interval`.
    """
    shared = sample.n >= LARGE or sample.cluster is not None
    return Bootstrap(level=level) if shared else AbadieImbens(level=level)
