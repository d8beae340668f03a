"""The hot loops of jcausal as pure functions on arrays (imports jax and jaxtyping only)."""

from jcausal_kernels.bootstrap import bootstrap_sums as bootstrap_sums
from jcausal_kernels.bootstrap import resampling_weights as resampling_weights
from jcausal_kernels.box_members import MISSING as MISSING
from jcausal_kernels.box_members import Rungs as Rungs
from jcausal_kernels.box_members import Units as Units
from jcausal_kernels.box_members import membership as membership
from jcausal_kernels.box_search import BoxProblems as BoxProblems
from jcausal_kernels.box_search import Nodes as Nodes
from jcausal_kernels.box_search import Search as Search
from jcausal_kernels.box_search import box_problems as box_problems
from jcausal_kernels.box_search import box_search as box_search
from jcausal_kernels.box_search import start_search as start_search
from jcausal_kernels.box_sums import box_counts as box_counts
from jcausal_kernels.box_sums import box_sums as box_sums
from jcausal_kernels.box_sums import box_weights as box_weights
from jcausal_kernels.grid_variance import Slabs as Slabs
from jcausal_kernels.grid_variance import grid_variance as grid_variance
from jcausal_kernels.grid_variance import slab_points as slab_points
from jcausal_kernels.nearest_in_groups import nearest_in_groups as nearest_in_groups
from jcausal_kernels.prune_pairs import prune_pairs as prune_pairs
from jcausal_kernels.split_scan import Splits as Splits
from jcausal_kernels.split_scan import sorted_order as sorted_order
from jcausal_kernels.split_scan import split_scan as split_scan
from jcausal_kernels.subset_search import Subset as Subset
from jcausal_kernels.subset_search import subset_search as subset_search
