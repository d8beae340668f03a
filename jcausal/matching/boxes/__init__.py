"""Adaptive Hyper-Boxes: by level boxes, step by step, and proven best.

`levels/` holds AHB, `fast/` FastAHB (the paper's Algorithm 1) and `exact/` ExactAHB; what stands
beside them is of all three.
"""

from jcausal.matching.boxes._boxes import Boxes as Boxes
from jcausal.matching.boxes._tune import Tuning as Tuning
from jcausal.matching.boxes._tune import tune as tune
from jcausal.matching.boxes.exact import ExactAHB as ExactAHB
from jcausal.matching.boxes.fast import FastAHB as FastAHB
from jcausal.matching.boxes.levels import AHB as AHB
