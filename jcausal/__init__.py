"""jcausal: what did the treatment do? Matched groups that a person can read, on CPU or GPU."""

# In the order of the data's way: a verb a stage, and what a user constructs for it. Everything
# else stands in the namespace of its stage: jc.matching.Boxes, jc.inference.Interval ...

# data: samples, frames in, honest splits
from jcausal import data as data
from jcausal.data import DataError as DataError
from jcausal.data import HonestyError as HonestyError
from jcausal.data import Sample as Sample
from jcausal.data import split as split

# surfaces: models of the outcome without and with the treatment
from jcausal import surfaces as surfaces
from jcausal.surfaces import BART as BART
from jcausal.surfaces import BoostedTrees as BoostedTrees
from jcausal.surfaces import FitWarning as FitWarning
from jcausal.surfaces import Function as Function
from jcausal.surfaces import MLP as MLP
from jcausal.surfaces import Propensity as Propensity
from jcausal.surfaces import Ridge as Ridge
from jcausal.surfaces import Trees as Trees
from jcausal.surfaces import fit as fit

# matching: who is compared with whom
from jcausal import matching as matching
from jcausal.matching import AHB as AHB
from jcausal.matching import CEM as CEM
from jcausal.matching import DAME as DAME
from jcausal.matching import FLAME as FLAME
from jcausal.matching import BOSS as BOSS
from jcausal.matching import ExactAHB as ExactAHB
from jcausal.matching import FastAHB as FastAHB
from jcausal.matching import GeneticMatching as GeneticMatching
from jcausal.matching import CardinalityMatching as CardinalityMatching
from jcausal.matching import FullMatching as FullMatching
from jcausal.matching import M5Match as M5Match
from jcausal.matching import M5Model as M5Model
from jcausal.matching import M5Tree as M5Tree
from jcausal.matching import MALTS as MALTS
from jcausal.matching import MatchError as MatchError
from jcausal.matching import NearestNeighbors as NearestNeighbors
from jcausal.matching import PrognosticNeighbors as PrognosticNeighbors
from jcausal.matching import OptimalMatching as OptimalMatching
from jcausal.matching import RESULTS as RESULTS
from jcausal.matching import Subclassification as Subclassification
from jcausal.matching import Stretch as Stretch
from jcausal.matching import TreeWarning as TreeWarning
from jcausal.matching import match as match
from jcausal.matching import tune as tune

# effects: of every unit, on average, by group
from jcausal import effects as effects
from jcausal.effects import AIPW as AIPW
from jcausal.effects import OverlapWeights as OverlapWeights
from jcausal.effects import TMLE as TMLE
from jcausal.effects import IPTW as IPTW
from jcausal.effects import EntropyBalance as EntropyBalance
from jcausal.effects import CBPS as CBPS
from jcausal.effects import DML as DML
from jcausal.effects import SLearner as SLearner
from jcausal.effects import TLearner as TLearner
from jcausal.effects import XLearner as XLearner
from jcausal.effects import RLearner as RLearner
from jcausal.effects import DRLearner as DRLearner
from jcausal.effects import Forest as Forest
from jcausal.effects import CausalForest as CausalForest
from jcausal.effects import BARTEffect as BARTEffect
from jcausal.effects import BCF as BCF
from jcausal.effects import estimate as estimate

# inference: intervals
from jcausal import inference as inference
from jcausal.inference import AbadieImbens as AbadieImbens
from jcausal.inference import Bootstrap as Bootstrap
from jcausal.inference import ConservativeNormal as ConservativeNormal
from jcausal.inference import GComputation as GComputation
from jcausal.inference import GroupBootstrap as GroupBootstrap
from jcausal.inference import NoiseNormal as NoiseNormal
from jcausal.inference import OwnErrors as OwnErrors
from jcausal.inference import PanelBootstrap as PanelBootstrap
from jcausal.inference import PanelJackknife as PanelJackknife
from jcausal.inference import PosteriorQuantiles as PosteriorQuantiles
from jcausal.inference import Randomisation as Randomisation
from jcausal.inference import Sandwich as Sandwich
from jcausal.inference import Subsampling as Subsampling
from jcausal.inference import WeightedBootstrap as WeightedBootstrap
from jcausal.inference import best_linear_predictor as best_linear_predictor
from jcausal.inference import calibration as calibration
from jcausal.inference import group_size as group_size
from jcausal.inference import heterogeneity as heterogeneity
from jcausal.inference import interval as interval
from jcausal.inference import placebo as placebo
from jcausal.inference import sorted_groups as sorted_groups

# diagnostics: balance, overlap, sensitivity to what nobody measured
from jcausal import diagnostics as diagnostics
from jcausal.diagnostics import EValue as EValue
from jcausal.diagnostics import OmittedVariable as OmittedVariable
from jcausal.diagnostics import RosenbaumBounds as RosenbaumBounds
from jcausal.diagnostics import balance as balance
from jcausal.diagnostics import compare as compare
from jcausal.diagnostics import describe as describe
from jcausal.diagnostics import overlap as overlap
from jcausal.diagnostics import sensitivity as sensitivity

# panels: units over times, both outcomes completed
from jcausal import panels as panels
from jcausal.panels import CompletionWarning as CompletionWarning
from jcausal.panels import CrossFittedDR as CrossFittedDR
from jcausal.panels import DoublyRobustNeighbors as DoublyRobustNeighbors
from jcausal.panels import MCNNM as MCNNM
from jcausal.panels import Panel as Panel
from jcausal.panels import PatternError as PatternError
from jcausal.panels import RowScaledSpectral as RowScaledSpectral
from jcausal.panels import SyntheticControl as SyntheticControl
from jcausal.panels import SyntheticDiD as SyntheticDiD
from jcausal.panels import SyntheticNearestNeighbors as SyntheticNearestNeighbors
from jcausal.panels import TwoWayFixedEffects as TwoWayFixedEffects
from jcausal.panels import USVT as USVT
from jcausal.panels import UnitMeans as UnitMeans
from jcausal.panels import complete as complete

# allocation: a budget for groups whose effects are known coarsely
from jcausal import allocation as allocation
from jcausal.allocation import GroupEstimates as GroupEstimates
from jcausal.allocation import Knapsack as Knapsack
from jcausal.allocation import LEA as LEA
from jcausal.allocation import TopK as TopK
from jcausal.allocation import allocate as allocate

# solvers: integer programs for the methods that need them
from jcausal import solvers as solvers
from jcausal.solvers import Interrupted as Interrupted
from jcausal.solvers import SolverError as SolverError

# storage: what was made, in a file
from jcausal import storage as storage
from jcausal.storage import load as load
from jcausal.storage import save as save

# reports: a result as one HTML file
from jcausal import reports as reports
from jcausal.reports import report as report

# beside the way: data sets, simulated data with known effects, pictures, the hot loops
from jcausal import datasets as datasets
from jcausal import kernels as kernels
from jcausal import plot as plot
from jcausal import simulate as simulate

__version__ = "0.1.0"
