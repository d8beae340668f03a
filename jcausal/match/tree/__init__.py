"""Causal M5 trees and matching by exact subsets inside their leaves."""
