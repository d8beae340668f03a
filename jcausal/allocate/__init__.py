"""Allocation of a budget to groups whose effects are known only coarsely."""

from jcausal.allocate._allocate import allocate as allocate
from jcausal.allocate._allocation import Allocation as Allocation
from jcausal.allocate._allocation import Value as Value
from jcausal.allocate._estimates import GroupEstimates as GroupEstimates
from jcausal.allocate._knapsack import Knapsack as Knapsack
from jcausal.allocate._top_k import Budget as Budget
from jcausal.allocate._top_k import TopK as TopK
