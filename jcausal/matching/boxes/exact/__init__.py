"""Exact AHB: one box per query that is shown to be the best."""

from jcausal.matching.boxes.exact._exact_ahb import ExactAHB as ExactAHB
