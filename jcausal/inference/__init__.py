"""Intervals."""

from jcausal.inference._abadie_imbens import AbadieImbens as AbadieImbens
from jcausal.inference._average import AverageMethod as AverageMethod
from jcausal.inference._bootstrap import Bootstrap as Bootstrap
from jcausal.inference._conservative import ConservativeNormal as ConservativeNormal
from jcausal.inference._group_bootstrap import GroupBootstrap as GroupBootstrap
from jcausal.inference._group_size import GroupSize as GroupSize
from jcausal.inference._group_size import group_size as group_size
from jcausal.inference._heterogeneity import Heterogeneity as Heterogeneity
from jcausal.inference._heterogeneity import heterogeneity as heterogeneity
from jcausal.inference._interval import Groups as Groups
from jcausal.inference._interval import Interval as Interval
from jcausal.inference._interval import IntervalMethod as IntervalMethod
from jcausal.inference._noise_normal import NoiseNormal as NoiseNormal
from jcausal.inference._panel import OwnErrors as OwnErrors
from jcausal.inference._panel import PanelBootstrap as PanelBootstrap
from jcausal.inference._panel import PanelJackknife as PanelJackknife
from jcausal.inference._panel import PanelMethod as PanelMethod
from jcausal.inference._placebo import Placebos as Placebos
from jcausal.inference._placebo import placebo as placebo
from jcausal.inference._posterior_quantiles import PosteriorQuantiles as PosteriorQuantiles
from jcausal.inference._subsampling import Subsampling as Subsampling
from jcausal.inference._verb import interval as interval
