"""The table of completion methods: one line a method."""

from collections.abc import Callable

from jcausal.panel._completer import Completer
from jcausal.panel._row_scaled import RowScaledSpectral
from jcausal.panel._unit_means import UnitMeans

METHODS: tuple[Callable[[], Completer], ...] = (RowScaledSpectral, UnitMeans)
