"""The hot loops, re-exported: pure functions on arrays."""

from jcausal_kernels import MISSING as MISSING
from jcausal_kernels import Rungs as Rungs
from jcausal_kernels import Slabs as Slabs
from jcausal_kernels import Units as Units
from jcausal_kernels import bootstrap_sums as bootstrap_sums
from jcausal_kernels import box_counts as box_counts
from jcausal_kernels import box_sums as box_sums
from jcausal_kernels import box_weights as box_weights
from jcausal_kernels import grid_variance as grid_variance
from jcausal_kernels import membership as membership
from jcausal_kernels import resampling_weights as resampling_weights
from jcausal_kernels import slab_points as slab_points
