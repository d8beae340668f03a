"""jcausal: what did the treatment do? Matched groups that a person can read, on CPU or GPU."""

# namespaces
from jcausal import datasets as datasets
from jcausal import kernels as kernels
from jcausal import plot as plot
from jcausal import simulate as simulate

# allocate: a budget for groups whose effects are known coarsely
from jcausal.allocate import LEA as LEA
from jcausal.allocate import Accept as Accept
from jcausal.allocate import Allocation as Allocation
from jcausal.allocate import Beta as Beta
from jcausal.allocate import Budget as Budget
from jcausal.allocate import ByColumn as ByColumn
from jcausal.allocate import EffectKMeans as EffectKMeans
from jcausal.allocate import GroupEstimates as GroupEstimates
from jcausal.allocate import Grouping as Grouping
from jcausal.allocate import Guarantee as Guarantee
from jcausal.allocate import KMeans as KMeans
from jcausal.allocate import Knapsack as Knapsack
from jcausal.allocate import Overspend as Overspend
from jcausal.allocate import PropensityStrata as PropensityStrata
from jcausal.allocate import Quantiles as Quantiles
from jcausal.allocate import Rebudget as Rebudget
from jcausal.allocate import SamplePlan as SamplePlan
from jcausal.allocate import Slide as Slide
from jcausal.allocate import TheoremGamma as TheoremGamma
from jcausal.allocate import TopK as TopK
from jcausal.allocate import TruncatedNormal as TruncatedNormal
from jcausal.allocate import allocate as allocate
from jcausal.allocate import count_bounds as count_bounds
from jcausal.allocate import group as group
from jcausal.allocate import guarantee as guarantee
from jcausal.allocate import rebudget as rebudget
from jcausal.allocate import regularity as regularity
from jcausal.allocate import threshold_mass as threshold_mass
from jcausal.allocate import unit_scale as unit_scale

# data: samples, frames in, honest splits
from jcausal.data import DataError as DataError
from jcausal.data import HonestyError as HonestyError
from jcausal.data import Sample as Sample
from jcausal.data import split as split

# diagnose: balance, overlap
from jcausal.diagnose import balance as balance
from jcausal.diagnose import describe as describe

# estimate: effects from a matching
from jcausal.estimate import AIPW as AIPW
from jcausal.estimate import Average as Average
from jcausal.estimate import Effects as Effects
from jcausal.estimate import estimate as estimate

# infer: intervals
from jcausal.infer import AbadieImbens as AbadieImbens
from jcausal.infer import AverageMethod as AverageMethod
from jcausal.infer import Bootstrap as Bootstrap
from jcausal.infer import ConservativeNormal as ConservativeNormal
from jcausal.infer import GroupBootstrap as GroupBootstrap
from jcausal.infer import Heterogeneity as Heterogeneity
from jcausal.infer import Interval as Interval
from jcausal.infer import IntervalMethod as IntervalMethod
from jcausal.infer import OwnErrors as OwnErrors
from jcausal.infer import PanelBootstrap as PanelBootstrap
from jcausal.infer import PanelJackknife as PanelJackknife
from jcausal.infer import PanelMethod as PanelMethod
from jcausal.infer import Placebos as Placebos
from jcausal.infer import heterogeneity as heterogeneity
from jcausal.infer import interval as interval
from jcausal.infer import placebo as placebo
from jcausal.match import AHB as AHB

# match: who is compared with whom
from jcausal.match import RESULTS as RESULTS
from jcausal.match import Boxes as Boxes
from jcausal.match import ExactAHB as ExactAHB
from jcausal.match import FastAHB as FastAHB
from jcausal.match import Leaves as Leaves
from jcausal.match import M5Match as M5Match
from jcausal.match import M5Model as M5Model
from jcausal.match import M5Tree as M5Tree
from jcausal.match import Matcher as Matcher
from jcausal.match import MatchError as MatchError
from jcausal.match import Matching as Matching
from jcausal.match import Pairs as Pairs
from jcausal.match import Tree as Tree
from jcausal.match import TreeWarning as TreeWarning
from jcausal.match import Tuning as Tuning
from jcausal.match import match as match
from jcausal.match import tune as tune

# outcome: response surfaces
from jcausal.outcome import BART as BART
from jcausal.outcome import MLP as MLP
from jcausal.outcome import BARTSurface as BARTSurface
from jcausal.outcome import BoostedTrees as BoostedTrees
from jcausal.outcome import BoostedTreesSurface as BoostedTreesSurface
from jcausal.outcome import FitWarning as FitWarning
from jcausal.outcome import Function as Function
from jcausal.outcome import MLPSurface as MLPSurface
from jcausal.outcome import OutcomeModel as OutcomeModel
from jcausal.outcome import ResponseSurface as ResponseSurface
from jcausal.outcome import Ridge as Ridge
from jcausal.outcome import RidgeSurface as RidgeSurface
from jcausal.outcome import Trees as Trees
from jcausal.outcome import TreesSurface as TreesSurface
from jcausal.outcome import fit as fit

# panel: units over times, both outcomes completed
from jcausal.panel import MCNNM as MCNNM
from jcausal.panel import USVT as USVT
from jcausal.panel import Assignment as Assignment
from jcausal.panel import Completed as Completed
from jcausal.panel import Completer as Completer
from jcausal.panel import Completion as Completion
from jcausal.panel import CompletionWarning as CompletionWarning
from jcausal.panel import CrossFittedDR as CrossFittedDR
from jcausal.panel import DoublyRobustNeighbors as DoublyRobustNeighbors
from jcausal.panel import Errors as Errors
from jcausal.panel import Panel as Panel
from jcausal.panel import PatternError as PatternError
from jcausal.panel import RowScaledSpectral as RowScaledSpectral
from jcausal.panel import SyntheticControl as SyntheticControl
from jcausal.panel import SyntheticDiD as SyntheticDiD
from jcausal.panel import SyntheticNearestNeighbors as SyntheticNearestNeighbors
from jcausal.panel import TwoWayFixedEffects as TwoWayFixedEffects
from jcausal.panel import UnitMeans as UnitMeans
from jcausal.panel import complete as complete

# solve: integer programs for the methods that need them
from jcausal.solve import IntegerProgram as IntegerProgram
from jcausal.solve import Interrupted as Interrupted
from jcausal.solve import Solution as Solution
from jcausal.solve import SolverError as SolverError
from jcausal.solve import SolverPool as SolverPool

__version__ = "0.1.0"
