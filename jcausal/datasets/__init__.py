"""Small real data sets in the package."""

from jcausal.datasets._lalonde import lalonde as lalonde
