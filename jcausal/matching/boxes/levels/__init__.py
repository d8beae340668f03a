"""AHB: one box per query, the best of a family of level boxes."""

from jcausal.matching.boxes.levels._ahb import AHB as AHB
