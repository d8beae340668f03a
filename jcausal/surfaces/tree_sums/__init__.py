"""Sums of many regression trees: as arrays, evaluated exactly, and as response surfaces."""

from jcausal.surfaces.tree_sums._foreign_trees import as_arrays as as_arrays
from jcausal.surfaces.tree_sums._foreign_trees import read_ensemble as read_ensemble
from jcausal.surfaces.tree_sums._one_shape import in_one_shape as in_one_shape
from jcausal.surfaces.tree_sums._tree_arrays import TreeArrays as TreeArrays
from jcausal.surfaces.tree_sums._tree_arrays import from_heaps as from_heaps
from jcausal.surfaces.tree_sums._tree_sum import TreeSum as TreeSum
from jcausal.surfaces.tree_sums._tree_sum_surface import TreeSumSurface as TreeSumSurface
