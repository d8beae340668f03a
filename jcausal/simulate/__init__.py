"""Simulated data with known effects: the processes of the papers."""

from jcausal.matching import BestCounterfactual as BestCounterfactual
from jcausal.simulate._ahb import ahb_figure5 as ahb_figure5
from jcausal.simulate._ahb import ahb_figure6 as ahb_figure6
from jcausal.simulate._ahb import ahb_table2 as ahb_table2
from jcausal.simulate._ahb import ahb_table5 as ahb_table5
from jcausal.simulate._ahb import ahb_table6 as ahb_table6
from jcausal.simulate._ahb import ahb_table7 as ahb_table7
from jcausal.simulate._allocation import EqualSamples as EqualSamples
from jcausal.simulate._allocation import RandomSamples as RandomSamples
from jcausal.simulate._allocation import allocation_trials as allocation_trials
from jcausal.simulate._allocation_trials import AllocationTrials as AllocationTrials
from jcausal.simulate._low_rank import SimulatedPanel as SimulatedPanel
from jcausal.simulate._low_rank import low_rank_panel as low_rank_panel
from jcausal.simulate._m5 import m5 as m5
from jcausal.simulate._simulated import Simulated as Simulated
