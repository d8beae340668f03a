"""Gradient-boosted trees, fitted and evaluated on the device."""

from jcausal.surfaces.boosted_trees._boosted_trees import BoostedTrees as BoostedTrees
from jcausal.surfaces.boosted_trees._boosted_trees import BoostedTreesSurface as BoostedTreesSurface
