"""Allocation of a budget to groups whose effects are known only coarsely."""

from jcausal.allocate._coarse import CountBounds as CountBounds
from jcausal.allocate._coarse import ThresholdMass as ThresholdMass
from jcausal.allocate._coarse import count_bounds as count_bounds
from jcausal.allocate._coarse import threshold_mass as threshold_mass
from jcausal.allocate._distributions import Beta as Beta
from jcausal.allocate._distributions import Distribution as Distribution
from jcausal.allocate._distributions import TruncatedNormal as TruncatedNormal
from jcausal.allocate._flexible import Accept as Accept
from jcausal.allocate._flexible import BudgetMethod as BudgetMethod
from jcausal.allocate._flexible import Overspend as Overspend
from jcausal.allocate._flexible import Rebudget as Rebudget
from jcausal.allocate._flexible import Slide as Slide
from jcausal.allocate._flexible import rebudget as rebudget
from jcausal.allocate._gamma import TheoremGamma as TheoremGamma
from jcausal.allocate._guarantee import Guarantee as Guarantee
from jcausal.allocate._guarantee import guarantee as guarantee
from jcausal.allocate._lea import LEA as LEA
from jcausal.allocate._plan import SamplePlan as SamplePlan
from jcausal.allocate._regularity import regularity as regularity
from jcausal.allocate._scale import unit_scale as unit_scale
