"""Benchmarks: `python -m bench ahb` prints its tables and keeps them under bench/results."""
