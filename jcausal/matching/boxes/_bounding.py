"""The covariates that boxes are best seen in."""

from collections.abc import Sequence

import numpy as np

from jcausal.matching.boxes._boxes import Boxes


def bounding(boxes: Boxes, which: Sequence[int]) -> list[int]:
    """Ordered covariates that are no categories, those first that these boxes are best seen in.

    First by how many of the boxes have a place there (one that holds only missing values has
    none), then those that bound a box at all, numbers before those of two values, and by how many
    edges lie inside the data; equals stand in the sample's order.
    """
    schema, chosen = boxes.sample.schema, np.asarray(which, int)
    top = np.asarray(boxes.sample.heights)[schema.ordered] - 1
    lower, upper = (np.asarray(r)[chosen] for r in (boxes.lower_code, boxes.upper_code))
    placed = (~np.isnan(np.asarray(boxes.lower)[chosen])).sum(0)
    edges = ((lower > 0).astype(int) + (upper < top)).sum(0)
    ranks = {}
    for slot, j in enumerate(schema.ordered.tolist()):
        if schema.kinds[j] != "category":
            number = schema.kinds[j] == "number"
            ranks[j] = (placed[j], edges[slot] > 0, number, edges[slot])
    return sorted(ranks, key=ranks.__getitem__, reverse=True)
