"""Adaptive Hyper-Boxes."""

from jcausal.match.boxes._ahb import AHB as AHB
from jcausal.match.boxes._boxes import Boxes as Boxes
from jcausal.match.boxes._exact import ExactAHB as ExactAHB
from jcausal.match.boxes._fast import FastAHB as FastAHB
from jcausal.match.boxes._tune import Tuning as Tuning
from jcausal.match.boxes._tune import tune as tune
from jcausal.match.boxes._words import bounding as bounding
