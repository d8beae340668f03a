"""The completion methods of the panel benchmarks, by name; and how large a panel each is given."""

from typing import NamedTuple

import jcausal as jc


class Method(NamedTuple):
    """A method, and the most cells that it is given (None: any number).

    With `by_arm` a method of untreated cells completes each arm alone: the treated's outcomes as
    the untreated's, with the arms exchanged.
    """

    completer: jc.panels.Completer
    cells: int | None = None
    by_arm: bool = False


SWITCHING = {  # both arms in every row
    "RowScaledSpectral": Method(jc.RowScaledSpectral()),
    "RowScaledSpectral, centre=False": Method(jc.RowScaledSpectral(centre=False)),
    "RowScaledSpectral, rank 3": Method(jc.RowScaledSpectral(rank=3)),
    "RowScaledSpectral, rank 3, refine 20": Method(jc.RowScaledSpectral(rank=3, refine=20)),
    "USVT": Method(jc.USVT()),
    "MCNNM, all cells": Method(jc.MCNNM(cells="all"), 400 * 400),
    "CrossFittedDR": Method(jc.CrossFittedDR()),
    "DoublyRobustNeighbors": Method(jc.DoublyRobustNeighbors(), 200 * 200),
    "TwoWayFixedEffects, by arm": Method(jc.TwoWayFixedEffects(), by_arm=True),
    "SyntheticNearestNeighbors, by arm": Method(
        jc.SyntheticNearestNeighbors(), 100 * 100, by_arm=True
    ),
    "UnitMeans": Method(jc.UnitMeans()),
}
ABSORBING = {  # effects on treated cells
    "TwoWayFixedEffects": Method(jc.TwoWayFixedEffects()),
    "SyntheticControl": Method(jc.SyntheticControl()),
    "SyntheticDiD": Method(jc.SyntheticDiD()),
    "MCNNM": Method(jc.MCNNM()),
    "SyntheticNearestNeighbors": Method(jc.SyntheticNearestNeighbors()),
}
