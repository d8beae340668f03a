"""Which interval stands around an average where nobody asks for another."""

from jcausal.effects import Effects
from jcausal.inference import AbadieImbens, AverageMethod, Bootstrap

LARGE = 50_000  # rows, from which Abadie and Imbens' neighbours take minutes


def usual_interval(effects: Effects, level: float = 0.95) -> AverageMethod:
    """Abadie and Imbens' interval; the bootstrap of 50,000 rows and more, and of clusters."""
    large = effects.sample.n >= LARGE or effects.sample.cluster is not None
    return Bootstrap(level=level) if large else AbadieImbens(level=level)
