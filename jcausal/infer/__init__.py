"""Intervals."""

from jcausal.infer._abadie_imbens import AbadieImbens as AbadieImbens
from jcausal.infer._conservative import ConservativeNormal as ConservativeNormal
from jcausal.infer._interval import Interval as Interval
from jcausal.infer._interval import IntervalMethod as IntervalMethod
from jcausal.infer._interval import interval as interval
