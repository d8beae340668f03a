"""Fast AHB, the paper's Algorithm 1: one box per query, grown step by step."""

from jcausal.matching.boxes.fast._fast_ahb import FastAHB as FastAHB
