"""Allocation of a budget to groups whose effects are known only coarsely."""

from jcausal.allocate._distributions import Beta as Beta
from jcausal.allocate._distributions import Distribution as Distribution
from jcausal.allocate._distributions import TruncatedNormal as TruncatedNormal
from jcausal.allocate._gamma import TheoremGamma as TheoremGamma
from jcausal.allocate._lea import LEA as LEA
from jcausal.allocate._plan import SamplePlan as SamplePlan
from jcausal.allocate._regularity import regularity as regularity
from jcausal.allocate._scale import unit_scale as unit_scale
