"""Small real data sets in the package, and readers of others."""

from jcausal.datasets._diabetes import diabetes as diabetes
from jcausal.datasets._lalonde import lalonde as lalonde
from jcausal.datasets._panels import basque as basque
from jcausal.datasets._panels import german_reunification as german_reunification
from jcausal.datasets._panels import prop99 as prop99
from jcausal.datasets._panels import turnout as turnout
from jcausal.datasets._trials import acupuncture as acupuncture
from jcausal.datasets._trials import graduation as graduation
from jcausal.datasets._trials import licorice as licorice
from jcausal.datasets._trials import nsw as nsw
from jcausal.datasets._trials import star as star
from jcausal.datasets._trials import tup as tup
from jcausal.datasets._with_truth import acic2016 as acic2016
from jcausal.datasets._with_truth import acic2017 as acic2017
from jcausal.datasets._with_truth import ihdp as ihdp
from jcausal.datasets._with_truth import twins as twins
