"""How far a normal interval reaches."""

from statistics import NormalDist


def normal_quantile(level: float) -> float:
    """How many standard errors a two-sided interval of a level reaches."""
    return NormalDist().inv_cdf(0.5 + level / 2)
