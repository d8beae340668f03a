"""Adaptive Hyper-Boxes."""

from jcausal.matching.boxes._ahb import AHB as AHB
from jcausal.matching.boxes._boxes import Boxes as Boxes
from jcausal.matching.boxes._exact import ExactAHB as ExactAHB
from jcausal.matching.boxes._fast import FastAHB as FastAHB
from jcausal.matching.boxes._tune import Tuning as Tuning
from jcausal.matching.boxes._tune import tune as tune
