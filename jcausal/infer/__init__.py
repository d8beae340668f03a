"""Intervals."""

from jcausal.infer._abadie_imbens import AbadieImbens as AbadieImbens
from jcausal.infer._average import AverageMethod as AverageMethod
from jcausal.infer._bootstrap import Bootstrap as Bootstrap
from jcausal.infer._conservative import ConservativeNormal as ConservativeNormal
from jcausal.infer._group_bootstrap import GroupBootstrap as GroupBootstrap
from jcausal.infer._heterogeneity import Heterogeneity as Heterogeneity
from jcausal.infer._heterogeneity import heterogeneity as heterogeneity
from jcausal.infer._interval import Groups as Groups
from jcausal.infer._interval import Interval as Interval
from jcausal.infer._interval import IntervalMethod as IntervalMethod
from jcausal.infer._panel import OwnErrors as OwnErrors
from jcausal.infer._panel import PanelBootstrap as PanelBootstrap
from jcausal.infer._panel import PanelJackknife as PanelJackknife
from jcausal.infer._panel import PanelMethod as PanelMethod
from jcausal.infer._placebo import Placebos as Placebos
from jcausal.infer._placebo import placebo as placebo
from jcausal.infer._verb import interval as interval
