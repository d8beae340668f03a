"""The hot loops, re-exported: pure functions on arrays."""

from jcausal_kernels import MISSING as MISSING
from jcausal_kernels import BoxProblems as BoxProblems
from jcausal_kernels import Nodes as Nodes
from jcausal_kernels import Rungs as Rungs
from jcausal_kernels import Search as Search
from jcausal_kernels import Slabs as Slabs
from jcausal_kernels import Splits as Splits
from jcausal_kernels import Subset as Subset
from jcausal_kernels import Units as Units
from jcausal_kernels import bootstrap_sums as bootstrap_sums
from jcausal_kernels import box_counts as box_counts
from jcausal_kernels import box_problems as box_problems
from jcausal_kernels import box_search as box_search
from jcausal_kernels import box_sums as box_sums
from jcausal_kernels import box_weights as box_weights
from jcausal_kernels import grid_variance as grid_variance
from jcausal_kernels import membership as membership
from jcausal_kernels import nearest_in_groups as nearest_in_groups
from jcausal_kernels import prune_pairs as prune_pairs
from jcausal_kernels import resampling_weights as resampling_weights
from jcausal_kernels import slab_points as slab_points
from jcausal_kernels import sorted_order as sorted_order
from jcausal_kernels import split_scan as split_scan
from jcausal_kernels import start_search as start_search
from jcausal_kernels import subset_search as subset_search
