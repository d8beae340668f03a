"""Small real data sets in the package, and readers of others."""

from jcausal.datasets._diabetes import diabetes as diabetes
from jcausal.datasets._lalonde import lalonde as lalonde
