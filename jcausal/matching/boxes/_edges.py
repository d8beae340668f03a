"""Boxes by their codes."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Int


class Edges(NamedTuple):
    """Inclusive codes on the ladders `lower`, `upper` (q, o), and `open` levels (q, c, l)."""

    lower: Int[Array, "q o"]
    upper: Int[Array, "q o"]
    open: Bool[Array, "q c l"]
