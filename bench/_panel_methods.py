"""The completion methods of the panel benchmarks, by name; and how large a panel each is given."""

from typing import NamedTuple

import jcausal as jc


class Method(NamedTuple):
    """A method, and the most cells that it is given (None: any number)."""

    completer: jc.Completer
    cells: int | None = None


SWITCHING = {  # both arms in every row
    "RowScaledSpectral": Method(jc.RowScaledSpectral()),
    "RowScaledSpectral, rank 4": Method(jc.RowScaledSpectral(rank=4)),
    "RowScaledSpectral, rank 4, refine 20": Method(jc.RowScaledSpectral(rank=4, refine=20)),
    "USVT": Method(jc.USVT()),
    "MCNNM, all cells": Method(jc.MCNNM(cells="all"), 400 * 400),
    "CrossFittedDR": Method(jc.CrossFittedDR()),
    "DoublyRobustNeighbors": Method(jc.DoublyRobustNeighbors(), 200 * 200),
    "UnitMeans": Method(jc.UnitMeans()),
}
ABSORBING = {  # effects on treated cells
    "TwoWayFixedEffects": Method(jc.TwoWayFixedEffects()),
    "SyntheticControl": Method(jc.SyntheticControl()),
    "SyntheticDiD": Method(jc.SyntheticDiD()),
    "MCNNM": Method(jc.MCNNM()),
    "SyntheticNearestNeighbors": Method(jc.SyntheticNearestNeighbors()),
}
